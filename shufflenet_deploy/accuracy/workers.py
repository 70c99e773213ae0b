"""Inference workers: images decoded once and run through every network, in one process or several.

Each worker loads the networks itself, answers whole batches, and exits when its parent does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import zoo
from shufflenet_deploy.accuracy.dataset import LabelledImage
from shufflenet_deploy.accuracy.prediction_cache import Prediction
from shufflenet_deploy.errors import EvaluationError, UsageError
from shufflenet_deploy.export import image_set
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


def work(task: Task, batches: Sequence[Batch], *, model: Model, workers: int) -> Iterator[Done]:
    """Answer every batch, in any order.

    Raises:
        EvaluationError: a worker died.
    """
    if workers <= 1:
        worker = _Worker(task, model)
        yield from map(worker.prediction, batches)
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_begin, initargs=(task,)
    )
    try:
        yield from _pooled(pool, batches, ahead=2 * workers)
    except BrokenProcessPool as error:
        raise EvaluationError(
            "a worker process died, perhaps for want of memory: try --workers 1"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _pooled(pool: ProcessPoolExecutor, batches: Sequence[Batch], *, ahead: int) -> Iterator[Done]:
    waiting = iter(batches)
    running: set[Future[Done]] = set()
    while True:
        for batch in waiting:
            running.add(pool.submit(_answer, batch))
            if len(running) >= ahead:
                break
        if not running:
            return
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()


class _Worker:
    """Networks, each loaded when it is first needed."""

    def __init__(self, task: Task, model: Model | None = None) -> None:
        self._task = task
        self._model = model
        self._artifacts = {artifact.sha256: artifact for artifact in task.artifacts}
        self._networks: dict[str, Network] = {}

    def prediction(self, batch: Batch) -> Done:
        """Show a batch to the networks that it names."""
        if self._model is None:
            self._model = self._task.source.load()
        preprocessing = self._model.preprocessing
        share = preprocessing.crop / preprocessing.resize
        predictions: dict[str, dict[str, Prediction]] = {name: {} for name in batch.networks}
        unreadable: dict[Path, str] = {}
        for image in batch.images:
            try:
                pixels = image_set.read(image.path, self._task.resolution, crop_share=share)
            except UsageError as error:
                unreadable[image.path] = str(error)
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


def _begin(task: Task) -> None:
    """In a worker process: Ctrl-C is for the parent, and without a parent there is no work."""
    global _worker  # noqa: PLW0603 - what an executor's workers have in place of arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _worker = _Worker(task)


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _answer(batch: Batch) -> Done:
    assert _worker is not None
    return _worker.prediction(batch)
