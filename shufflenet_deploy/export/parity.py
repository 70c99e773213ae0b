"""Parity: an exported file is run in its own runtime and compared with the module it came from.

The images are held out: calibration has not seen them. Where a file fails,
``layers`` gives the outputs of its layers, for ``layer_sqnr``.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.records import Format, Parity, Precision, TensorSpec

if TYPE_CHECKING:
    import onnx
    from torch import nn


FloatArray = NDArray[np.float32]

#: Axes of logits, batch and classes, and of feature maps.
_LOGITS_AXES, _MAP_AXES = 2, 4
#: Stands for "no noise at all"; a record cannot hold infinity.
_EXACT_DB = 200.0


def expected(module: nn.Module, images: Sequence[FloatArray]) -> list[FloatArray]:
    """The module's logits ``(1, classes)`` for each image; several outputs as ``joined``."""
    import torch  # noqa: PLC0415

    from shufflenet_deploy.network.frontends import recording  # noqa: PLC0415

    with torch.inference_mode():
        results = [recording.outputs(module(torch.from_numpy(image))) for image in images]
    return [joined([one.numpy() for one in outputs]) for outputs in results]


def joined(outputs: Sequence[FloatArray]) -> FloatArray:
    """One output as it is; several, one behind the other, as ``(1, 1, elements)``."""
    if len(outputs) == 1:
        return outputs[0]
    return np.concatenate([one.ravel() for one in outputs])[None, None]


def compare_logits(
    wanted: Sequence[FloatArray],
    got: Sequence[FloatArray],
    *,
    precision: Precision,
    tolerances: Tolerances,
    trained: bool,
) -> Parity:
    """Compare logits; ``passed`` and ``reason`` follow from ``tolerances``.

    Differences in fp32 are relative to the largest logit.
    """
    pairs = list(zip(wanted, got, strict=True))
    if any(a.size != b.size for a, b in pairs):
        raise ExportError(
            f"the exported file gives {got[0].size} values where the model gives {wanted[0].size}"
        )
    finite = all(bool(np.isfinite(b).all()) for _, b in pairs)
    if not finite:
        return unusable(len(pairs), "the logits are not finite numbers")
    difference = max(float(np.abs(a.ravel() - b.ravel()).max()) for a, b in pairs)
    scale = max(float(np.abs(a).max()) for a, _ in pairs)
    sqnr = min(sqnr_db(a, b) for a, b in pairs)
    cosine = min(_cosine(a, b) for a, b in pairs)
    agreement = None
    if pairs[0][0].ndim == _LOGITS_AXES:
        agreement = sum(int(a.argmax() == b.argmax()) for a, b in pairs) / len(pairs)
    if precision is Precision.FP32:
        relative = difference / (scale or 1.0)
        checks = [("max abs diff / largest logit", relative, tolerances.fp32_relative_diff)]
    else:
        checks = [("cosine", -cosine, -tolerances.cosine(precision, trained=trained))]
        if trained and agreement is not None:
            checks.append(("top-1 agreement", -agreement, -tolerances.top1_agreement(precision)))
    checks.insert(0, ("SQNR", -sqnr, -tolerances.sqnr_db(precision, trained=trained)))
    # Minima are limits of the negated figure.
    missed = [
        f"{name} {-value:.3g}, minimum {-limit:g}"
        if limit < 0
        else f"{name} {value:.3g}, limit {limit:g}"
        for name, value, limit in checks
        if not value <= limit
    ]
    return Parity(
        inputs=len(pairs),
        max_abs_diff=difference,
        sqnr_db=sqnr,
        cosine=cosine,
        top1_agreement=agreement,
        passed=not missed,
        reason="; ".join(missed),
    )


def unusable(inputs: int, reason: str) -> Parity:
    """Failed parity of a file that gives no logits to compare."""
    return Parity(
        inputs=inputs, max_abs_diff=0.0, sqnr_db=-_EXACT_DB, cosine=0.0, top1_agreement=0.0,
        passed=False, reason=reason,
    )  # fmt: skip


