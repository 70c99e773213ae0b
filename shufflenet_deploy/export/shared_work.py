"""An export as a task that other processes and machines can do: what it needs, and what it brings.

Only networks that their names or cards describe travel; the user's own code and networks in files
stay where they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.cluster import Files, Folder, Task
from shufflenet_deploy.errors import UsageError, WorkersError
from shufflenet_deploy.export import ExportSession, export, manifest
from shufflenet_deploy.export.image_set import load_image_set
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.network.one_thread import one_thread
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.zoo.shards import files_of
from shufflenet_deploy.zoo.weights_digest import stored_weights

_MODEL, _WEIGHTS, _CALIBRATION, _LABELS = "model", "weights", "calibration", "labels"


@dataclass(frozen=True, kw_only=True)
class Made:
    """An exported file: with its manifest and content where it was made on another machine."""

    artifact: Artifact
    manifest: manifest.Manifest | None = None
    content: bytes | None = None


@dataclass(frozen=True)
class _Order:
    request: ExportRequest
    here: bool


def task_of(request: ExportRequest, *, shares_disk: bool) -> Task:
    """The export of ``request`` as a task for ``make``; with ``shares_disk`` in its own folder.

    Raises:
        UsageError: what it needs cannot be read, or does not travel.
    """
    if shares_disk:
        return Task(argument=_Order(request, here=True))
    files = model_files(request.model, request.weights)
    if request.calibration is not None:
        files[_CALIBRATION] = calibration_files(request.calibration)
    if request.labels is not None:
        files[_LABELS] = request.labels
    return Task(argument=_Order(request, here=False), files=files)


def make(
    order: _Order,
    files: Files,
    on_stage: Callable[[str], None],
    session: ExportSession | None = None,
) -> Made:
    """Export, on whichever machine this is; ``session`` is that of other exports of this process.

    Raises:
        DeployError: see ``export``.
    """
    if order.here:
        return Made(artifact=export(order.request, session=session, on_stage=on_stage))
    # Other workers have the other processors.
    with one_thread(), tempfile.TemporaryDirectory(prefix="shufflenet-deploy-export-") as folder:
        wanted = order.request.model_copy(
            update={
                "model": model_in(files, order.request.model),
                "weights": weights_in(files, order.request.weights),
                "calibration": files.get(_CALIBRATION),
                "labels": files.get(_LABELS),
                "out": Path(folder),
            }
        )
        artifact = export(wanted, on_stage=on_stage)
        found = manifest.read(artifact.path)
        return Made(artifact=artifact, manifest=found, content=artifact.path.read_bytes())


def received(made: Made, request: ExportRequest) -> Artifact:
    """The artifact of ``request``; a file from elsewhere is written into its folder first.

    Raises:
        WorkersError: it did not arrive whole.
        UsageError: the folder cannot be written.
    """
    artifact = made.artifact
    if made.content is None or made.manifest is None:
        return artifact
    path = request.out.expanduser().absolute() / artifact.path.name
    with replacing(path) as fresh:
        fresh.write_bytes(made.content)
        if sha256_file(fresh) != artifact.sha256:
            raise WorkersError(f"{path.name} arrived damaged: its sha256 is not that of its export")
        fresh.chmod(0o755 if artifact.format == "native" else 0o644)
    changes: dict[str, object] = {"path": path}
    if request.calibration is not None and artifact.calibration is not None:
        source = {"source": str(request.calibration)}
        changes["calibration"] = artifact.calibration.model_copy(update=source)
    if artifact.weights.path is not None and (weights := _weights_here(request)) is not None:
        origin = {"path": str(weights), "source": str(weights)}
        changes["weights"] = artifact.weights.model_copy(update=origin)
    artifact = artifact.model_copy(update=changes)
    manifest.write(artifact, made.manifest.key, made.manifest.metadata)
    return artifact


# --- what travels --------------------------------------------------------------------------------


def model_files(reference: str, weights: Path | None) -> dict[str, Path | Folder]:
    """The files that a network and its weights are read from.

    Raises:
        UsageError: they cannot be read, or the network is the user's own code or file.
    """
    card = zoo.architecture(reference)
    if card.is_own or (reference.startswith("{") and stored_weights(card) is not None):
        raise UsageError(
            f"{card.name} is a network in code or in a file of your own, which --cluster does not"
            " send: leave --cluster out, or give it a card"
        )
    files: dict[str, Path | Folder] = {}
    if reference.endswith(".toml"):
        path = Path(reference)
        stored = stored_weights(card)
        beside = _shards(stored) if stored is not None else ()
        files[_MODEL] = Folder(path.parent, (path, *beside))
    if weights is not None:
        files[_WEIGHTS] = Folder(weights.parent, _shards(weights))
    return files


def model_in(files: Mapping[str, Path], reference: str) -> str:
    """The reference of a model on the machine that has its ``model_files``."""
    return str(files[_MODEL] / Path(reference).name) if _MODEL in files else reference


def weights_in(files: Mapping[str, Path], weights: Path | None) -> Path | None:
    """The weights on the machine that has their ``model_files``."""
    return files[_WEIGHTS] / weights.name if weights is not None else None


def calibration_files(folder: Path) -> Folder:
    """The images of a folder that an export looks at.

    Raises:
        UsageError: it cannot be read.
    """
    chosen = load_image_set(folder)
    return Folder(
        folder,
        tuple(
            path for path in (*chosen.calibration, *chosen.held_out) if path.is_relative_to(folder)
        ),
    )


def _shards(weights: Path) -> tuple[Path, ...]:
    try:
        return tuple(files_of(weights))
    except OSError as error:
        raise UsageError(f"cannot read the weights {weights}: {error.strerror}") from error


def _weights_here(request: ExportRequest) -> Path | None:
    return request.weights or stored_weights(zoo.architecture(request.model))
