"""An ONNX file as checked nodes and constants: nothing of it is trusted.

Sizes are bounded, external data is read from the file's own folder only, and what no graph can
hold (quantised networks, control flow, operators of others) is refused before anything is built.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from shufflenet_deploy import atomic_files
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line

#: protobuf ends here.
MOST_BYTES = 2 << 30
_MOST_NODES = 100_000
#: The opsets whose rules the readers know.
OPSETS = range(7, 29)

_QUANTISED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
})  # fmt: skip
_CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_STANDARD = ("", "ai.onnx")


class ModelFile:
    """One ONNX file: its nodes that matter, its constants, its inputs and outputs.

    Raises:
        UsageError: it is no ONNX file, damaged, or of a kind that no graph can hold.
    """

    def __init__(self, path: Path, *, most_nodes: int = _MOST_NODES) -> None:
        self.path = path
        content = atomic_files.read_bytes(path, what="the ONNX file", limit_bytes=MOST_BYTES)
        self._model = onnx.ModelProto()
        try:
            self._model.ParseFromString(content)
        except (DecodeError, RecursionError, ValueError) as error:
            self.refuse(f"it is no ONNX file, or a damaged one ({first_line(str(error), 80)})")
        graph = self._model.graph
        if not graph.node:
            self.refuse("there is no network in it")
        if len(graph.node) > most_nodes:
            self.refuse(f"it has {len(graph.node)} nodes, {most_nodes} at most are read")
        if not all(isinstance(text, str) for text in _texts(graph)):
            self.refuse("it is no ONNX file, or a damaged one (a name is not UTF-8)")
        self.opset = self._opset()
        if graph.sparse_initializer:
            self.refuse("its weights are sparse: store them as dense tensors")
        self.outputs = [value.name for value in graph.output]
        self.nodes = self._needed_nodes()
        for node in self.nodes:
            self._check(node)
        self._external_bytes = 0
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = [value for value in graph.input if value.name not in self._tensors]

    def refuse(self, reason: str) -> NoReturn:
        """Raise a ``UsageError`` that names the file."""
        raise UsageError(f"cannot read {self.path}: {reason}")

    def initializers(self) -> dict[str, NDArray[Any]]:
        """The constants that a needed node reads, by name."""
        read = {name for node in self.nodes for name in node.input} | {*self.outputs}
        return {name: self.array(self._tensors[name]) for name in read & self._tensors.keys()}

    def array(self, tensor: onnx.TensorProto) -> NDArray[Any]:
        """The elements of a stored tensor; float16, bfloat16 and float64 become float32."""
        name = first_line(tensor.name or "of a Constant", 80)
        if any(size < 0 for size in tensor.dims):
            self.refuse(f"the tensor '{name}' has a negative size")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor = self._with_external_data(tensor, name)
        try:
            found = numpy_helper.to_array(tensor)
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            size = "x".join(map(str, tensor.dims))
            self.refuse(
                f"the tensor '{name}' does not hold the {size} elements that it claims "
                f"({first_line(str(error), 80)}): the file is damaged, export it again"
            )
        if found.dtype.name in {"float32", "float64", "float16", "bfloat16"}:
            return np.asarray(found, np.float32)
        if found.dtype.kind not in "iub":
            self.refuse(f"the tensor '{name}' is of {found.dtype}, which no layer takes")
        return found

    def _with_external_data(self, tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        where = entries.get("location", "")
        folder = self.path.parent.resolve()
        problem = atomic_files.path_problem(Path(where)) if where else "no location"
        if problem or Path(where).is_absolute():
            self.refuse(f"the weights of '{name}' lie outside of the file's folder")
        source = (folder / where).resolve()
        if not source.is_relative_to(folder):
            self.refuse(f"the weights of '{name}' lie outside of the file's folder")
        if not atomic_files.is_file(source):
            self.refuse(
                f"the weights of '{name}' are to lie in {first_line(where, 80)} beside it, which "
                "is not there: copy it, too"
            )
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", "0")) or source.stat().st_size - offset
        except ValueError:
            offset = length = -1
        if offset < 0 or length < 0 or offset + length > source.stat().st_size:
            self.refuse(f"{first_line(where, 80)} is too short for the weights of '{name}'")
        self._external_bytes += length
        if self._external_bytes > MOST_BYTES:
            self.refuse(f"its weights are more than {MOST_BYTES >> 30} GB")
        with source.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(length)
        return onnx.TensorProto(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, raw_data=content
        )

    def _opset(self) -> int:
        version = next(
            (one.version for one in self._model.opset_import if one.domain in _STANDARD), 0
        )
        if version not in OPSETS:
            self.refuse(
                f"it is of opset {version}, and {OPSETS[0]} to {OPSETS[-1]} are known: "
                "onnx.version_converter makes another"
            )
        return int(version)

    def _needed_nodes(self) -> list[onnx.NodeProto]:
        """The nodes that an output depends on, in the file's order."""
        needed = set(self.outputs)
        kept: list[onnx.NodeProto] = []
        for node in reversed(self._model.graph.node):
            if needed & {*node.output} - {""}:
                kept.append(node)
                needed.update(node.input)
        return kept[::-1]

    def _check(self, node: onnx.NodeProto) -> None:
        what = first_line(f"{node.op_type} '{node.name or next(iter(node.output), '')}'")
        kind = node.op_type
        if kind in _QUANTISED or kind.startswith(("QLinear", "QGemm", "QAttention")):
            self.refuse(
                f"{what}: the network is quantised already; measure the file as it is "
                "(bench --file), or export the network before quantisation"
            )
        if node.domain not in _STANDARD:
            self.refuse(
                f"{what} is an operator of the domain '{first_line(node.domain, 60)}', which is "
                "not ONNX's own: export without it, or measure the file as it is (bench --file)"
            )
        if kind in _CONTROL:
            self.refuse(
                f"{what} is control flow: export with constant shapes, or remove it with onnxslim"
            )


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    """All names that are looked at; protobuf gives bytes for what is no text."""
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (entry.name for entry in node.attribute)
        yield from (text for entry in node.metadata_props for text in (entry.key, entry.value))
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    yield from (value.name for value in (*graph.input, *graph.output))