def sqnr_db(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Signal to noise ratio of ``got`` in dB, at most 200."""
    signal = float(np.square(wanted, dtype=np.float64).sum())
    noise = float(np.square(wanted.ravel() - got.ravel(), dtype=np.float64).sum())
    return decibels(signal, noise)


def decibels(signal: float, noise: float) -> float:
    """The ratio of two sums of squares in dB, between -200 and 200."""
    if noise == 0:
        return _EXACT_DB
    if signal == 0 or not math.isfinite(noise):
        return -_EXACT_DB
    return max(-_EXACT_DB, min(_EXACT_DB, 10 * math.log10(signal / noise)))


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else float(not first.any() and not second.any())


class ExportedFile(Protocol):
    """An exported file loaded in its runtime: its inputs, its outputs, and the logits for an image.

    ``emulated`` is True where an emulator runs it, which takes long.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    emulated: bool

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``."""
        ...


class OnnxFile:
    """An ONNX file in onnxruntime, on ``threads`` threads (0: onnxruntime's choice)."""

    emulated = False

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path = path
        self._session = load_onnx(str(path), threads)
        self.inputs = tuple(_onnx_spec(value) for value in self._session.get_inputs())
        self.outputs = tuple(_onnx_spec(value) for value in self._session.get_outputs())

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as ``joined``."""
        return joined(self._session.run(None, {self.inputs[0].name: image}))

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """Every value computed on the way, by name, in order; maps are ``(C, H, W)``.

        Integers are seen where an operator of onnxruntime's own makes them: those are NHWC.
        """
        import onnx  # noqa: PLC0415

        model = onnx.load(self._path)
        known = {value.name for value in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in known and node.op_type != "QuantizeLinear":
                    model.graph.output.append(onnx.ValueInfoProto(name=name))
        session = load_onnx(model.SerializeToString())
        scales = _integer_scales(model)
        names = [
            value.name
            for value in session.get_outputs()
            if value.type == "tensor(float)" or value.name in scales
        ]
        for name, value in zip(
            names, session.run(names, {self.inputs[0].name: image}), strict=True
        ):
            if name in scales:
                scale, zero_point = scales[name]
                real = ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
                yield name, real[0].transpose(2, 0, 1) if real.ndim == 4 else real[0]
            else:
                yield name, value[0] if value.ndim in (2, 4) else value


#: Which input of an integer operator is the scale of its output; its zero point comes next.
_OUTPUT_SCALE = {
    "QLinearConv": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QLinearAveragePool": 3,
    "QLinearGlobalAveragePool": 3,
    "QLinearLeakyRelu": 3,
    "QLinearSigmoid": 3,
}


def _integer_scales(model: onnx.ModelProto) -> dict[str, tuple[float, int]]:
    """Scale and zero point of values that integer operators in NHWC make; Concat keeps them."""
    from onnx import numpy_helper  # noqa: PLC0415

    constants = {one.name: one for one in model.graph.initializer}
    scales: dict[str, tuple[float, int]] = {}
    for node in model.graph.node:
        index = _OUTPUT_SCALE.get(node.op_type) if node.domain else None
        if index is not None:
            scale, zero = (
                numpy_helper.to_array(constants[node.input[index + offset]]) for offset in (0, 1)
            )
            scales[node.output[0]] = (float(scale), int(zero))
        elif node.op_type in ("Concat", "NhwcMaxPool") and node.input[0] in scales:
            scales[node.output[0]] = scales[node.input[0]]
    return scales


class TfliteFile:
    """A TFLite file in LiteRT; integer inputs and outputs are converted on the way."""

    emulated = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._interpreter = _interpreter(path, keep_all=False)
        self.inputs = tuple(map(_tflite_spec, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_tflite_spec, self._interpreter.get_output_details()))

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as ``joined``."""
        return self._invoke(self._interpreter, image)

    def _invoke(self, interpreter: Any, image: FloatArray) -> FloatArray:
        source = interpreter.get_input_details()[0]
        value = image
        if tuple(source["shape"]) != image.shape:
            value = np.ascontiguousarray(image.transpose(0, 2, 3, 1))
        interpreter.set_tensor(source["index"], _quantised(value, source))
        interpreter.invoke()
        results = [
            _dequantised(interpreter.get_tensor(sink["index"]), sink)
            for sink in interpreter.get_output_details()
        ]
        return joined(
            [one.transpose(0, 3, 1, 2) if one.ndim == _MAP_AXES else one for one in results]
        )

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """Every value computed on the way, by name, in order; maps are ``(C, H, W)``."""
        interpreter = _interpreter(self._path, keep_all=True)
        self._invoke(interpreter, image)
        for detail in interpreter.get_tensor_details():
            try:
                value = _dequantised(interpreter.get_tensor(detail["index"]), detail)
            except ValueError:  # an optional or never allocated tensor
                continue
            if value.ndim == 4 and value.shape[0] == 1:
                yield detail["name"], value[0].transpose(2, 0, 1)
            elif value.ndim == 2 and value.shape[0] == 1:
                yield detail["name"], value[0]


#: Runtimes of the exchange formats.
RUNTIMES: dict[Format, type[OnnxFile | TfliteFile]] = {
    Format.ONNX: OnnxFile,
    Format.TFLITE: TfliteFile,
}


def load_onnx(model: str | bytes, threads: int = 0) -> Any:
    """A model, or the file of that path, in onnxruntime, on the CPU.

    Raises:
        ExportError: onnxruntime cannot load it.
    """
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ExportError(f"onnxruntime cannot load the exported file: {error}") from error


def _interpreter(path: Path, *, keep_all: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    try:
        with _silent_stderr(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keeping every tensor is just what is wanted here.
            interpreter = Interpreter(
                model_path=str(path), num_threads=1, experimental_preserve_all_tensors=keep_all
            )
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT cannot load the exported file: {error}") from error
    return interpreter


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Redirect the process's stderr: LiteRT's C++ logs there when XNNPACK is loaded."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _onnx_spec(value: Any) -> TensorSpec:
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
    shape = tuple(int(size) for size in value.shape)
    return TensorSpec(name=value.name, shape=shape, dtype=dtype.get(value.type, value.type))


def _tflite_spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    quantised = detail["dtype"] is not np.float32
    return TensorSpec(
        name=detail["name"],
        shape=tuple(int(size) for size in detail["shape"]),
        dtype=np.dtype(detail["dtype"]).name,
        scale=float(scale) if quantised else None,
        zero_point=int(zero_point) if quantised else None,
    )


def _quantised(value: FloatArray, detail: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return value
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(dtype)
    levels = np.round(value / scale) + zero_point
    rounded: NDArray[Any] = np.clip(levels, limits.min, limits.max).astype(dtype)
    return rounded


def _dequantised(value: NDArray[Any], detail: dict[str, Any]) -> FloatArray:
    scale, zero_point = detail["quantization"]
    if value.dtype.kind == "f" or not scale:
        return value.astype(np.float32)
    result: FloatArray = ((value.astype(np.float32) - zero_point) * scale).astype(np.float32)
    return result
