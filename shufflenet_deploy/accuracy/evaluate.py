"""Evaluations: a module and its files on the same images, from cached and new predictions."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import shufflenet_deploy
from shufflenet_deploy.accuracy import workers as processes
from shufflenet_deploy.accuracy.dataset import LabelledImage, LabelledImages
from shufflenet_deploy.accuracy.prediction_cache import Prediction, PredictionCache, default_folder
from shufflenet_deploy.accuracy.workers import MODULE, Batch, ModelSource, Task
from shufflenet_deploy.errors import EvaluationError, UsageError
from shufflenet_deploy.export import sources
from shufflenet_deploy.records import Artifact, ContingencyTable, Evaluation, TopKCounts

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model

#: Images of a batch, and pixels: a few seconds of work at the most.
_BATCH_IMAGES, _BATCH_PIXELS = 32, 2_000_000
#: Memory of torch and the runtimes before any network is loaded.
_WORKER_BYTES = 400_000_000
#: More processes than this wait for the disk rather than compute.
_MOST_WORKERS = 16

_TOOLS = ("torch", "onnxruntime", "ai-edge-litert", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress: predictions made, of how many; ``remembered`` of them came from the cache."""

    answered: int
    remembered: int
    total: int


def evaluate(
    artifacts: Sequence[Artifact],
    images: LabelledImages,
    *,
    source: ModelSource,
    workers: int | None = None,
    fresh: bool = False,
    memory: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> list[Evaluation]:
    """Evaluate files of one model and resolution, and the module they came from.

    Args:
        artifacts: the files, all of ``source`` and of one resolution.
        images: see ``labelled``.
        source: what the module is loaded from.
        workers: processes; None for one per core, as far as there is work for them.
        fresh: discard cached predictions.
        memory: the folder where predictions are kept; None for this user's cache.
        on_progress: called after every batch.

    Raises:
        UsageError: the files are not of this model, or no image could be decoded.
        ExportError: a runtime cannot load a file.
        EvaluationError: a worker process died.
    """
    model = source.load()
    (resolution,) = {artifact.resolution for artifact in artifacts}
    for artifact in artifacts:
        if artifact.weights.sha256 != model.weights.sha256:
            raise UsageError(f"{artifact.path} was made from other weights: export it again")
    task = Task(source=source, artifacts=tuple(artifacts), resolution=resolution)
    facts = _facts(task, model)
    kept = {
        name: PredictionCache(memory or default_folder(), facts[name], fresh=fresh)
        for name in facts
    }
    readable = [image for image in images.images if image.sha256]
    unreadable = {each.path: "cannot be read" for each in images.images if not each.sha256}
    batches = _batches(readable, kept, resolution.pixels)
    left = sum(len(batch.images) for batch in batches)
    report = on_progress or (lambda _: None)
    done = remembered = len(readable) - left
    report(Progress(answered=done, remembered=remembered, total=len(readable)))
    count = min(len(batches), workers) if workers else _workers(artifacts, len(batches))
    for result in processes.work(task, batches, model=model, workers=count):
        for name, predictions in result.predictions.items():
            kept[name].add(predictions)
        unreadable |= result.unreadable
        done += len(result.batch.images)
        report(Progress(answered=done, remembered=remembered, total=len(readable)))
    good = [image for image in readable if image.path not in unreadable]
    if not good:
        raise EvaluationError(
            f"none of {len(images.images)} images in {images.about.source} can be decoded: "
            f"{next(iter(unreadable.values()))}"
        )
    names = tuple(sorted(_relative(path, images.about.source) for path in unreadable))
    return [_evaluation(artifact, images, good, names, kept) for artifact in artifacts]


def _batches(
    images: Sequence[LabelledImage], kept: Mapping[str, PredictionCache], pixels: int
) -> list[Batch]:
    """Batches of missing predictions; the images of a batch are new to the same networks."""

    def missing_from(image: LabelledImage) -> tuple[str, ...]:
        return tuple(name for name, predictions in kept.items() if image.sha256 not in predictions)

    size = max(1, min(_BATCH_IMAGES, _BATCH_PIXELS // pixels))
    batches = []
    for networks, group in groupby(images, key=missing_from):
        alike = tuple(group) if networks else ()
        batches += [
            Batch(images=alike[at : at + size], networks=networks)
            for at in range(0, len(alike), size)
        ]
    return batches


def _workers(artifacts: Sequence[Artifact], batches: int) -> int:
    """One per core, as far as memory goes; each has two batches at least, for it takes a while
    to start.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # A file is in memory twice, as read and as prepared; the module is of its parameters' size.
    each = _WORKER_BYTES + sum(2 * artifact.size_bytes for artifact in artifacts)
    each += 4 * artifacts[0].parameters
    affordable = _MOST_WORKERS
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        affordable = free // each
    return max(1, min(cores or 1, _MOST_WORKERS, affordable, batches // 2))


def _facts(task: Task, model: Model) -> dict[str, dict[str, str]]:
    """For each network, all that decides its predictions."""
    common = {
        "model": model.architecture.name,
        "resolution": str(task.resolution),
        "preprocessing": model.preprocessing.model_dump_json(),
        "machine": platform.machine(),
        "sources": sources.digest(),
        **_tools(),
    }
    described = {
        "weights": model.weights.sha256,
        "head": task.source.head,
        "architecture": model.architecture.description.model_dump_json(),
    }
    files = {
        artifact.sha256: {"file": artifact.sha256, "reader": sources.digest(artifact.format)}
        for artifact in task.artifacts
    }
    return {name: common | own for name, own in ({MODULE: described} | files).items()}


def _tools() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in _TOOLS}
    return versions | {"shufflenet-deploy": shufflenet_deploy.__version__}


def _relative(path: Path, folder: str) -> str:
    return path.relative_to(folder).as_posix()


def _evaluation(
    artifact: Artifact,
    images: LabelledImages,
    good: Sequence[LabelledImage],
    unreadable: tuple[str, ...],
    kept: Mapping[str, PredictionCache],
) -> Evaluation:
    labels = [image.label for image in good]
    file, module = (
        [kept[name][image.sha256] for image in good] for name in (artifact.sha256, MODULE)
    )
    tools = _tools()
    if "checked on" in artifact.tools:
        tools["answered on"] = artifact.tools["checked on"]
    about = [artifact.sha256, artifact.weights.sha256, images.about.fingerprint, *tools.values()]
    counts = (
        top_k_counts(labels, file),
        top_k_counts(labels, module),
        contingency_table(labels, module, file),
    )
    described = "\n".join([*about, *unreadable, *(each.model_dump_json() for each in counts)])
    return Evaluation(
        id=hashlib.sha256(described.encode()).hexdigest(),
        at=datetime.now(UTC),
        artifact=artifact,
        data=images.about,
        unreadable=unreadable,
        file=counts[0],
        module=counts[1],
        pairing=counts[2],
        tools=tools,
    )


def top_k_counts(labels: Sequence[int], predictions: Sequence[Prediction]) -> TopKCounts:
    """Count the right predictions."""
    pairs = list(zip(labels, predictions, strict=True))
    return TopKCounts(
        pictures=len(pairs),
        top1=sum(label in prediction.classes[:1] for label, prediction in pairs),
        top5=sum(label in prediction.classes for label, prediction in pairs),
        tied=sum(prediction.tied for _, prediction in pairs),
    )


def contingency_table(
    labels: Sequence[int], module: Sequence[Prediction], file: Sequence[Prediction]
) -> ContingencyTable:
    """Count who was right where; a prediction without classes is wrong and agrees with nobody."""
    outcomes = [
        (label in first.classes[:1], label in second.classes[:1])
        for label, first, second in zip(labels, module, file, strict=True)
    ]
    same = sum(
        first.classes[:1] == second.classes[:1] != ()
        for first, second in zip(module, file, strict=True)
    )
    return ContingencyTable(
        both_right=outcomes.count((True, True)),
        only_module_right=outcomes.count((True, False)),
        only_file_right=outcomes.count((False, True)),
        both_wrong=outcomes.count((False, False)),
        same_class=same,
    )