def image_shape(file: ModelFile, size: tuple[int, int, int, int] | None) -> tuple[int, int, int]:
    """Channels, height and width of the file's image; ``size`` (N, C, H, W) fills dynamic ones.

    Raises:
        UsageError: there is no such input, or a size is missing or contradicts the file.
    """
    if len(file.inputs) != 1:
        names = ", ".join(first_line(value.name, 40) for value in file.inputs[:6]) or "none"
        file.refuse(
            f"it has {len(file.inputs)} inputs ({names}), and networks here take one image: "
            "measure the file as it is (bench --file)"
        )
    value = file.inputs[0]
    name, tensor = first_line(value.name, 80), value.type.tensor_type
    kinds = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE
    if tensor.elem_type not in kinds:
        file.refuse(f"its input '{name}' is no tensor of floating-point numbers")
    declared = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    if len(declared) != 4:
        file.refuse(f"its input '{name}' has {len(declared)} axes: (1, channels, H, W) is needed")
    wanted = size or (1, 0, 0, 0)
    found = [given or asked for given, asked in zip(declared, wanted, strict=True)]
    shown = "x".join(str(one) if one > 0 else "?" for one in declared)
    found[0] = declared[0] if declared[0] > 0 else 1
    if found[0] != 1:
        file.refuse(f"its input '{name}' is {shown}, a batch of {found[0]}: export a batch of one")
    if min(found[2:]) < 1:
        file.refuse(f"its input '{name}' is {shown}, of any size: state the resolution")
    if not 1 <= found[1] <= 4:
        file.refuse(
            f"its input '{name}' is {shown}, and (1, channels, height, width) with 1 to 4 channels "
            "is needed: export it channels first, or state the shape"
        )
    if size and any(asked not in {0, one} for asked, one in zip(size, found, strict=True)):
        asked = "x".join(str(one) if one else "?" for one in size)
        file.refuse(f"its input '{name}' is {shown}, and {asked} was asked for")
    if math.prod(found) > 1 << 28:
        file.refuse(f"its input '{name}' has {math.prod(found)} elements")
    return found[1], found[2], found[3]
