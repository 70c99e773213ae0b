"""ONNX reader for ``inspect``: costs by inferred shapes, and leftovers of conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from shufflenet_deploy.atomic_files import check_file
from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
    precision_of,
)
from shufflenet_deploy.export.metadata import from_properties
from shufflenet_deploy.export.untrusted import MALFORMED, damaged, product
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import TensorSpec

#: Operators with weights, and which input holds them; convolutions of onnxruntime's own are NHWC.
_WEIGHTED = {"Conv": 1, "QLinearConv": 3, "Gemm": 1, "QGemm": 3, "MatMul": 1}

#: Channels split in (N, g, C/g, H, W), in (pixels, g, C/g), or in blocks (pixels, g, g, b); and
#: columns of the image (N, C, H, W/b, b) as channels.
_NEEDED_ORDERS = {(0, 2, 1, 3, 4), (0, 2, 1), (0, 2, 1, 3), (0, 2, 3, 1, 4)}

#: How our own files name scales and zero points, which are no parameters of the network.
_ROUNDING_CONSTANTS = ("scale:", "zero:")

#: What some exporters write for a size that they leave open, besides nothing.
_OPEN = -1

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")

#: Most operations between a slice and the Concat of what was computed of it.
_LONGEST_PIECE = 16

#: Operations without arithmetic, or done once on small vectors: float is no loss there.
_WEIGHTLESS = frozenset((
    "Reshape", "Transpose", "Gather", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice",
    "Split", "Concat", "MaxPool", "NhwcMaxPool",
    "Relu", "Clip", "Constant", "Shape", "Cast", *_ROUNDING,
))  # fmt: skip


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read an ONNX file; ``shapes`` are those of inputs that it leaves open.

    Raises:
        UsageError: the file is not an undamaged ONNX file, or has no such inputs.
    """
    return _Reader(_loaded(path, shapes)).contents()


