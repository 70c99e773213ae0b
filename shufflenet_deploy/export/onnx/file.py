"""An ONNX file in onnxruntime on this machine: its logits, and the values of its layers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.parity import FloatArray, joined
from shufflenet_deploy.records import TensorSpec

if TYPE_CHECKING:
    import onnx


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


def _onnx_spec(value: Any) -> TensorSpec:
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
    shape = tuple(int(size) for size in value.shape)
    return TensorSpec(name=value.name, shape=shape, dtype=dtype.get(value.type, value.type))
