"""Full-integer quantisation of a lowered program: a scale for every tensor and constant.

Kernels that only move or select numbers (transpose, concat, pools, pads) demand one scale on all
sides. Values they connect are gathered into groups that share the scale of their common range, so
no requantisation is ever inserted around a shuffle or a concat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.tflite.program import (
    Quantization,
    TfliteOperation,
    TfliteProgram,
    TfliteTensor,
)
from shufflenet_deploy.network.quantization.ranges import (
    Ranges,
    Span,
    activation_scale,
    weight_scales,
)

#: Operations without an int8 kernel, or whose kernel cuts off what is below -16 (LOG_SOFTMAX): they
#: stay in float between DEQUANTIZE and QUANTIZE.
FLOAT_ONLY = frozenset(
    {"DIV", "EXP", "LOCAL_RESPONSE_NORMALIZATION", "LOG_SOFTMAX", "POW", "RSQRT", "SQRT"}
)

_SAME_SCALE = frozenset(
    {
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "DEPTH_TO_SPACE",
        "GATHER",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MINIMUM",
        "MIRROR_PAD",
        "PAD",
        "PADV2",
        "REDUCE_MAX",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPACE_TO_DEPTH",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)

#: Where the output channels are in a weight tensor.
_CHANNEL_AXIS = {
    "CONV_2D": 0,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 0,
    "TRANSPOSE_CONV": 0,
}


class _Inputs(NamedTuple):
    """Places of the inputs of an operation with weights."""

    source: int
    weight: int
    bias: int


_USUAL_INPUTS = _Inputs(source=0, weight=1, bias=2)
_INPUTS = {"TRANSPOSE_CONV": _Inputs(source=2, weight=1, bias=3)}

#: Outputs that kernels fix: [0, 1) with zero at the lowest code, and [-1, 1).
_SHARES = Quantization(scale=(1 / 256,), zero_point=(-128,))
#: So many steps at least a softmax has for its largest share, or it is computed in float.
_LEAST_STEPS = 32
_FIXED = {
    "LOGISTIC": _SHARES,
    "SOFTMAX": _SHARES,
    "TANH": Quantization(scale=(1 / 128,), zero_point=(0,)),
}


def quantised(
    program: TfliteProgram,
    ranges: Ranges,
    *,
    float_io: bool = False,
    float_values: Collection[str] = (),
) -> TfliteProgram:
    """The int8 form of a float program.

    Input and output are int8, or float32 with ``float_io``. Operations that have no int8 kernel,
    and those that make a value in ``float_values``, compute in float.

    Raises:
        ExportError: a tensor has no calibrated range.
    """
    return _Quantiser(program, ranges, float_values).program(float_io=float_io)


def computed_in_float(program: TfliteProgram) -> set[str]:
    """Outputs of the operations of an int8 program that compute in float."""
    return {
        operation.output
        for operation in program.operations
        if operation.code not in ("DEQUANTIZE", "QUANTIZE")
        and program.tensors[operation.output].dtype == "float32"
    }


class _Quantiser:
    def __init__(
        self, program: TfliteProgram, ranges: Ranges, float_values: Collection[str]
    ) -> None:
        self._source = program
        self._floating = {
            operation.output
            for operation in program.operations
            if operation.code in FLOAT_ONLY
            or operation.output.partition(":")[0] in float_values
            or (operation.code == "SOFTMAX" and _too_fine(program, operation, ranges))
            or any(program.tensors[name].real for name in (*operation.inputs, operation.output))
        }
        self._scales = _SharedScales(program, ranges, self._floating)
        self._tensors: dict[str, TfliteTensor] = {}
        self._operations: list[TfliteOperation] = []

    def program(self, *, float_io: bool) -> TfliteProgram:
        source = self._source.input
        for operation in self._source.operations:
            if operation.output in self._floating:
                self._in_float(operation)
            else:
                self._in_int8(operation)
        if float_io:
            outputs = tuple(self._float(name) for name in self._source.outputs)
            head = self._conversion("QUANTIZE", source, source, f"{source}:float")
            self._operations.insert(0, head)
            source = head.inputs[0]
        else:
            outputs = tuple(self._int8(name) for name in self._source.outputs)
        return replace(
            self._source,
            input=source,
            outputs=outputs,
            operations=tuple(self._operations),
            tensors=self._tensors,
        )

    def _in_int8(self, operation: TfliteOperation) -> None:
        activations = [n for n in operation.inputs if self._source.tensors[n].data is None]
        inputs = [self._int8(name) if name in activations else name for name in operation.inputs]
        weighted = self._weights(operation) if operation.code in _CHANNEL_AXIS else {}
        inputs = [
            name if name in activations else weighted.get(name) or self._operand(operation, name)
            for name in inputs
        ]
        output = operation.output
        fixed = _FIXED.get(operation.code)
        if fixed is not None and self._scales[output] != fixed:
            self._in_fixed_scale(replace(operation, inputs=tuple(inputs)), fixed)
        else:
            self._operations.append(replace(operation, inputs=tuple(inputs)))
        self._keep(output)

    def _in_fixed_scale(self, operation: TfliteOperation, fixed: Quantization) -> None:
        """Write the output in the scale of its kernel, then in the one that it shares."""
        name = f"{operation.output}:unscaled"
        tensor = self._source.tensors[operation.output]
        self._tensors[name] = replace(tensor, name=name, dtype="int8", quantization=fixed)
        self._operations.append(replace(operation, output=name))
        self._operations.append(
            TfliteOperation(code="QUANTIZE", inputs=(name,), output=operation.output)
        )

    def _in_float(self, operation: TfliteOperation) -> None:
        """Compute in float under another name; ``_int8`` and ``_float`` convert on demand."""
        inputs = tuple(self._float(name) for name in operation.inputs)
        output = f"{operation.output}:float"
        tensor = self._source.tensors[operation.output]
        self._tensors[output] = replace(tensor, name=output)
        self._operations.append(replace(operation, inputs=inputs, output=output))

    def _int8(self, name: str) -> str:
        """The int8 tensor of an activation."""
        if name not in self._tensors:
            if f"{name}:float" in self._tensors:
                self._operations.append(self._conversion("QUANTIZE", name, name, f"{name}:float"))
            self._keep(name)
        return name

    def _float(self, name: str) -> str:
        """The float tensor of an activation or constant."""
        tensor = self._source.tensors[name]
        if tensor.data is not None:
            self._tensors[name] = tensor
            return name
        real = f"{name}:float"
        if real not in self._tensors:
            self._keep(name)
            self._operations.append(self._conversion("DEQUANTIZE", name, real, name))
        return real

    def _conversion(self, code: str, name: str, output: str, source: str) -> TfliteOperation:
        real = f"{name}:float"
        self._tensors[real] = replace(self._source.tensors[name], name=real)
        return TfliteOperation(code=code, inputs=(source,), output=output)

    def _keep(self, name: str) -> None:
        tensor = self._source.tensors[name]
        self._tensors[name] = replace(tensor, dtype="int8", quantization=self._scales[name])

    def _operand(self, operation: TfliteOperation, name: str) -> str:
        """A constant operand: shapes stay integers, numbers become int8."""
        tensor = self._source.tensors[name]
        if tensor.data is None:
            raise AssertionError("only constants are operands")
        if tensor.data.dtype == np.int32:
            self._tensors[name] = tensor
            return name
        if operation.code in _SAME_SCALE:
            quantization = self._scales[operation.output]
        else:
            scale, zero_point = activation_scale(
                (float(tensor.data.min()), float(tensor.data.max()))
            )
            quantization = Quantization(scale=(scale,), zero_point=(zero_point,))
        levels = tensor.data.astype(np.float64) / quantization.scale[0]
        rounded = np.round(levels) + quantization.zero_point[0]
        stored = np.clip(rounded, -128, 127).astype(np.int8)
        unique = f"{name}@{operation.output}"
        self._tensors[unique] = TfliteTensor(
            name=unique, shape=tensor.shape, dtype="int8", data=stored, quantization=quantization
        )
        return unique

    def _weights(self, operation: TfliteOperation) -> dict[str, str]:
        """int8 weights per output channel and int32 biases, by their names."""
        axis = _CHANNEL_AXIS[operation.code]
        places = _INPUTS.get(operation.code, _USUAL_INPUTS)
        weight, bias = (
            self._source.tensors[operation.inputs[at]] for at in (places.weight, places.bias)
        )
        if weight.data is None or bias.data is None:
            raise AssertionError("weights are constants")
        (input_scale,) = self._scales[operation.inputs[places.source]].scale
        channel_first = np.moveaxis(weight.data, axis, 0)
        scales = weight_scales(channel_first, bias.data, input_scale)
        steps = scales.reshape([-1 if i == axis else 1 for i in range(weight.data.ndim)])
        stored = np.clip(np.round(weight.data / steps), -127, 127).astype(np.int8)
        bias_scales = scales.astype(np.float64) * input_scale
        sums = np.round(bias.data / bias_scales).astype(np.int32)
        zeros = (0,) * len(scales)
        self._tensors[weight.name] = replace(
            weight,
            dtype="int8",
            data=stored,
            quantization=Quantization(scale=_floats(scales), zero_point=zeros, axis=axis),
        )
        self._tensors[bias.name] = replace(
            bias,
            dtype="int32",
            data=sums,
            quantization=Quantization(scale=_floats(bias_scales), zero_point=zeros),
        )
        return {weight.name: weight.name, bias.name: bias.name}


def _too_fine(program: TfliteProgram, operation: TfliteOperation, ranges: Ranges) -> bool:
    """True if a softmax among so many elements has shares that its kernel's steps cannot hold."""
    tensor = program.tensors[operation.output]
    span = ranges.spans.get(tensor.rearranges or tensor.name)
    return span is not None and span[1] < _LEAST_STEPS * _SHARES.scale[0]


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(np.float32(value)) for value in values)