def _loaded(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    try:
        model = _read(path)
        if not model.graph.node:
            raise damaged(path, "ONNX", "no network in it")
        onnx.checker.check_model(model)
        _close(model, path, shapes)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (
        *MALFORMED,
        OSError,
        DecodeError,
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
    ) as error:
        reason = first_line(str(error), 1000).rstrip(". ") or type(error).__name__
        raise damaged(path, "ONNX", reason) from error


def _read(path: Path) -> onnx.ModelProto:
    """A model with the tensors that lie in files next to it."""
    model = onnx.load(path, format="protobuf", load_external_data=False)
    for tensor in model.graph.initializer:
        if onnx.external_data_helper.uses_external_data(tensor):
            where = onnx.external_data_helper.ExternalDataInfo(tensor).location
            check_file(path.parent / where)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def _close(model: onnx.ModelProto, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Write ``shapes`` into the inputs; an open batch alone is one image."""
    constants = {entry.name for entry in model.graph.initializer}
    inputs = {value.name: value for value in model.graph.input if value.name not in constants}
    stated = {
        name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for name, value in inputs.items()
    }
    check_shapes(path, shapes, stated)
    for name, value in inputs.items():
        sizes = list(shapes.get(name, stated[name]))
        if sizes and sizes[0] < 1 and all(size > 0 for size in sizes[1:]):
            sizes[0] = 1
        for dimension, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
            if size > 0:
                dimension.dim_value = size
            elif size == _OPEN:
                dimension.Clear()
    if shapes:
        # Shapes that were inferred for open inputs would contradict these.
        del model.graph.value_info[:]
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")


class _Reader:
    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._nodes = list(model.graph.node)
        self._constants = {entry.name: entry for entry in model.graph.initializer}
        for node in self._nodes:
            stored = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and stored is not None:
                self._constants[node.output[0]] = stored
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        graph = model.graph
        self._shapes = {
            value.name: tuple(
                0 if size.dim_value == _OPEN else size.dim_value
                for size in value.type.tensor_type.shape.dim
            )
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        self._floats: dict[str, bool] = {}

    def contents(self) -> Contents:
        counts = Counter(node.op_type for node in self._nodes)
        quantised = any(name.startswith(("Q", "DequantizeLinear")) for name in counts)
        left = self._left_in_float() if quantised else []
        opset = next(
            (o.version for o in self._model.opset_import if o.domain in ("", "ai.onnx")), 0
        )
        graph = self._model.graph
        return Contents(
            version=f"opset {opset}, IR {self._model.ir_version}",
            precision=precision_of(quantised, len(left)),
            operations=most_frequent_first(dict(counts)),
            inputs=tuple(self._spec(v) for v in graph.input if v.name not in self._constants),
            outputs=tuple(self._spec(value) for value in graph.output),
            multiply_adds=sum(self._multiply_adds(node) for node in self._nodes),
            parameters=self._parameters(),
            warnings=tuple(self._warnings(counts, left)),
            metadata=from_properties({e.key: e.value for e in self._model.metadata_props}),
        )

    def _spec(self, value: onnx.ValueInfoProto) -> TensorSpec:
        shape = self._shapes[value.name]
        product(shape)
        return TensorSpec(name=value.name, shape=shape, dtype=_kind(value.type))

    def _constant(self, name: str) -> onnx.TensorProto | None:
        """The stored tensor behind a value, seen through its DequantizeLinear."""
        producer = self._producers.get(name)
        if producer is not None and producer.op_type == "DequantizeLinear":
            return self._constants.get(producer.input[0])
        return self._constants.get(name)

    def _weights(self, node: onnx.NodeProto) -> list[onnx.TensorProto]:
        found = (self._constant(name) for name in node.input if name)
        return [tensor for tensor in found if tensor is not None]

    def _multiply_adds(self, node: onnx.NodeProto) -> int:
        if not self._weights(node) or node.op_type not in _WEIGHTED:
            return 0
        output = self._shapes.get(node.output[0]) or ()
        if node.op_type == "MatMul":
            return self._matrix_product(node, output)
        weight = self._constant(node.input[_WEIGHTED[node.op_type]])
        if weight is None:
            return 0
        if node.op_type.endswith("Conv"):
            return product((*output, *weight.dims[1:]))
        return product((*weight.dims, output[0] if output else 1))

    def _matrix_product(self, node: onnx.NodeProto, output: tuple[int, ...]) -> int:
        """A vector on either side has no other size than the one that is summed over."""
        sizes = self._weights(node)[0].dims
        constant_first = self._constant(node.input[0]) is not None
        inner = sizes[-1] if constant_first or len(sizes) == 1 else sizes[-2]
        return product((*output, inner))

    def _parameters(self) -> int:
        counted: dict[str, int] = {}
        for node in self._nodes:
            if node.op_type in _WEIGHTED or node.op_type == "BatchNormalization":
                for tensor in self._weights(node):
                    if not tensor.name.startswith(_ROUNDING_CONSTANTS):
                        counted[tensor.name or str(id(tensor))] = product(tensor.dims)
        return sum(counted.values())

    def _warnings(self, counts: Counter[str], left: list[str]) -> list[str]:
        lines = []
        if norms := counts["BatchNormalization"]:
            lines.append(f"{norms} BatchNormalization left: not folded into the convolutions")
        if extra := [n for n in self._nodes if n.op_type == "Transpose" and not self._shuffles(n)]:
            lines.append(f"{len(extra)} Transpose beyond the one that a shuffle needs")
        if left:
            lines.append(f"{len(left)} operations left in float in an int8 file: {_tally(left)}")
        if split := sum(self._is_split_conv(node) for node in self._nodes):
            lines.append(f"{split} grouped convolutions split into one per group")
        if pairs := sum(self._cancels(node) for node in self._nodes):
            lines.append(f"{pairs} pairs of DequantizeLinear and QuantizeLinear that cancel")
        return lines

    def _shuffles(self, node: onnx.NodeProto) -> bool:
        """True for a transpose that is a shuffle's own, or that moves columns of the image."""
        order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), ())
        return order in _NEEDED_ORDERS

    def _left_in_float(self) -> list[str]:
        """Operations that compute on values nobody rounded to integers."""
        return [
            node.op_type
            for node in self._nodes
            if node.op_type not in _WEIGHTLESS
            and not node.op_type.startswith(("QLinear", "QGemm"))
            and any(self._is_float(name) for name in node.input[:1])
        ]

    def _is_float(self, name: str) -> bool:
        """True for a float value, traced through operations that only move data."""
        passed = []
        while name not in self._floats:
            passed.append(name)
            producer = self._producers.get(name)
            if producer is None or producer.op_type == "DequantizeLinear":
                self._floats[name] = producer is None and name not in self._constants
            elif producer.op_type in _WEIGHTLESS and producer.input:
                name = producer.input[0]
            else:
                self._floats[name] = True
        self._floats.update(dict.fromkeys(passed, self._floats[name]))
        return self._floats[name]

    def _is_split_conv(self, node: onnx.NodeProto) -> bool:
        """A Concat whose every part is a convolution of another slice of one value."""
        if node.op_type != "Concat" or len(node.input) < 2:
            return False
        sources = {self._sliced_from(name) for name in node.input}
        return len(sources) == 1 and None not in sources

    def _sliced_from(self, name: str) -> str | None:
        passed_conv = False
        for _ in range(_LONGEST_PIECE):
            producer = self._producers.get(name)
            if producer is None:
                return None
            if producer.op_type in ("Split", "Slice"):
                return producer.input[0] if passed_conv else None
            if producer.op_type == "Conv":
                passed_conv = True
            elif producer.op_type not in (*_ROUNDING, "Relu", "Clip"):
                return None
            name = producer.input[0]
        return None

    def _cancels(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "QuantizeLinear":
            return False
        before = self._producers.get(node.input[0])
        if before is None or before.op_type != "DequantizeLinear":
            return False
        return all(
            self._same(mine, theirs)
            for mine, theirs in zip(node.input[1:], before.input[1:], strict=False)
        )

    def _same(self, first: str, second: str) -> bool:
        a, b = self._constants.get(first), self._constants.get(second)
        if a is None or b is None:
            return first == second
        return np.array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))


def _kind(value: onnx.TypeProto) -> str:
    """The type of a value in a word: ``float32``, ``sequence(int64)``."""
    kind = value.WhichOneof("value") or "unknown"
    if kind in ("tensor_type", "sparse_tensor_type"):
        number = getattr(value, kind).elem_type
        if number == onnx.TensorProto.UNDEFINED:
            return "unknown"
        return str(onnx.helper.tensor_dtype_to_np_dtype(number).name)
    if kind in ("sequence_type", "optional_type"):
        return f"{kind.removesuffix('_type')}({_kind(getattr(value, kind).elem_type)})"
    return kind.removesuffix("_type")


def _tally(names: list[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
