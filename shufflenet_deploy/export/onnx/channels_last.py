"""Full-integer ONNX written directly in the layout that onnxruntime's integer kernels compute in.

A quantised program (``lowering``, ``tflite_int8``: NHWC, one scale through shuffles, pools and
concatenations) becomes onnxruntime's own operators (domain ``com.microsoft``), one for one. No
optimiser has to find them behind pairs of QuantizeLinear and DequantizeLinear, no transpose is left
but the input's, and the weights have the widths that the fast kernels ask for.

In the file, input and output are float as in every other: ``input`` (1, 3, H, W) and ``logits``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.onnx.fp32 import INPUT, OPSET, OUTPUT, finish
from shufflenet_deploy.export.tflite.int8 import quantised
from shufflenet_deploy.export.tflite.lowering import lower
from shufflenet_deploy.export.tflite.lowering_plans import Plan
from shufflenet_deploy.export.tflite.program import (
    Quantization,
    TfliteOperation,
    TfliteProgram,
    TfliteTensor,
)
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    LocalResponseNorm,
    Multiply,
    Pool,
    Shuffle,
)
from shufflenet_deploy.network.quantization.ranges import Ranges, corrected

_RUNTIME = "com.microsoft"
_CONVOLUTIONS = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
_WINDOWED = (*_CONVOLUTIONS, "MAX_POOL_2D", "AVERAGE_POOL_2D")
_LAYERS = (
    *(Conv, Dense, Pool, AdaptiveAveragePool, Add, Multiply, Concat, Shuffle),
    *(LocalResponseNorm, Elementwise, Flatten),
)
_LOWEST = -128
_TO_CHANNELS_LAST, _TO_PLANES = (0, 2, 3, 1), (0, 3, 1, 2)
#: The output of a network without a classifier, before it becomes planar.
_MAP, _MAP_AXES = f"{OUTPUT}:channels-last", 4


def convert(
    graph: Graph, ranges: Ranges, choices: Plan, *, unsigned: bool = True
) -> onnx.ModelProto:
    """A ``graph`` as a checked int8 ONNX model; its activations are uint8 or int8.

    Both hold the same numbers. x86-64 has fast kernels for uint8 only (int8 takes ten times as
    long there), AArch64 slightly faster ones for int8.

    Raises:
        ExportError: an operation has no integer counterpart in onnxruntime, or a value no range.
    """
    _refuse_others(graph)
    program = quantised(lower(corrected(graph, ranges), choices), ranges, float_io=True)
    return finish(_Writer(program, unsigned=unsigned).model())


def _refuse_others(graph: Graph) -> None:
    """Of some TFLite operations only the forms that these layers lead to have a counterpart."""
    for layer in graph.layers:
        dilated = isinstance(layer, Conv) and layer.dilation != (1, 1)
        if dilated or not isinstance(layer, _LAYERS):
            what = "dilated convolution" if dilated else type(layer).__name__
            raise ExportError(
                f"'{layer.name}' is a {what}, which the channels-last lowering of ONNX files lacks"
            )
    if len(graph.outputs) > 1:
        raise ExportError(
            f"{graph.name} has {len(graph.outputs)} outputs; "
            "the channels-last lowering of ONNX files has one"
        )


class _Writer:
    """Write a program operation by operation; each value keeps its name."""

    def __init__(self, program: TfliteProgram, *, unsigned: bool) -> None:
        self._program = _distinct(program)
        self._stored = np.dtype(np.uint8 if unsigned else np.int8)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._borders: dict[str, tuple[str, tuple[int, int, int, int]]] = {}

    def model(self) -> onnx.ModelProto:
        program = self._program
        first, *body = program.operations
        if first.code != "QUANTIZE" or first.inputs != (program.input,):
            raise ExportError("channels-last lowerings begin by rounding the image")
        self._add("QuantizeLinear", (INPUT, *self._scale(first.output)), first.output)
        for operation in self._with_float_logits(body):
            self._write(operation)
        float32 = onnx.TensorProto.FLOAT
        image = program.tensors[program.input].shape
        inputs = [onnx.helper.make_tensor_value_info(INPUT, float32, image)]
        shape = program.tensors[program.output].shape
        if len(shape) == _MAP_AXES:
            self._add("Transpose", (_MAP,), OUTPUT, perm=_TO_PLANES)
            shape = tuple(shape[axis] for axis in _TO_PLANES)
        graph = onnx.helper.make_graph(
            self._nodes,
            program.name,
            inputs,
            [onnx.helper.make_tensor_value_info(OUTPUT, float32, shape)],
            list(self._constants.values()),
            value_info=list(self._described()),
        )
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(_RUNTIME, 1)]
        return onnx.helper.make_model(graph, opset_imports=opsets)

    def _described(self) -> Iterator[onnx.ValueInfoProto]:
        """Shapes of the values between; nobody could infer them through onnxruntime's operators."""
        integers = onnx.helper.np_dtype_to_tensor_dtype(self._stored)
        for node in self._nodes:
            tensor = self._program.tensors.get(node.output[0])
            if tensor is not None:
                kind = onnx.TensorProto.FLOAT if tensor.dtype == "float32" else integers
                yield onnx.helper.make_tensor_value_info(tensor.name, kind, tensor.shape)

    def _with_float_logits(self, body: Sequence[TfliteOperation]) -> tuple[TfliteOperation, ...]:
        """The last layer writes float logits itself: rounding them first would gain nothing."""
        if len(self._tensor(self._program.output).shape) == _MAP_AXES:
            return (*body[:-1], replace(body[-1], output=_MAP))
        *body, layer, last = body
        activation = layer.options.get("fusedActivationFunction", "NONE")
        if (layer.code, last.code, activation) == ("FULLY_CONNECTED", "DEQUANTIZE", "NONE"):
            return (*body, replace(layer, code="LOGITS", output=OUTPUT))
        return (*body, layer, replace(last, output=OUTPUT))

    def _write(self, operation: TfliteOperation) -> None:
        code = operation.code
        if code in ("PAD", "PADV2") and self._only_windowed(operation.output):
            self._borders[operation.output] = (operation.inputs[0], self._amounts(operation))
            return
        writer = _WRITERS.get(code)
        if writer is None:
            raise ExportError(f"onnxruntime has no integer operator for {code}")
        writer(self, operation)
        self._activate(operation)

    # One method per kind of operation.

    def conv(self, operation: TfliteOperation) -> None:
        source, pads = self._window(operation, self._weight(operation).shape[1:3])
        weight = self._weight(operation)
        if weight.data is None:
            raise AssertionError("weights are constants")
        planar = np.ascontiguousarray(weight.data.transpose(_CONVOLUTIONS[operation.code]))
        stored = self._constant(weight.name, planar)
        channels = self._tensor(source).shape[3]
        options = operation.options
        inputs = (
            *self._value(source),
            stored,
            *self._weight_scale(weight),
            *self._scale(operation.output),
            self._bias(operation),
        )
        self._add(
            "QLinearConv",
            inputs,
            operation.output,
            domain=_RUNTIME,
            channels_last=1,
            kernel_shape=planar.shape[2:],
            strides=(options["strideH"], options["strideW"]),
            pads=pads,
            group=channels // planar.shape[1],
        )

    def logits(self, operation: TfliteOperation) -> None:
        weight = self._weight(operation)
        if weight.data is None:
            raise AssertionError("weights are constants")
        inputs = (
            *self._value(operation.inputs[0]),
            self._constant(weight.name, np.ascontiguousarray(weight.data.T)),
            *self._weight_scale(weight),
            self._bias(operation),
        )
        self._add("QGemm", inputs, operation.output, domain=_RUNTIME)

    def dense(self, operation: TfliteOperation) -> None:
        self.logits(operation)
        self._nodes[-1].input.extend(self._scale(operation.output))

    def max_pool(self, operation: TfliteOperation) -> None:
        source, pads = self._window(operation, self._kernel(operation))
        self._add(
            "NhwcMaxPool", (source,), operation.output, domain=_RUNTIME, **self._pool(operation),
            pads=pads,
        )  # fmt: skip

    def average_pool(self, operation: TfliteOperation) -> None:
        source, pads = self._window(operation, self._kernel(operation))
        counts = operation.inputs[0] in self._borders
        self._add(
            "QLinearAveragePool",
            (*self._value(source), *self._scale(operation.output)),
            operation.output,
            domain=_RUNTIME,
            channels_last=1,
            count_include_pad=int(counts),
            **self._pool(operation),
            pads=pads,
        )

    def mean(self, operation: TfliteOperation) -> None:
        self._add(
            "QLinearGlobalAveragePool",
            (*self._value(operation.inputs[0]), *self._scale(operation.output)),
            operation.output,
            domain=_RUNTIME,
            channels_last=1,
        )

    def arithmetic(self, operation: TfliteOperation) -> None:
        name = {"ADD": "QLinearAdd", "MUL": "QLinearMul"}[operation.code]
        operands = [part for one in operation.inputs for part in self._value(one)]
        inputs = (*operands, *self._scale(operation.output))
        self._add(name, inputs, operation.output, domain=_RUNTIME)

    def element_wise(self, operation: TfliteOperation) -> None:
        name = {"LOGISTIC": "QLinearSigmoid", "RELU": "QLinearLeakyRelu"}[operation.code]
        inputs = (*self._value(operation.inputs[0]), *self._scale(operation.output))
        slope = {"alpha": 0.0} if operation.code == "RELU" else {}
        self._add(name, inputs, operation.output, domain=_RUNTIME, **slope)

    def concat(self, operation: TfliteOperation) -> None:
        # One scale on all sides: bytes are copied as they are.
        self._add("Concat", operation.inputs, operation.output, axis=operation.options["axis"])

    def transpose(self, operation: TfliteOperation) -> None:
        order = self._tensor(operation.inputs[1]).data
        assert order is not None
        self._add("Transpose", operation.inputs[:1], operation.output, perm=order.tolist())

    def reshape(self, operation: TfliteOperation) -> None:
        shape = self._tensor(operation.output).shape
        sizes = self._constant(f"shape:{shape}", np.array(shape, np.int64))
        self._add("Reshape", (operation.inputs[0], sizes), operation.output)

    def quantize(self, operation: TfliteOperation) -> None:
        inputs = (operation.inputs[0], *self._scale(operation.output))
        self._add("QuantizeLinear", inputs, operation.output)

    def dequantize(self, operation: TfliteOperation) -> None:
        self._add("DequantizeLinear", self._value(operation.inputs[0]), operation.output)

    def response_norm(self, operation: TfliteOperation) -> None:
        """In float and on planes, for which alone there is a kernel."""
        planes, normed = (f"{operation.output}:{word}" for word in ("planes", "normed"))
        options, size = operation.options, 2 * operation.options["radius"] + 1
        self._add("Transpose", operation.inputs, planes, perm=_TO_PLANES)
        self._add(
            "LRN", (planes,), normed, size=size, alpha=options["alpha"] * size,
            beta=options["beta"], bias=options["bias"],
        )  # fmt: skip
        self._add("Transpose", (normed,), operation.output, perm=_TO_CHANNELS_LAST)

    def _activate(self, operation: TfliteOperation) -> None:
        """A fused activation is nothing where the lowest and highest codes already are its ends."""
        activation = operation.options.get("fusedActivationFunction", "NONE")
        if activation == "NONE":
            return
        held = self._quantization(operation.output)
        six = (127 - held.zero_point[0]) * held.scale[0] <= 6 + held.scale[0]
        if activation == "RELU6" and not six:
            raise ExportError(f"'{operation.output}' holds more than its activation lets through")
        if held.zero_point[0] != _LOWEST:
            linear = f"{operation.output}:linear"
            self._nodes[-1].output[0] = linear
            inputs = (linear, *self._scale(operation.output), *self._scale(operation.output))
            self._add("QLinearLeakyRelu", inputs, operation.output, domain=_RUNTIME, alpha=0.0)

    # What the operations share.

    def _add(
        self, kind: str, inputs: Sequence[str], output: str, *, domain: str = "", **options: Any
    ) -> None:
        node = onnx.helper.make_node(
            kind, list(inputs), [output], name=f"{output}/{kind}", domain=domain, **options
        )
        self._nodes.append(node)

    def _tensor(self, name: str) -> TfliteTensor:
        return self._program.tensors[name]

    def _quantization(self, name: str) -> Quantization:
        quantization = self._tensor(name).quantization
        if quantization is None:
            raise AssertionError(f"{name} is quantised")
        return quantization

    def _value(self, name: str) -> tuple[str, str, str]:
        """A quantised value with its scale and zero point; constants are stored on the way."""
        tensor = self._tensor(name)
        if tensor.data is not None:
            self._constant(name, self._shifted(tensor.data))
        return (name, *self._scale(name))

    def _scale(self, name: str) -> tuple[str, str]:
        held = self._quantization(name)
        (scale,), (zero_point,) = held.scale, held.zero_point
        return (
            self._constant(f"scale:{scale!r}", np.array(scale, np.float32)),
            self._constant(f"zero:{zero_point}", self._shifted(np.array(zero_point, np.int8))),
        )

    def _shifted(self, data: NDArray[Any]) -> NDArray[Any]:
        shift = np.iinfo(self._stored).min - _LOWEST
        return (data.astype(np.int16) + shift).astype(self._stored)

    def _weight(self, operation: TfliteOperation) -> TfliteTensor:
        return self._tensor(operation.inputs[1])

    def _weight_scale(self, weight: TfliteTensor) -> tuple[str, str]:
        held = self._quantization(weight.name)
        return (
            self._constant(f"{weight.name}:scale", np.array(held.scale, np.float32)),
            self._constant(f"{weight.name}:zero", np.zeros(len(held.scale), np.int8)),
        )

    def _bias(self, operation: TfliteOperation) -> str:
        bias = self._tensor(operation.inputs[2])
        assert bias.data is not None
        return self._constant(bias.name, bias.data)

    def _constant(self, name: str, data: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = onnx.numpy_helper.from_array(np.asarray(data), name)
        return name

    def _kernel(self, operation: TfliteOperation) -> tuple[int, int]:
        return operation.options["filterHeight"], operation.options["filterWidth"]

    def _pool(self, operation: TfliteOperation) -> Mapping[str, Sequence[int]]:
        options = operation.options
        return {
            "kernel_shape": self._kernel(operation),
            "strides": (options["strideH"], options["strideW"]),
        }

    def _window(
        self, operation: TfliteOperation, kernel: Sequence[int]
    ) -> tuple[str, tuple[int, int, int, int]]:
        """Input of a windowed operator, and its padding (top, left, bottom, right)."""
        source, border = self._borders.get(operation.inputs[0], (operation.inputs[0], None))
        if border is not None:
            return source, border
        if operation.options["padding"] == "VALID":
            return source, (0, 0, 0, 0)
        before, after = [], []
        steps = (operation.options["strideH"], operation.options["strideW"])
        extents = self._tensor(source).shape[1:3]
        for extent, size, step in zip(extents, kernel, steps, strict=True):
            total = max(0, (math.ceil(extent / step) - 1) * step + size - extent)
            before.append(total // 2)
            after.append(total - total // 2)
        return source, (before[0], before[1], after[0], after[1])

    def _only_windowed(self, value: str) -> bool:
        readers = [one for one in self._program.operations if value in one.inputs]
        return all(one.code in _WINDOWED for one in readers)

    def _amounts(self, operation: TfliteOperation) -> tuple[int, int, int, int]:
        amounts = self._tensor(operation.inputs[1]).data
        assert amounts is not None
        (_, (top, bottom), (left, right), _) = amounts.tolist()
        return top, left, bottom, right


def _distinct(program: TfliteProgram) -> TfliteProgram:
    """The program with no value named like the file's own input and output."""
    names = {name: f"{name}:rounded" for name in (INPUT, OUTPUT) if name in program.tensors}

    def renamed(operation: TfliteOperation) -> TfliteOperation:
        inputs = tuple(names.get(name, name) for name in operation.inputs)
        output = names.get(operation.output, operation.output)
        return replace(operation, inputs=inputs, output=output)

    return replace(
        program,
        input=names.get(program.input, program.input),
        outputs=tuple(names.get(name, name) for name in program.outputs),
        operations=tuple(map(renamed, program.operations)),
        tensors={
            names.get(name, name): replace(tensor, name=names.get(name, name))
            for name, tensor in program.tensors.items()
        },
    )


_WRITERS = {
    "ADD": _Writer.arithmetic,
    "AVERAGE_POOL_2D": _Writer.average_pool,
    "CONCATENATION": _Writer.concat,
    "CONV_2D": _Writer.conv,
    "DEPTHWISE_CONV_2D": _Writer.conv,
    "DEQUANTIZE": _Writer.dequantize,
    "FULLY_CONNECTED": _Writer.dense,
    "LOCAL_RESPONSE_NORMALIZATION": _Writer.response_norm,
    "LOGISTIC": _Writer.element_wise,
    "MAX_POOL_2D": _Writer.max_pool,
    "MEAN": _Writer.mean,
    "MUL": _Writer.arithmetic,
    "QUANTIZE": _Writer.quantize,
    "RELU": _Writer.element_wise,
    "RESHAPE": _Writer.reshape,
    "LOGITS": _Writer.logits,
    "TRANSPOSE": _Writer.transpose,
}
