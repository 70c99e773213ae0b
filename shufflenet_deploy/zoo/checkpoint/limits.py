"""Limits on checkpoints; a file above them is refused before it is read.

VGG-16, the largest network here, has 138M weights; with its optimiser, averages and double
precision a checkpoint of it stays below 4 GiB.
"""

from __future__ import annotations

import io
from typing import IO

MAX_FILE_BYTES = 8 << 30
#: Elements of one state dict; as floats they take 1 GiB.
MAX_ELEMENTS = 1 << 28
#: Bytes of one storage (several tensors may be views of it), and of all that a state dict lies in.
MAX_STORAGE_BYTES = 1 << 30
MAX_STORAGES_BYTES = 2 << 30
#: The pickle next to the numbers: names, shapes and whatever else was saved.
MAX_PICKLE_BYTES = 64 << 20
MAX_PICKLE_OPCODES = 5_000_000
MAX_DIMENSIONS = 8


class LimitError(ValueError):
    """Something in a file is larger than anything that is read here."""


class BoundedReader(io.BufferedReader):
    """A binary file of which no single read takes more than ``MAX_PICKLE_BYTES``."""

    def read(self, size: int | None = -1) -> bytes:
        """At most ``size`` bytes; LimitError when more than the limit is asked for or follows."""
        if size is not None and 0 <= size <= MAX_PICKLE_BYTES:
            return super().read(size)
        if size is not None and size >= 0:
            raise LimitError(f"a piece of {size} bytes")
        content = super().read(MAX_PICKLE_BYTES + 1)
        if len(content) > MAX_PICKLE_BYTES:
            raise LimitError(f"a piece of more than {MAX_PICKLE_BYTES >> 20} MiB")
        return content

    def readline(self, size: int | None = -1) -> bytes:
        """A line, cut at the limit."""
        wanted = MAX_PICKLE_BYTES if size is None or size < 0 else min(size, MAX_PICKLE_BYTES)
        return super().readline(wanted)


def read_at_most(stream: IO[bytes], limit: int) -> bytes:
    """The rest of ``stream``; LimitError when it is longer than ``limit`` bytes."""
    content = stream.read(limit + 1)
    if len(content) > limit:
        raise LimitError(f"more than {limit >> 20} MiB")
    return content
