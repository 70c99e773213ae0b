"""Files from weights: one call makes one file, proves it, and remembers what it made.

    artifact = export(ExportRequest(model="shufflenet-g3-0.5x", format="onnx", ...))

An export is known by a key over everything that has a say in it: weights, options, pictures, tool
versions, code. When the folder already holds that key's file, undamaged, nothing heavy is even
imported.
"""

from __future__ import annotations

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
from shufflenet_deploy.records import Artifact

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Inspection
    from shufflenet_deploy.export.layer_comparison import LayerComparison

__all__ = [
    "NOTE",
    "UP_TO_DATE",
    "ExportRequest",
    "Tolerances",
    "compare_layers",
    "export",
    "inspect",
]

#: ``sd.export(...)``: see ``api.export``.
make_callable(__name__)

#: The only stage of an export whose file is already there.
UP_TO_DATE = "up to date"


def export(request: ExportRequest, *, on_stage: Callable[[str], None] | None = None) -> Artifact:
    """The file that ``request`` describes, made now or found in its folder.

    A file that fails parity is kept, and its artifact says so: look at ``artifact.parity.passed``.
    Files of other weights or of another int8 recipe have other names, and stay. ``on_stage`` is
    told what is being done. Where the packages that make files are not installed, a file that was
    brought here with its manifest is taken as it is.

    Raises:
        UsageError: unknown model, unreadable weights or pictures, unusable resolution or folder.
        ExportError: the model cannot be converted.
    """
    say = on_stage or (lambda _: None)
    architecture = zoo.architecture(request.model)
    wish = normalised(request, architecture)
    weights = zoo.weights_identity(wish.weights, request.model, wish.seed)
    chosen = load_image_set(wish.calibration)
    wish = named(wish, weights, chosen, own_network=request.model.endswith(".toml"))
    if not extras.can_export():
        return manifest.made_elsewhere(wish, weights)
    network = architecture.description.model_dump_json()
    preprocessing = architecture.preprocessing.model_dump_json()
    key = identity(wish, weights, chosen, f"{network} {preprocessing}")
    found = manifest.find(wish.path, key)
    if found is not None:
        say(UP_TO_DATE)
        return found
    if reason := manifest.replaced(wish.path):
        say(f"{NOTE}replacing {wish.path}, {reason}")
    from shufflenet_deploy.export.pipeline import build_artifact  # noqa: PLC0415

    return build_artifact(wish, request.model, chosen, key, say)


def compare_layers(
    path: Path,
    *,
    model: str | None = None,
    weights: Path | None = None,
    folder: Path | None = None,
) -> LayerComparison:
    """Every layer of an exported file beside the module it came from; see ``export.layers``.

    Args:
        path: an exported file with its manifest.
        model: the model or card, where the manifest's name is not enough to find it.
        weights: the checkpoint, where it has moved since.
        folder: pictures to compare on; None for those shipped.

    Raises:
        UsageError: no manifest, or other weights than the file was made from.
    """
    from shufflenet_deploy.export.layer_comparison import compare_file  # noqa: PLC0415

    return compare_file(path, model=model, weights=weights, folder=folder)


def inspect(path: Path) -> Inspection:
    """What an exported file holds: operations, shapes, cost, leftovers worth a warning.

    Raises:
        UsageError: there is no such file, or it is not an undamaged exported file.
    """
    from shufflenet_deploy.export.inspection.contents import inspect as look  # noqa: PLC0415

    return look(path)
