"""ExecuTorch reader for ``inspect``: a program's instructions, and the graphs that XNNPACK took.

Both are FlatBuffers, read by the numbers of their fields (``program.fbs`` and XNNPACK's
``schema.fbs`` of ExecuTorch). What XNNPACK took lies in segments behind the program.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.executorch.converter import METADATA
from shufflenet_deploy.export.flat_tables import Table
from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
    precision_of,
)
from shufflenet_deploy.export.metadata import from_json
from shufflenet_deploy.export.untrusted import product
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Delegation, TensorSpec

_METHOD = "forward"
_XNNPACK = "XnnpackBackend"

#: Header behind the identifier of a program, and the place of its segments in it.
_HEADER_AT, _HEADER = 8, b"eh00"
_SEGMENTS_AT = 24
#: The same of a graph of XNNPACK: where its FlatBuffer lies.
_GRAPH_HEADER_AT, _GRAPH_HEADER, _GRAPH_AT = 4, b"XH00", 10

#: Kinds of values and instructions of a program.
_TENSOR, _STRING = 5, 6
_KERNEL_CALL, _DELEGATE_CALL = 1, 2
_TYPES = {0: "uint8", 1: "int8", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64"}

#: XNNPACK's operators by their number in the file, those that our networks have.
_NODES = {
    1: "Add", 2: "FullyConnected", 3: "Softmax", 4: "Sigmoid", 5: "StaticTranspose", 6: "Clamp",
    7: "Conv2d", 8: "Div", 9: "StaticResizeBilinear2D", 10: "StaticConstantPad",
    11: "AvgPooling2d", 12: "Minimum", 13: "DepthwiseConv2d", 14: "MaxPooling2d", 15: "Multiply",
    16: "Subtract", 17: "Floor", 18: "Convert", 19: "GlobalAvgPooling2d", 20: "StaticReshape",
    21: "ArgMaxPooling2d", 22: "SquareRoot", 23: "Ceiling", 24: "Hardswish", 25: "LeakyReLU",
    26: "Maximum", 27: "Negate", 28: "Square", 29: "ELU", 30: "Abs", 31: "PReLU",
    32: "Concatenate2", 33: "Concatenate3", 34: "Concatenate4", 35: "StaticSlice",
    36: "ScaledDotProductAttention", 37: "BatchMatrixMultiply", 38: "Concatenate5",
    39: "ConvTranspose2d", 40: "ReciprocalSquareRoot", 41: "Log", 42: "Gelu", 43: "Tanh",
    44: "Exp", 45: "Sin", 46: "Copy", 47: "Cos",
}  # fmt: skip
_CONVOLUTIONS, _CONNECTED, _TRANSPOSED = (7, 13), 2, 39
_INTEGERS = frozenset({3, 4, 6, 9, 11})
#: Of a convolution: the fields of kernel, input channels, and the values it takes.
_KERNEL_FIELDS, _CHANNELS_FIELD, _VALUES_FIELDS = (4, 5), 10, (15, 16, 17, 18)


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read a program.

    Raises:
        UsageError: it has no such inputs.
        MALFORMED: the file is damaged.
    """
    program = _Program(path.read_bytes())
    inputs, outputs = program.tensors("input", 3), program.tensors("output", 4)
    if shapes:
        check_shapes(path, shapes, {one.name: one.shape for one in inputs})
        raise UsageError(f"--shape: {path} states its shapes")
    graphs = [_Graph(table) for table in program.graphs()]
    left = Counter(name.removeprefix("aten::") for name in program.kernels())
    taken = Counter(name for graph in graphs for name in graph.names())
    integer = any(graph.integer for graph in graphs)
    metadata = program.text(METADATA)
    return Contents(
        version=f"program version {program.version}",
        precision=precision_of(integer, 0),
        operations=most_frequent_first(dict(left + taken)),
        inputs=inputs,
        outputs=outputs,
        multiply_adds=sum(graph.multiply_adds() for graph in graphs),
        parameters=sum(graph.parameters() for graph in graphs),
        warnings=(),
        metadata=None if metadata is None else from_json(metadata),
        delegation=Delegation(
            name="XNNPACK", parts=len(graphs), taken=taken.total(), left=dict(left)
        ),
    )


def metadata_in(path: Path) -> Metadata | None:
    """The metadata in a program; None where there is none.

    Raises:
        MALFORMED: the file is damaged.
    """
    text = _Program(path.read_bytes()).text(METADATA)
    return None if text is None else from_json(text)


