"""Calibrated ranges for an int8 file of MNN's quantiser, in place of the quantiser's own.

MNN's moving averages begin with the first image and give a hundredth of their weight to each other
one, so that with the few dozen images of a calibration they are the range of the first. Here the
ranges are observed in MNN's fp32 file over all images, and written where the quantiser's stand.

A value that is only moved, joined or averaged keeps its scale. The quantiser chooses one for each
reader, and where a value changes its scale on the way, a file was observed to answer differently
from one session of MNN 3.6.1 to the next. The cause was not found; with one scale it did not.

Max pools compute in floats: on x86, MNN 3.6.1 stores a level of int8 as that level plus 128 without
a sign, and its max pool compares these bytes as signed ones, which orders them wrongly. It computes
in int8 only where its input and output have equal scales, so that behind it is the next float.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.flat_tables import Table
from shufflenet_deploy.network.quantization.ranges import Span, activation_scale

#: Fields of MNN's tables, in the order of its schema: of a network,
_TENSORS, _OPERATORS = 1, 3
#: of what is known of a tensor, and of its numbers,
_INDEX, _NUMBERS = 1, 4
_SCALE, _ZERO, _LEAST, _MOST = 0, 1, 2, 3
#: of an operator,
_READ, _PARAMETERS, _NAME, _MADE, _TYPE = 0, 2, 3, 4, 5
#: of a convolution and the two tables in it,
_WEIGHTS, _QUANTISED = 3, 4
_SCALE_READ, _SCALE_MADE = 5, 6
_ZERO_READ, _ZERO_MADE = 6, 7
#: and of a pool.
_POOL_KIND = 7

#: MNN's numbers of operators and pools.
_CONVOLUTIONS, _POOL, _MAX_POOL, _CONCAT = (12, 13), 47, 0, 10
#: Operators whose output has the numbers of their first input, or some of them: Crop, ExpandDims,
#: Flatten, Padding, Permute, ReLU, Reshape, Slice, SliceTf, Squeeze, StridedSlice, Tile, Transpose,
#: Unsqueeze, DepthToSpace, SpaceToDepth, Raster and ConvertTensor; and pools between these bounds.
_MOVING = frozenset(
    (14, 26, 28, 45, 46, 69, 73, 83, 84, 90, 91, 98, 100, 107, 109, 110, 128, 129, _CONCAT, _POOL)
)
_INT, _BYTE = 4, 1
_LOWEST_LEVEL, _HIGHEST_LEVEL = -128.0, 127.0


class Value(NamedTuple):
    """A value of a network: what an operator makes, or what it reads first."""

    operator: str
    #: Which of its outputs; None for its first input.
    output: int | None

    def __str__(self) -> str:
        return f"{self.operator}:{'in' if self.output is None else self.output}"


@dataclass(frozen=True)
class _Operator:
    table: Table
    name: str
    kind: int
    read: tuple[int, ...]
    made: tuple[int, ...]

    @property
    def is_max_pool(self) -> bool:
        pooled = self.kind == _POOL and self.table.has(_PARAMETERS)
        return pooled and self.table.table(_PARAMETERS).integer(_POOL_KIND, _BYTE) == _MAX_POOL

    @property
    def handed_on(self) -> tuple[int, ...]:
        """Tensors that have one scale because the operator makes no new numbers."""
        if self.kind not in _MOVING or self.is_max_pool:
            return ()
        return (*(self.read if self.kind == _CONCAT else self.read[:1]), *self.made)

    def values(self) -> Iterator[tuple[int, Value]]:
        """Tensors and what is known of them by this operator's name."""
        for place, tensor in enumerate(self.made):
            yield tensor, Value(self.name, place)
        if self.read:
            yield self.read[0], Value(self.name, None)


def ranged(content: bytes, spans: Mapping[str, Span]) -> bytes:
    """The file with scales and zero points of the ranges; ``spans`` are those of ``str(Value)``.

    Tensors that hand numbers on to each other have one scale; those of which no range is known keep
    the quantiser's.

    Raises:
        ExportError: the file is not laid out as MNN 3.6.1 lays it.
    """
    try:
        return _ranged(content, spans)
    except ValueError as error:
        raise ExportError(
            f"MNN's quantiser wrote a file that is not understood here: {error}; "
            "take --precision fp32 or fp16, or another --fmt"
        ) from error