def _covers(fixed: Quantization, span: Span | None) -> bool:
    """True if all of a range is in a fixed scale, but for its last step."""
    (scale,), (zero_point,) = fixed.scale, fixed.zero_point
    low, high = scale * (-129 - zero_point), scale * (128 - zero_point)
    return span is None or (low <= span[0] and span[1] <= high)


class _SharedScales:
    """One quantisation for every group of activations that kernels tie together."""

    def __init__(self, program: TfliteProgram, ranges: Ranges, floating: Collection[str]) -> None:
        self._parents = {n: n for n, tensor in program.tensors.items() if tensor.data is None}
        integer = [one for one in program.operations if one.output not in floating]
        for operation in integer:
            if operation.code in _SAME_SCALE:
                for name in self._parents.keys() & {*operation.inputs}:
                    self._parents[self._root(name)] = self._root(operation.output)
        self._calibrated = ranges.spans
        self._spans: dict[str, Span] = {}
        for name in self._parents:
            tensor = program.tensors[name]
            span = tensor.span or ranges.spans.get(tensor.rearranges or name)
            if span is not None:
                root = self._root(name)
                known = self._spans.get(root, span)
                self._spans[root] = (min(known[0], span[0]), max(known[1], span[1]))
        self._fixed = self._agreed(one for one in integer if one.code in _FIXED)

    def _agreed(self, operations: Iterable[TfliteOperation]) -> dict[str, Quantization]:
        """Scales that kernels fix, for the groups that hold nothing outside of them."""
        wanted: dict[str, set[Quantization]] = {}
        for operation in operations:
            wanted.setdefault(self._root(operation.output), set()).add(_FIXED[operation.code])
        return {
            root: fixed
            for root, (fixed, *others) in wanted.items()
            if not others and _covers(fixed, self._spans.get(root))
        }

    def __getitem__(self, name: str) -> Quantization:
        root = self._root(name)
        if root in self._fixed:
            return self._fixed[root]
        value, _, form = name.partition(":")
        if root not in self._spans and value in self._calibrated:
            # Another form of a value, which usually shares the scale of what is in float here.
            low, high = self._calibrated[value]
            self._spans[root] = (max(low, 0.0), max(high, 0.0)) if form == "relu" else (low, high)
        if root not in self._spans:
            raise ExportError(f"'{name}' has no calibrated range: calibrate this very graph")
        scale, zero_point = activation_scale(self._spans[root])
        return Quantization(scale=(scale,), zero_point=(zero_point,))

    def _root(self, name: str) -> str:
        while self._parents[name] != name:
            self._parents[name] = self._parents[self._parents[name]]
            name = self._parents[name]
        return name
