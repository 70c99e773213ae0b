"""Export: one call converts a model to one file, validates it, and caches it by a key.

    artifact = export(ExportRequest(model="shufflenet-g3-0.5x", format="onnx", ...))

An export is cached under a key over everything that its bytes depend on: weights, options, images,
tool versions, code. When the folder already holds that key's file, undamaged, nothing heavy is even
imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import extras, zoo
from shufflenet_deploy.callable_package import make_callable
from shufflenet_deploy.export import manifest
from shufflenet_deploy.export.image_set import load_image_set
from shufflenet_deploy.export.request import (
    NOTE,
    ExportRequest,
    Tolerances,
    identity,
    named,
    normalised,
)
from shufflenet_deploy.export.session import ExportSession
from shufflenet_deploy.records import Artifact

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Inspection
    from shufflenet_deploy.export.layer_comparison import LayerComparison

__all__ = [
    "NOTE",
    "UP_TO_DATE",
    "ExportRequest",
    "ExportSession",
    "Tolerances",
    "compare_layers",
    "export",
    "inspect",
]

#: ``sd.export(...)``: see ``api.export``.
make_callable(__name__)

#: The only stage of an export whose file is already there.
UP_TO_DATE = "up to date"


def export(
    request: ExportRequest,
    *,
    session: ExportSession | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Artifact:
    """Export the file that ``request`` describes, or find it in its folder.

    A file that fails validation is kept: ``artifact.parity.passed`` is False then.
    Files of other weights or of another int8 recipe have other names, and stay. ``on_stage`` is
    called with a message for each step. Exports that pass one ``session`` share the model and what
    was made of it. Where the packages that make files are not installed, a
    file that was brought here with its manifest is taken as it is.

    Raises:
        UsageError: unknown model, unreadable weights or images, unusable resolution or folder.
        ExportError: the model cannot be converted.
    """
    report = on_stage or (lambda _: None)
    architecture = zoo.architecture(request.model)
    resolved = normalised(request, architecture)
    weights = zoo.weights_identity(resolved.weights, request.model, resolved.seed)
    chosen = load_image_set(resolved.calibration)
    network = f"{architecture.network_identity} {architecture.preprocessing.model_dump_json()}"
    own = not zoo.is_plain_name(request.model)
    digest = _digest_of(network, weights) if architecture.is_own else weights
    resolved = named(resolved, digest, chosen, own_network=own)
    if not extras.can_export():
        return manifest.made_elsewhere(resolved, weights)
    key = identity(resolved, weights, chosen, network)
    found = manifest.find(resolved.path, key)
    if found is not None:
        report(UP_TO_DATE)
        return found
    if reason := manifest.replaced(resolved.path):
        report(f"{NOTE}replacing {resolved.path}, {reason}")
    from shufflenet_deploy.export.pipeline import build_artifact  # noqa: PLC0415

    source = zoo.sized(request.model, request.resolution)
    return build_artifact(
        resolved, source, chosen, key, session=session or ExportSession(), on_stage=report
    )


def _digest_of(network: str, weights: str) -> str:
    """Hex sha256 that tells apart networks of one name, and their weights."""
    return hashlib.sha256(f"{network} {weights}".encode()).hexdigest()


def compare_layers(
    path: Path,
    *,
    model: str | None = None,
    weights: Path | None = None,
    folder: Path | None = None,
) -> LayerComparison:
    """Compare every layer of an exported file with its module's; see ``layer_sqnr``.

    Args:
        path: an exported file with its manifest.
        model: the model or card, where the manifest's name is not enough to find it.
        weights: the checkpoint, where it has moved since.
        folder: images to compare on; None for those shipped.

    Raises:
        UsageError: no manifest, or other weights than the file was made from.
    """
    from shufflenet_deploy.export.layer_comparison import compare_file  # noqa: PLC0415

    return compare_file(path, model=model, weights=weights, folder=folder)


def inspect(path: Path) -> Inspection:
    """Read an exported file's operations, shapes, cost, and conversion leftovers worth a warning.

    Raises:
        UsageError: there is no such file, or it is not an undamaged exported file.
    """
    from shufflenet_deploy.export.inspection.contents import inspect as look  # noqa: PLC0415

    return look(path)