def _ranged(content: bytes, spans: Mapping[str, Span]) -> bytes:
    network = Table.root(content)
    operators = [_operator(table) for table in network.tables(_OPERATORS)]
    numbers = {
        tensor.integer(_INDEX, _INT): tensor.table(_NUMBERS)
        for tensor in network.tables(_TENSORS)
        if tensor.has(_NUMBERS)
    }
    known: dict[int, Span] = {}
    for operator in operators:
        for tensor, value in operator.values():
            if str(value) in spans:
                known[tensor] = _around(known.get(tensor), spans[str(value)])
    chosen: dict[int, tuple[float, int]] = {}
    groups = _sharing(operators, numbers)
    for group in groups:
        span: Span | None = None
        for tensor in group:
            span = _around(span, known[tensor]) if tensor in known else span
        if span is not None:
            chosen |= dict.fromkeys(group, activation_scale(span))
    for operator in operators:
        if operator.is_max_pool and _equal(chosen, operator):
            read, made = operator.read[0], operator.made[0]
            (behind,) = (group for group in groups if made in group)
            scale, zero = chosen[made]
            other = float(np.nextafter(np.float32(scale), np.float32(1))), zero
            chosen |= dict.fromkeys([made] if read in behind else behind, other)
    return _written(content, operators, numbers, chosen)


def _operator(table: Table) -> _Operator:
    read, made = (table.integers(field, _INT) for field in (_READ, _MADE))
    return _Operator(table, table.text(_NAME), table.integer(_TYPE, _INT), read, made)


def _around(one: Span | None, other: Span) -> Span:
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))


def _equal(chosen: Mapping[int, tuple[float, int]], operator: _Operator) -> bool:
    read, made = (chosen.get(one[0]) for one in (operator.read, operator.made))
    return made is not None and read == made


def _sharing(operators: Iterable[_Operator], tensors: Iterable[int]) -> list[list[int]]:
    """Tensors that operators hand on to each other, also by way of others."""
    root: dict[int, int] = {}

    def found(tensor: int) -> int:
        while root.setdefault(tensor, tensor) != tensor:
            tensor = root[tensor]
        return tensor

    for operator in operators:
        for tensor in operator.handed_on:
            root[found(tensor)] = found(operator.made[0])
    groups: dict[int, list[int]] = {}
    for tensor in tensors:
        groups.setdefault(found(tensor), []).append(tensor)
    return list(groups.values())


def _written(
    content: bytes,
    operators: Iterable[_Operator],
    numbers: Mapping[int, Table],
    chosen: Mapping[int, tuple[float, int]],
) -> bytes:
    changed = bytearray(content)

    def put(table: Table, field: int, form: str, value: float) -> None:
        place = table.place(field)
        if place is None:
            raise ValueError("a number is missing")
        struct.pack_into(form, changed, place, value)

    for tensor, (scale, zero) in chosen.items():
        for field, value in (
            (_SCALE, scale),
            (_ZERO, float(zero)),
            (_LEAST, _LOWEST_LEVEL),
            (_MOST, _HIGHEST_LEVEL),
        ):
            put(numbers[tensor], field, "<f", value)
    for operator in operators:
        if operator.kind not in _CONVOLUTIONS:
            continue
        layer = operator.table.table(_PARAMETERS)
        for tensors, scale_field, zero_field in (
            (operator.read, _SCALE_READ, _ZERO_READ),
            (operator.made, _SCALE_MADE, _ZERO_MADE),
        ):
            if tensors[0] in chosen and layer.has(_WEIGHTS) and layer.has(_QUANTISED):
                scale, zero = chosen[tensors[0]]
                put(layer.table(_WEIGHTS), scale_field, "<f", scale)
                put(layer.table(_QUANTISED), zero_field, "<b", zero)
    return bytes(changed)
