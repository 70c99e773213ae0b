"""Making a file: weights, module, conversion, parity, manifest. Heavy; see ``export.export``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export import manifest, onnx2tf, parity, quantize, request, tflite
from shufflenet_deploy.export.calibration import Batches, PictureSet
from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.lowerings import AUTO, FALLBACKS, Choice
from shufflenet_deploy.export.plans import plan
from shufflenet_deploy.export.quantize import Ranges
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.trace import trace
from shufflenet_deploy.files import replacing, sha256_file, write_whole
from shufflenet_deploy.records import (
    Artifact,
    CalibrationInfo,
    Parity,
    Precision,
    Resolution,
)

if TYPE_CHECKING:
    import onnx

    from shufflenet_deploy.zoo.model import Model

#: Called with the name of each stage as it begins.
OnStage = Callable[[str], None]


def produce(
    wish: ExportRequest, source: str, pictures: PictureSet, key: str, on_stage: OnStage
) -> Artifact:
    """Make the file of ``wish`` and its manifest, whether or not they exist.

    ``source`` is what the zoo loads: the model's name, or the path of an imported card.

    Raises:
        UsageError: a picture or the weights cannot be read, or the folder cannot be written.
        ExportError: the model cannot be converted.
    """
    on_stage("loading weights")
    model = _model(source, wish.weights, wish.seed, wish.head)
    complexity = zoo.complexity(model.module, wish.resolution)
    judges = Batches(pictures.judges(wish.resolution), model.preprocessing, wish.resolution)
    inputs = list(judges)
    calibration = None
    chosen = Batches(pictures.within_budget(wish.resolution), model.preprocessing, wish.resolution)
    if wish.precision is Precision.INT8:
        calibration = CalibrationInfo(
            source=pictures.source,
            pictures=len(chosen),
            fingerprint=pictures.fingerprint,
            method=wish.calibration_method,
        )
    with replacing(wish.path) as written:
        lowering = _WRITERS[wish.writer](model, wish, chosen, written, on_stage)
        on_stage("checking parity")
        file = parity.RUNTIMES[wish.format](written)
        verdict = _judged(model, wish, file, inputs)
    artifact = Artifact(
        path=wish.path,
        sha256=sha256_file(wish.path),
        size_bytes=wish.path.stat().st_size,
        model=model.architecture.name,
        format=wish.format,
        precision=wish.precision,
        resolution=wish.resolution,
        inputs=file.inputs,
        outputs=file.outputs,
        multiply_adds=complexity.multiply_adds,
        parameters=complexity.parameters,
        options={**request.options(wish), **({"lowering": lowering} if lowering else {})},
        weights=model.weights,
        converter=wish.writer,
        calibration=calibration,
        parity=verdict,
        tools=request.tool_versions(wish),
        created_at=datetime.now(UTC),
    )
    manifest.write(artifact, key)
    return artifact


def _judged(
    model: Model,
    wish: ExportRequest,
    file: parity.OnnxFile | parity.TfliteFile,
    inputs: list[parity.FloatArray],
) -> Parity:
    wanted = parity.expected(model.module, inputs)
    got = [file.run(picture) for picture in inputs]
    trained = model.weights.trained
    verdict = parity.judge(
        wanted, got, precision=wish.precision, floors=wish.floors, trained=trained
    )
    if verdict.passed:
        return verdict
    worst = min(range(len(inputs)), key=lambda index: parity.sqnr_db(wanted[index], got[index]))
    layer = parity.first_diverging(
        _graph(model, wish.resolution),
        file,
        inputs[worst],
        wish.floors.sqnr_db(wish.precision, trained=trained),
    )
    return verdict.model_copy(update={"first_diverging": layer})


def _write_onnx(
    model: Model, wish: ExportRequest, pictures: Batches, path: Path, on_stage: OnStage
) -> str:
    on_stage("converting")
    choice = wish.choice
    try:
        converted = _lowered(model, wish, choice, pictures, on_stage)
    except ExportError:
        if wish.lowering != AUTO or choice.name not in FALLBACKS:
            raise
        choice = Choice(FALLBACKS[choice.name])
        converted = _lowered(model, wish, choice, pictures, on_stage)
    write_whole(path, converted.SerializeToString(deterministic=True))
    return str(choice)


def _lowered(
    model: Model, wish: ExportRequest, choice: Choice, pictures: Batches, on_stage: OnStage
) -> onnx.ModelProto:
    from shufflenet_deploy.export import onnx_int8  # noqa: PLC0415

    calibrating = f"calibrating on {len(pictures)} pictures"
    if choice.name.startswith("channels-last"):
        from shufflenet_deploy.export import onnx_channels_last  # noqa: PLC0415

        graph = _graph(model, wish.resolution)
        on_stage(calibrating)
        ranges = _ranges(model, graph, wish, pictures)
        signed = choice.name.endswith("signed")
        return onnx_channels_last.convert(graph, ranges, plan(choice), unsigned=not signed)
    converted = _onnx(model, wish.resolution)
    gathered = choice.name == "gather"
    if wish.precision is Precision.FP32:
        return onnx_int8.gathered(converted) if gathered else converted
    on_stage(calibrating)
    return onnx_int8.quantize(converted, pictures, wish.calibration_method, rewritten=gathered)


def _write_tflite(
    model: Model, wish: ExportRequest, pictures: Batches, path: Path, on_stage: OnStage
) -> str:
    on_stage("converting")
    graph, lowering = _graph(model, wish.resolution), str(wish.choice)
    if wish.precision is Precision.FP32:
        tflite.write(graph, path, lowering=lowering)
        return lowering
    on_stage(f"calibrating on {len(pictures)} pictures")
    ranges = _ranges(model, graph, wish, pictures)
    on_stage("converting")
    tflite.write_int8(graph, ranges, path, lowering=lowering)
    return lowering


def _write_isolated(
    model: Model, wish: ExportRequest, pictures: Batches, path: Path, on_stage: OnStage
) -> str:
    on_stage("converting to ONNX")
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source = Path(folder, "model.onnx")
        source.write_bytes(_onnx(model, wish.resolution).SerializeToString(deterministic=True))
        chosen = pictures if wish.precision is Precision.INT8 else None
        onnx2tf.convert(source, path, chosen, on_stage)
    return ""


#: Writes a file; returns the lowering it used, nothing where the converter has its own.
_Writer = Callable[["Model", ExportRequest, Batches, Path, OnStage], str]

#: What makes a file, by the name of the writer: the one place that knows all formats.
_WRITERS: dict[str, _Writer] = {
    "torch": _write_onnx,
    "direct": _write_tflite,
    "onnx2tf": _write_isolated,
}


@lru_cache(maxsize=1)
def _model(name: str, weights: Path | None, seed: int, head: str) -> Model:
    """The files of one command mostly share their model; it is loaded once for all of them."""
    return zoo.load(name, weights=weights, seed=seed, head=head)


_last_onnx: list[tuple[Model, Resolution, onnx.ModelProto]] = []


def _onnx(model: Model, resolution: Resolution) -> onnx.ModelProto:
    """The fp32 ONNX model; the last one is kept, since int8 and onnx2tf start from it too."""
    import copy  # noqa: PLC0415

    from shufflenet_deploy.export import onnx_fp32  # noqa: PLC0415

    if not _last_onnx or _last_onnx[0][0] is not model or _last_onnx[0][1] != resolution:
        _last_onnx[:] = [(model, resolution, onnx_fp32.convert(model.module, resolution))]
    return copy.deepcopy(_last_onnx[0][2])


_last_ranges: list[tuple[Model, Resolution, object, Ranges]] = []


def _ranges(model: Model, graph: Graph, wish: ExportRequest, pictures: Batches) -> Ranges:
    """The calibrated graph; the last one is kept, since every lowering and format shares it."""
    known = (model, wish.resolution, (wish.calibration, wish.calibration_method))
    if not _last_ranges or _last_ranges[0][:3] != known:
        ranges = quantize.calibrate(graph, pictures, wish.calibration_method)
        _last_ranges[:] = [(*known, ranges)]
    return _last_ranges[0][3]


def _graph(model: Model, resolution: Resolution) -> Graph:
    return trace(model.module, resolution, model.architecture.name)
