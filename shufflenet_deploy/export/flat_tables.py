"""FlatBuffers read by the numbers of their fields, with every offset checked.

A file from elsewhere may point anywhere; whatever lies outside of it is a ``ValueError``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_FORMATS = {1: "b", 2: "h", 4: "i", 8: "q"}
_LENGTH_BYTES = 4
#: Of a vector of tables; the largest network of the zoo has a few thousand.
_MOST_TABLES = 200_000


class Table(NamedTuple):
    """A table at an offset of a buffer."""

    content: bytes
    at: int

    @classmethod
    def root(cls, content: bytes) -> Table:
        """The table that a buffer is.

        Raises:
            ValueError: there is none.
        """
        return cls(content, number(content, "<I", 0))

    def has(self, field: int) -> bool:
        """False where a field is left out."""
        return self.place(field) is not None

    def integer(self, field: int, size: int, default: int = 0) -> int:
        """A signed number of ``size`` bytes; ``default`` where the field is left out."""
        at = self.place(field)
        return default if at is None else number(self.content, f"<{_FORMATS[size]}", at)

    def real(self, field: int) -> float:
        """A float of four bytes; 0 where the field is left out."""
        at = self.place(field)
        if at is None:
            return 0.0
        number(self.content, "<I", at)
        return float(struct.unpack_from("<f", self.content, at)[0])

    def table(self, field: int) -> Table:
        """A table.

        Raises:
            ValueError: the field is left out.
        """
        at = self.place(field)
        if at is None:
            raise ValueError("a table is missing")
        return Table(self.content, at + number(self.content, "<I", at))

    def text(self, field: int) -> str:
        """A text; "" where the field is left out."""
        return self.bytes(field).decode()

    def bytes(self, field: int) -> bytes:
        """A vector of bytes."""
        begin, count = self._vector(field, 1)
        return self.content[begin : begin + count]

    def integers(self, field: int, size: int) -> tuple[int, ...]:
        """A vector of signed numbers of ``size`` bytes."""
        begin, count = self._vector(field, size)
        return struct.unpack_from(f"<{count}{_FORMATS[size]}", self.content, begin)

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables."""
        begin, count = self._vector(field, _LENGTH_BYTES)
        if count > _MOST_TABLES:
            raise ValueError("more tables than a network needs")
        for at in range(begin, begin + count * _LENGTH_BYTES, _LENGTH_BYTES):
            yield Table(self.content, at + number(self.content, "<I", at))

    def place(self, field: int) -> int | None:
        """Offset of a field's value in the buffer; None where it is left out."""
        described = self.at - number(self.content, "<i", self.at)
        place = 4 + 2 * field
        if place + 2 > number(self.content, "<H", described):
            return None
        offset = number(self.content, "<H", described + place)
        return self.at + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where a vector begins, and its length; a vector that is left out is empty."""
        at = self.place(field)
        if at is None:
            return 0, 0
        at += number(self.content, "<I", at)
        count = number(self.content, "<I", at)
        if at + _LENGTH_BYTES + count * size > len(self.content):
            raise ValueError("a vector is longer than the file")
        return at + _LENGTH_BYTES, count


def number(content: bytes, form: str, at: int) -> int:
    """The number at an offset, in a form of ``struct``.

    Raises:
        ValueError: the offset lies outside of the file.
    """
    if not 0 <= at <= len(content) - struct.calcsize(form):
        raise ValueError("an offset lies outside of the file")
    (value,) = struct.unpack_from(form, content, at)
    return int(value)