class _Program:
    """A program; its methods are ``ExecutionPlan``s."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._root = Table.root(content)
        self.version = self._root.integer(0, 4)
        self._plans = {plan.text(0): plan for plan in self._root.tables(1)}
        if _METHOD not in self._plans:
            raise ValueError(f"no method {_METHOD}")
        self._plan = self._plans[_METHOD]
        self._segments()

    def text(self, method: str) -> str | None:
        """What a method without inputs returns, if that is a text."""
        plan = self._plans.get(method)
        if plan is None:
            return None
        values = list(plan.tables(2))
        value = values[plan.integers(4, 4)[0]]
        return value.table(1).text(0) if value.integer(0, 1) == _STRING else None

    def tensors(self, word: str, field: int) -> tuple[TensorSpec, ...]:
        """Inputs (field 3) or outputs (field 4) of the method."""
        values = list(self._plan.tables(2))
        found = []
        for index, at in enumerate(self._plan.integers(field, 4)):
            value = values[at]
            if value.integer(0, 1) != _TENSOR:
                raise ValueError(f"{word} {index} is no tensor")
            tensor = value.table(1)
            shape = tuple(tensor.integers(2, 4))
            product(shape)
            kind = tensor.integer(0, 1)
            found.append(
                TensorSpec(name=f"{word}{index}", shape=shape, dtype=_TYPES.get(kind, str(kind)))
            )
        return tuple(found)

    def _calls(self, kind: int) -> Iterator[Table]:
        for chain in self._plan.tables(5):
            for instruction in chain.tables(2):
                if instruction.integer(0, 1) == kind:
                    yield instruction.table(1)

    def kernels(self) -> Iterator[str]:
        """The operators that no delegate took, as often as they are called."""
        names = [f"{one.text(0)}.{one.text(1)}" for one in self._plan.tables(6)]
        return (names[call.integer(0, 4)] for call in self._calls(_KERNEL_CALL))

    def graphs(self) -> Iterator[Table]:
        """The graphs of XNNPACK that the method calls."""
        delegates = list(self._plan.tables(7))
        for call in self._calls(_DELEGATE_CALL):
            delegate = delegates[call.integer(0, 4)]
            if delegate.text(0) != _XNNPACK:
                continue
            content = self._segment(delegate.table(1))
            if content[_GRAPH_HEADER_AT:].startswith(_GRAPH_HEADER):
                at, size = struct.unpack_from("<II", content, _GRAPH_AT)
                content = content[at : at + size]
            yield Table.root(content)

    def _segment(self, reference: Table) -> bytes:
        index = reference.integer(1, 4)
        if reference.integer(0, 1) == 0:  # within the program
            return list(self._root.tables(3))[index].bytes(0)
        return self._segments()[index]

    def _segments(self) -> list[bytes]:
        """What lies behind the program: graphs and weights.

        Raises:
            ValueError: the file ends before they do.
        """
        described = list(self._root.tables(4))
        if not described:
            return []
        if not self._content[_HEADER_AT:].startswith(_HEADER):
            raise ValueError("segments without a header")
        (base,) = struct.unpack_from("<Q", self._content, _SEGMENTS_AT)
        found = []
        for segment in described:
            begin, size = base + segment.integer(0, 8), segment.integer(1, 8)
            if begin + size > len(self._content):
                raise ValueError("a segment lies behind the end of the file")
            found.append(self._content[begin : begin + size])
        return found


@dataclass
class _Graph:
    """One graph of XNNPACK."""

    table: Table

    def __post_init__(self) -> None:
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._constants: set[int] = set()
        self.integer = False
        for entry in self.table.tables(2):
            value = entry.table(1)
            if entry.integer(0, 1) != 1:
                value = value.table(0)
            self.integer |= value.integer(0, 2) in _INTEGERS
            name = value.integer(6, 4)
            self._shapes[name] = tuple(value.integers(2, 4))
            product(self._shapes[name])
            if value.integer(3, 4):
                self._constants.add(name)
        self._nodes = [(node.integer(0, 1), node.table(1)) for node in self.table.tables(1)]

    def names(self) -> Iterator[str]:
        """The operators, as XNNPACK calls them."""
        return (_NODES.get(kind, f"operator {kind}") for kind, _ in self._nodes)

    def multiply_adds(self) -> int:
        """Those of convolutions and fully connected layers."""
        total = 0
        for kind, node in self._nodes:
            if kind in _CONVOLUTIONS:
                kernel = [node.integer(field, 4) for field in _KERNEL_FIELDS]
                each = [*kernel, node.integer(_CHANNELS_FIELD, 4)]
                output = self._shapes[node.integer(_VALUES_FIELDS[3], 4)]
                total += product((*output, *each))
            elif kind == _CONNECTED:
                filters = self._shapes[node.integer(1, 4)]
                total += product((*self._shapes[node.integer(3, 4)], filters[-1]))
        return total

    def parameters(self) -> int:
        """The sizes of constants that operators with weights take."""
        total = 0
        for kind, node in self._nodes:
            if kind in (*_CONVOLUTIONS, _TRANSPOSED):
                taken = [node.integer(field, 4) for field in _VALUES_FIELDS[1:3]]
            elif kind == _CONNECTED:
                taken = [node.integer(1, 4), node.integer(2, 4)]
            else:
                continue
            total += sum(product(self._shapes[one]) for one in taken if one in self._constants)
        return total
