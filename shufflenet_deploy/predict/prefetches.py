"""Prefetch instructions of a program made visible to QEMU's plugins, in a copy for counting only.

QEMU gives plugins the addresses of loads and stores, and none of ``prfm``. In the copy each

    prfm pldl1keep, [x1, #64]      is      ldr xzr, [x1, #64]

which takes as many bytes and changes no register: ``plugin.c`` and ``decoder`` take a load into
``xzr`` for the prefetch that it was. Unlike a prefetch it faults where no memory is, so only
programs are rewritten that prefetch within their own buffers, as those of ``codegen`` do.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shufflenet_deploy.errors import ParseError

_WORD_BYTES = 4
_ELF64_LITTLE = b"\x7fELF\x02\x01"
_AARCH64 = 183
_PROGBITS, _EXECUTABLE = 1, 4
_SECTION_BYTES = 64
_ZERO_REGISTER = 31


@dataclass(frozen=True)
class _Form:
    """One addressing mode: which words are ``prfm``, and the opcode of the same load."""

    mask: int
    prefetch: int
    load: int


#: Immediate offset, register offset, unscaled offset (``prfum``). The lowest five bits are the
#: kind of prefetch, 0 for ``pldl1keep``, which alone is rewritten.
_FORMS = (
    _Form(0xFFC0001F, 0xF9800000, 0xF9400000),
    _Form(0xFFE00C1F, 0xF8A00800, 0xF8600800),
    _Form(0xFFE00C1F, 0xF8800000, 0xF8400000),
)


def as_load(word: int) -> int:
    """The word of an instruction, or of the load into ``xzr`` where it is ``prfm pldl1keep``."""
    for form in _FORMS:
        if word & form.mask == form.prefetch:
            return word & ~form.mask | form.load | _ZERO_REGISTER
    return word


def visible(program: bytes) -> bytes:
    """The program with its prefetches as loads; without any it is the same.

    Raises:
        ParseError: it is no ELF file for 64-bit ARM, or its sections are cut off.
    """
    changed = bytearray(program)
    for first, size in _code(program):
        for at in range(first, first + size - _WORD_BYTES + 1, _WORD_BYTES):
            (word,) = struct.unpack_from("<I", program, at)
            struct.pack_into("<I", changed, at, as_load(word))
    return bytes(changed)


def _code(program: bytes) -> Iterator[tuple[int, int]]:
    """Where sections of code begin in the file, and their sizes."""
    try:
        machine, sections = struct.unpack_from("<18xH20xQ", program)
        size, count = struct.unpack_from("<58xHH", program)
        if not program.startswith(_ELF64_LITTLE) or machine != _AARCH64 or size != _SECTION_BYTES:
            raise ParseError("the program is no executable for 64-bit ARM: export it anew")
        for index in range(count):
            kind, flags, offset, length = struct.unpack_from(
                "<4xIQ8xQQ", program, sections + size * index
            )
            if kind == _PROGBITS and flags & _EXECUTABLE:
                struct.unpack_from(f"<{length}x", program, offset)
                yield offset, length
    except struct.error as error:
        raise ParseError("the program is cut off: export it anew") from error
