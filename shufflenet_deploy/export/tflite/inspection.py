"""TFLite reader for ``inspect``: costs by static shapes, and leftovers of conversion."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
    precision_of,
)
from shufflenet_deploy.export.metadata import TFLITE_ENTRY, from_json
from shufflenet_deploy.export.untrusted import product
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import TensorSpec

_LAYOUT_ORDERS = ([0, 3, 1, 2], [0, 2, 3, 1])
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_ROUNDING = ("QUANTIZE", "DEQUANTIZE")
_ROUNDED = ("int8", "uint8")

#: Of a network; the largest of the zoo has a few thousand.
_MOST_TABLES = 200_000
_MOST_ORDER_BYTES = 64


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read a TFLite file; ``shapes`` are those of inputs that it leaves open.

    Raises:
        UsageError: there are no such inputs.
        MALFORMED: the file is damaged.
    """
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    content = path.read_bytes()
    try:
        root = schema.Model.GetRootAs(content)
        _check_tables(root, len(content))
        model = schema.ModelT.InitFromObj(root)
        if shapes:
            _close(model, path, shapes)
        return _Reader(schema, model, len(content)).contents()
    except struct.error as error:
        raise ValueError("an offset lies behind the end of the file") from error


def _close(model: Any, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write ``shapes`` into the inputs, and what LiteRT makes of them into every other tensor.

    Raises:
        UsageError: there are no such inputs.
        RuntimeError: LiteRT cannot compute with them.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    graph = model.subgraphs[0]
    inputs = {graph.tensors[index].name.decode(): index for index in graph.inputs}
    stated = {
        name: [int(size) for size in _signature(graph.tensors[index])]
        for name, index in inputs.items()
    }
    check_shapes(path, shapes, stated)
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    for name, shape in shapes.items():
        interpreter.resize_tensor_input(inputs[name], shape, strict=False)
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        if detail["index"] < len(graph.tensors):
            graph.tensors[detail["index"]].shape = [int(size) for size in detail["shape"]]


def _signature(tensor: Any) -> Any:
    """The shape of a tensor with -1 where it is open."""
    found = tensor.shapeSignature
    return found if found is not None and len(found) else tensor.shape


def _check_tables(root: Any, size_bytes: int) -> None:
    """Refuse a file that unfolds to far more than it holds: its offsets may share tables.

    Raises:
        ValueError: it has more tables than a network needs, or a vector longer than the file.
    """
    waiting, left = [root], _MOST_TABLES
    while waiting:
        table = waiting.pop()
        kind: Any = type(table)
        vectors, singles = _accessors(kind)
        for name in vectors:
            length = getattr(table, f"{name}Length")()
            if length > size_bytes:
                raise ValueError("a vector is longer than the file")
            if length and hasattr(getattr(table, name)(0), "_tab"):
                left -= length
                if left < 0:
                    raise ValueError("more tables than a network needs")
                waiting += [getattr(table, name)(index) for index in range(length)]
        below = [getattr(table, name)() for name in singles]
        waiting += [one for one in below if hasattr(one, "_tab")]
        left -= len(below)
        if left < 0:
            raise ValueError("more tables than a network needs")


@cache
def _accessors(kind: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The fields of a generated class that are vectors, and those that are one value."""
    names = [name for name in vars(kind) if name[0].isupper() and not name.startswith("GetRoot")]
    vectors = tuple(name.removesuffix("Length") for name in names if name.endswith("Length"))
    derived = ("Length", "AsNumpy", "IsNone", "BufferHasIdentifier")
    singles = tuple(
        name for name in names if name not in (*vectors, "Init") and not name.endswith(derived)
    )
    return vectors, singles


class _Reader:
    def __init__(self, schema: Any, model: Any, size_bytes: int) -> None:
        self._model = model
        self._graph = model.subgraphs[0]
        self._tensors = self._graph.tensors
        self._codes = {
            value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
        }
        self._dtypes: dict[int, str] = {
            value: name.lower() for name, value in vars(schema.TensorType).items() if name.isupper()
        }
        self._operators = [(self._code(op), op) for op in self._graph.operators]
        self._producers = {
            index: (code, op) for code, op in self._operators for index in op.outputs
        }
        stored = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
        if stored > size_bytes:
            raise ValueError("buffers end behind the end of the file")

    def contents(self) -> Contents:
        counts = Counter(code for code, _ in self._operators)
        integer = any(self._dtype(op.outputs[0]) in _ROUNDED for _, op in self._operators)
        left = self._left_in_float() if integer else []
        return Contents(
            version=f"schema {self._model.version}",
            precision=precision_of(integer, len(left)),
            operations=most_frequent_first(dict(counts)),
            inputs=tuple(self._spec(index) for index in self._graph.inputs),
            outputs=tuple(self._spec(index) for index in self._graph.outputs),
            multiply_adds=sum(self._multiply_adds(code, op) for code, op in self._operators),
            parameters=self._parameters(),
            warnings=tuple(self._warnings(left)),
            metadata=self._metadata(),
        )

    def _metadata(self) -> Metadata | None:
        for entry in self._model.metadata or ():
            if entry.name == TFLITE_ENTRY.encode():
                return from_json(bytes(self._model.buffers[entry.buffer].data))
        return None

    def _code(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        if code.customCode:
            return str(code.customCode.decode())
        return str(self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)])

    def _dtype(self, index: int) -> str:
        return self._dtypes[self._tensors[index].type]

    def _shape(self, index: int) -> tuple[int, ...]:
        shape = self._tensors[index].shape
        sizes = () if shape is None else tuple(int(size) for size in shape)
        product(sizes)
        return sizes

    def _spec(self, index: int) -> TensorSpec:
        tensor = self._tensors[index]
        quantisation = tensor.quantization
        rounded = quantisation is not None and quantisation.scale is not None
        return TensorSpec(
            name=tensor.name.decode(),
            shape=self._shape(index),
            dtype=self._dtype(index),
            scale=float(quantisation.scale[0]) if rounded else None,
            zero_point=int(quantisation.zeroPoint[0]) if rounded else None,
        )

    def _is_constant(self, index: int) -> bool:
        if index < 0:
            return False
        data = self._model.buffers[self._tensors[index].buffer].data
        return data is not None and len(data) > 0

    def _value(self, index: int) -> list[int]:
        data = self._model.buffers[self._tensors[index].buffer].data
        if len(data) > _MOST_ORDER_BYTES:
            return []
        return [int(value) for value in np.frombuffer(bytes(bytearray(data)), dtype=np.int32)]

    def _multiply_adds(self, code: str, operator: Any) -> int:
        if code == "TRANSPOSE_CONV":
            # Every pixel that comes in is multiplied by all weights of its channels.
            pixels = self._shape(operator.inputs[2])[1:3]
            return product(pixels) * product(self._shape(operator.inputs[1]))
        if code not in (*_CONVOLUTIONS, "FULLY_CONNECTED", "BATCH_MATMUL"):
            return 0
        output = product(self._shape(operator.outputs[0]))
        weight = self._shape(operator.inputs[1])
        if code == "CONV_2D":
            return output * product(weight[1:])
        if code == "DEPTHWISE_CONV_2D":
            return output * weight[1] * weight[2]
        return output * self._shape(operator.inputs[0])[-1]

    def _parameters(self) -> int:
        used = {
            self._stored(index)
            for code, operator in self._operators
            if code in (*_CONVOLUTIONS, "FULLY_CONNECTED", "TRANSPOSE_CONV")
            for index in operator.inputs[1:]
            if self._is_constant(self._stored(index))
        }
        return sum(product(self._shape(index)) for index in used)

    def _stored(self, index: int) -> int:
        """The tensor behind a weight that is stored in half precision or sparse."""
        code, operator = self._producers.get(int(index), ("", None))
        while code in ("DEQUANTIZE", "DENSIFY"):
            index = int(operator.inputs[0])
            code, operator = self._producers.get(index, ("", None))
        return int(index)

    def _warnings(self, left: list[str]) -> list[str]:
        lines = []
        if layouts := sum(self._changes_layout(code, op) for code, op in self._operators):
            lines.append(f"{layouts} TRANSPOSE between NHWC and NCHW, which no shuffle needs")
        if left:
            tally = ", ".join(f"{n} {name}" for name, n in Counter(left).most_common())
            lines.append(f"{len(left)} operations left in float in an int8 file: {tally}")
        if split := sum(self._is_split_conv(code, op) for code, op in self._operators):
            lines.append(f"{split} grouped convolutions split into one per group")
        if pairs := sum(self._cancels(code, op) for code, op in self._operators):
            lines.append(f"{pairs} pairs of DEQUANTIZE and QUANTIZE that cancel")
        if norms := sum(self._is_norm(code, op) for code, op in self._operators):
            lines.append(f"{norms} normalisations left after convolutions: not folded")
        return lines

    def _changes_layout(self, code: str, operator: Any) -> bool:
        return code == "TRANSPOSE" and self._value(operator.inputs[1]) in _LAYOUT_ORDERS

    def _left_in_float(self) -> list[str]:
        return [
            code
            for code, operator in self._operators
            if code not in _ROUNDING and self._dtype(operator.outputs[0]) == "float32"
        ]

    def _is_split_conv(self, code: str, operator: Any) -> bool:
        """A concatenation whose every part is a convolution of another slice of one value."""
        if code != "CONCATENATION" or len(operator.inputs) < 2:
            return False
        sources = {self._sliced_from(index) for index in operator.inputs}
        return len(sources) == 1 and None not in sources

    def _sliced_from(self, index: int) -> int | None:
        code, operator = self._producers.get(index, ("", None))
        if code != "CONV_2D":
            return None
        code, operator = self._producers.get(int(operator.inputs[0]), ("", None))
        if code == "SPLIT":
            return int(operator.inputs[1])
        return int(operator.inputs[0]) if code in ("SLICE", "STRIDED_SLICE") else None

    def _cancels(self, code: str, operator: Any) -> bool:
        if code != "QUANTIZE":
            return False
        before, source = self._producers.get(int(operator.inputs[0]), ("", None))
        if before != "DEQUANTIZE":
            return False
        mine, theirs = self._spec(operator.outputs[0]), self._spec(source.inputs[0])
        return (mine.scale, mine.zero_point) == (theirs.scale, theirs.zero_point)

    def _is_norm(self, code: str, operator: Any) -> bool:
        """A multiplication by a constant per channel, right after a convolution."""
        if code != "MUL" or not any(self._is_constant(index) for index in operator.inputs):
            return False
        return any(self._producers.get(int(i), ("",))[0] in _CONVOLUTIONS for i in operator.inputs)
