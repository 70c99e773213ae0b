"""Inference workers: images decoded once and run through every network, here or elsewhere.

Each process or machine that takes part loads the networks itself, when it is first asked, and
answers whole batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import zoo
from shufflenet_deploy.accuracy.dataset import LabelledImage
from shufflenet_deploy.accuracy.prediction_cache import Prediction
from shufflenet_deploy.cluster import Files, Folder, Machines
from shufflenet_deploy.cluster import Task as SharedTask
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats, image_set, shared_work
from shufflenet_deploy.export.image_set import SHIPPED_SOURCE
from shufflenet_deploy.records import Artifact, Resolution

if TYPE_CHECKING:
    from shufflenet_deploy.export.inference import Network
    from shufflenet_deploy.zoo.model import Model

#: The name of the PyTorch module among the networks; files go by their sha256.
MODULE = "module"


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Arguments of ``zoo.load``."""

    name: str
    weights: Path | None
    seed: int
    head: str

    def load(self) -> Model:
        """The model; see ``zoo.load``."""
        return zoo.load(self.name, weights=self.weights, seed=self.seed, head=self.head)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Constants of every batch; all files take images of one resolution."""

    source: ModelSource
    artifacts: tuple[Artifact, ...]
    resolution: Resolution


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images, and the names of the networks that have not seen them yet."""

    images: tuple[LabelledImage, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Done:
    """Results of a batch: predictions by network and image sha256; images that failed to decode."""

    batch: Batch
    predictions: Mapping[str, Mapping[str, Prediction]]
    unreadable: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Question:
    """A batch for whoever is to answer it; with ``here`` the task's own paths are good there."""

    task: Task
    batch: Batch
    here: bool


def work(
    task: Task, batches: Sequence[Batch], *, model: Model, machines: Machines
) -> Iterator[Done]:
    """Answer every batch, in any order. ``model`` is the task's, for this process.

    Raises:
        WorkersError: a worker was lost.
        UsageError: the network does not travel to another machine.
    """
    _remember(_Worker(task, model))
    shared = {} if machines.shares_disk else _files(task)

    def asked(batch: Batch) -> SharedTask:
        return SharedTask(
            argument=_Question(task, batch, here=machines.shares_disk),
            files=shared,
            once={} if machines.shares_disk else {one.sha256: one.path for one in batch.images},
        )

    try:
        for done in machines.run(_answer, map(asked, batches)):
            if done.error is not None:
                raise done.error
            yield done.value
    finally:
        _remember(None)


def _files(task: Task) -> dict[str, Path | Folder]:
    """What a machine needs to load the networks."""
    files = shared_work.model_files(task.source.name, task.source.weights)
    for artifact in task.artifacts:
        files[artifact.sha256] = artifact.path
        made = artifact.calibration
        if formats.get(artifact.format).is_program and made and made.source != SHIPPED_SOURCE:
            files[f"images of {artifact.sha256}"] = shared_work.calibration_files(Path(made.source))
    return files


def _localised(task: Task, files: Files) -> Task:
    """The task with the paths of the machine that it is done on."""
    source = replace(
        task.source,
        name=shared_work.model_in(files, task.source.name),
        weights=shared_work.weights_in(files, task.source.weights),
    )
    artifacts = []
    for artifact in task.artifacts:
        changes: dict[str, object] = {"path": files[artifact.sha256]}
        folder = files.get(f"images of {artifact.sha256}")
        if artifact.calibration is not None and folder is not None:
            there = {"source": str(folder)}
            changes["calibration"] = artifact.calibration.model_copy(update=there)
        artifacts.append(artifact.model_copy(update=changes))
    return replace(task, source=source, artifacts=tuple(artifacts))


class _Worker:
    """Networks, each loaded when it is first needed."""

    def __init__(self, task: Task, model: Model | None = None) -> None:
        self.task = task
        self._lock = threading.Lock()
        self._model = model
        self._artifacts = {artifact.sha256: artifact for artifact in task.artifacts}
        self._networks: dict[str, Network] = {}

    def prediction(self, batch: Batch, paths: Mapping[str, Path]) -> Done:
        """Show a batch to the networks that it names; ``paths`` are its images' by sha256."""
        with self._lock:  # Runtimes are not made for several threads.
            return self._prediction(batch, paths)

    def _prediction(self, batch: Batch, paths: Mapping[str, Path]) -> Done:
        if self._model is None:
            self._model = self.task.source.load()
        preprocessing = self._model.preprocessing
        share = preprocessing.crop / preprocessing.resize
        predictions: dict[str, dict[str, Prediction]] = {name: {} for name in batch.networks}
        unreadable: dict[Path, str] = {}
        for image in batch.images:
            try:
                path = paths[image.sha256]
                pixels = image_set.read(path, self.task.resolution, crop_share=share)
            except UsageError as error:
                unreadable[image.path] = str(error).replace(str(path), str(image.path))
                continue
            prepared = image_set.prepare(pixels, preprocessing)
            for name in batch.networks:
                predictions[name][image.sha256] = Prediction.of(self._network(name)(prepared))
        return Done(batch=batch, predictions=predictions, unreadable=unreadable)

    def _network(self, name: str) -> Network:
        from shufflenet_deploy.export import inference  # noqa: PLC0415

        if name not in self._networks:
            assert self._model is not None
            self._networks[name] = (
                inference.of_module(self._model.module)
                if name == MODULE
                else inference.of_file(self._artifacts[name], self._model)
            )
        return self._networks[name]


_worker: _Worker | None = None


def _remember(worker: _Worker | None) -> None:
    global _worker  # noqa: PLW0603 - networks are loaded once in a process, not for each batch
    _worker = worker


def _answer(question: _Question, files: Files, _: Callable[[str], None]) -> Done:
    task = question.task if question.here else _localised(question.task, files)
    if _worker is None or _worker.task != task:
        _remember(_Worker(task))
    assert _worker is not None
    paths = {one.sha256: one.path for one in question.batch.images}
    return _worker.prediction(question.batch, paths if question.here else files)
