"""MNN's FlatBuffers, as far as ``inspect`` reads them: who made a file, and its weights.

MNN's wheel brings no reader of its own files' fields; these few have kept their places.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

#: Of a table: fields in the order of MNN's schema.
_MAKER, _OPERATORS, _TYPE, _PARAMETERS = 0, 3, 5, 2
#: Of a convolution's parameters, and of what all of its kinds share.
_COMMON, _QUANTISED = 0, 3
_KERNEL_X, _KERNEL_Y, _GROUPS, _OUTPUTS, _INPUTS = 2, 3, 9, 10, 11
#: MNN's numbers of the operators that hold weights.
_CONVOLUTION, _DEPTHWISE, _DECONVOLUTION = 12, 13, 14

_MOST_OPERATORS = 1_000_000
_FEWEST_FIELDS, _MOST_FIELDS = 4, 40
_PRINTABLE = range(0x20, 0x7F)


class Weights(NamedTuple):
    """``parameters`` with biases; ``packed`` is True where a layer's are no float32."""

    parameters: int
    packed: bool


def looks_like_mnn(start: bytes) -> bool:
    """True if a file's first bytes may be a FlatBuffers table of MNN's, which has no identifier."""
    if len(start) < struct.calcsize("<IBBBB") or all(one in _PRINTABLE for one in start[4:8]):
        return False
    try:
        root = _number(start, 0, "<I")
        fields = root - _number(start, root, "<i")
        size, table = _number(start, fields, "<H"), _number(start, fields + 2, "<H")
    except (struct.error, ValueError):
        return False
    count, odd = divmod(size - 4, 2)
    return not odd and _FEWEST_FIELDS <= count <= _MOST_FIELDS and 4 <= table <= len(start)


def maker(content: bytes) -> str:
    """What a file's maker wrote into it; MNN calls the field ``bizCode``.

    Raises:
        ValueError: the file is damaged.
    """
    place = _root(content).field(_MAKER)
    return "" if place is None else _text(content, place)


def weights(content: bytes) -> Weights:
    """The weights of a file.

    Raises:
        ValueError: the file is damaged.
    """
    total, packed = 0, False
    for operator in _root(content).tables(_OPERATORS):
        kind = operator.number(_TYPE, 0, "<i")
        parameters = operator.table(_PARAMETERS)
        if kind not in (_CONVOLUTION, _DEPTHWISE, _DECONVOLUTION) or parameters is None:
            continue
        common = parameters.table(_COMMON)
        if common is None:
            continue
        outputs = common.number(_OUTPUTS, 0, "<i")
        inputs = 1 if kind == _DEPTHWISE else common.number(_INPUTS, 0, "<i")
        kernel = common.number(_KERNEL_X, 1, "<i") * common.number(_KERNEL_Y, 1, "<i")
        groups = 1 if kind == _DEPTHWISE else max(1, common.number(_GROUPS, 1, "<i"))
        total += outputs * inputs // groups * kernel + outputs
        packed = packed or parameters.field(_QUANTISED) is not None
    return Weights(total, packed)


class _Table(NamedTuple):
    content: bytes
    place: int

    def field(self, index: int) -> int | None:
        """Where a field stands; None where the file leaves it out."""
        fields = self.place - _number(self.content, self.place, "<i")
        if 4 + 2 * index >= _number(self.content, fields, "<H"):
            return None
        offset = _number(self.content, fields + 4 + 2 * index, "<H")
        return self.place + offset if offset else None

    def number(self, index: int, otherwise: int, kind: str) -> int:
        place = self.field(index)
        return otherwise if place is None else _number(self.content, place, kind)

    def table(self, index: int) -> _Table | None:
        place = self.field(index)
        return None if place is None else _indirect(self.content, place)

    def tables(self, index: int) -> Iterator[_Table]:
        place = self.field(index)
        if place is None:
            return
        start = place + _number(self.content, place, "<I")
        count = _number(self.content, start, "<I")
        if count > _MOST_OPERATORS:
            raise ValueError("more operators than a network has")
        for at in range(count):
            yield _indirect(self.content, start + 4 + 4 * at)


def _root(content: bytes) -> _Table:
    return _indirect(content, 0)


def _indirect(content: bytes, place: int) -> _Table:
    return _Table(content, place + _number(content, place, "<I"))


def _text(content: bytes, place: int) -> str:
    start = place + _number(content, place, "<I")
    length = _number(content, start, "<I")
    if start + 4 + length > len(content):
        raise ValueError("a text ends behind the file")
    return content[start + 4 : start + 4 + length].decode("utf-8", "replace")


def _number(content: bytes, place: int, kind: str) -> int:
    if place < 0:
        raise ValueError("an offset lies before the file")
    try:
        (found,) = struct.unpack_from(kind, content, place)
    except struct.error as error:
        raise ValueError("an offset lies behind the file") from error
    return int(found)
