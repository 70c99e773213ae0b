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
from shufflenet_deploy.export import manifest, onnx2tf, parity, request, tflite
from shufflenet_deploy.export.calibration import Batches, PictureSet
from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.export.trace import trace
from shufflenet_deploy.files import replacing, sha256_file, write_whole
from shufflenet_deploy.records import (
    Artifact,
    CalibrationInfo,
    Format,
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
        _WRITERS[wish.writer](model, wish, chosen, written, on_stage)
        on_stage("checking parity")
        file = _opened(model, wish, written)
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
        options=request.options(wish),
        weights=model.weights,
        converter=wish.writer,
        calibration=calibration,
        parity=verdict,
        tools=request.tool_versions(wish) | _judge_of(file),
        created_at=datetime.now(UTC),
    )
    manifest.write(artifact, key)
    return artifact


def _opened(model: Model, wish: ExportRequest, path: Path) -> parity.ExportedFile:
    if wish.format is not Format.NATIVE:
        return parity.RUNTIMES[wish.format](path)
    from shufflenet_deploy.export import native  # noqa: PLC0415

    return native.NativeFile(path, _graph(model, wish.resolution), native.machine(wish.machine))


def _judge_of(file: parity.ExportedFile) -> dict[str, str]:
    """What ran the file, where that is not the runtime of its format."""
    runs_on = getattr(file, "runs_on", None)
    return {"checked on": runs_on} if runs_on else {}


def _judged(
    model: Model,
    wish: ExportRequest,
    file: parity.ExportedFile,
    inputs: list[parity.FloatArray],
) -> Parity:
    wanted = parity.expected(model.module, inputs)
    got = [file.run(picture) for picture in inputs]
    trained = model.weights.trained
    verdict = parity.judge(
        wanted, got, precision=wish.precision, floors=wish.floors, trained=trained
    )
    if verdict.passed or not isinstance(file, parity.OnnxFile | parity.TfliteFile):
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
) -> None:
    from shufflenet_deploy.export import onnx_int8  # noqa: PLC0415

    on_stage("converting")
    converted = _onnx(model, wish.resolution)
    if wish.precision is Precision.INT8:
        on_stage(f"calibrating on {len(pictures)} pictures")
        converted = onnx_int8.quantize(converted, pictures, wish.calibration_method)
    write_whole(path, converted.SerializeToString(deterministic=True))


def _write_tflite(
    model: Model, wish: ExportRequest, pictures: Batches, path: Path, on_stage: OnStage
) -> None:
    from shufflenet_deploy.export import quantize  # noqa: PLC0415

    on_stage("converting")
    graph = _graph(model, wish.resolution)
    if wish.precision is Precision.FP32:
        tflite.write(graph, path)
        return
    on_stage(f"calibrating on {len(pictures)} pictures")
    ranges = quantize.calibrate(graph, pictures, wish.calibration_method)
    on_stage("converting")
    tflite.write_int8(graph, ranges, path)


def _write_native(
    model: Model, wish: ExportRequest, _pictures: Batches, path: Path, on_stage: OnStage
) -> None:
    from shufflenet_deploy.export import native  # noqa: PLC0415

    if wish.precision is not Precision.FP32:
        raise ExportError("the native format has no int8 yet: use --precision fp32")
    on_stage("generating C")
    core = native.machine(wish.machine)
    source = native.generate(_graph(model, wish.resolution), core)
    on_stage(f"compiling for {core.name} (the first time for {core.arch} takes a minute)")
    native.compile(source, path, product=native.Product.PROGRAM)


def _write_isolated(
    model: Model, wish: ExportRequest, pictures: Batches, path: Path, on_stage: OnStage
) -> None:
    on_stage("converting to ONNX")
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source = Path(folder, "model.onnx")
        source.write_bytes(_onnx(model, wish.resolution).SerializeToString(deterministic=True))
        chosen = pictures if wish.precision is Precision.INT8 else None
        onnx2tf.convert(source, path, chosen, on_stage)


_Writer = Callable[["Model", ExportRequest, Batches, Path, OnStage], None]

#: What makes a file, by the name of the writer: the one place that knows all formats.
_WRITERS: dict[str, _Writer] = {
    "torch": _write_onnx,
    "direct": _write_tflite,
    "onnx2tf": _write_isolated,
    "native": _write_native,
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


def _graph(model: Model, resolution: Resolution) -> Graph:
    return trace(model.module, resolution, model.architecture.name)
