"""Prefetches of a program as loads into ``xzr``: exactly those, and nothing else."""

from __future__ import annotations

import struct

import pytest

from shufflenet_deploy.cores.instructions import Kind
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.predict.decoder import decode
from shufflenet_deploy.predict.prefetches import as_load, visible

PREFETCHES = {
    0xF9800000: 0xF940001F,  # prfm pldl1keep, [x0]
    0xF9BFFC20: 0xF97FFC3F,  # prfm pldl1keep, [x1, #32760]
    0xF98023E0: 0xF94023FF,  # prfm pldl1keep, [sp, #64]
    0xF8A26820: 0xF862683F,  # prfm pldl1keep, [x1, x2]
    0xF8A27820: 0xF862783F,  # prfm pldl1keep, [x1, x2, lsl #3]
    0xF8A25820: 0xF862583F,  # prfm pldl1keep, [x1, w2, uxtw #3]
    0xF89F8020: 0xF85F803F,  # prfum pldl1keep, [x1, #-8]
}
OTHERS = [
    0xF9800002,  # prfm pldl2keep, [x0]
    0xF9800010,  # prfm pstl1keep, [x0]
    0xD8000040,  # prfm pldl1keep, literal
    0xF9400020,  # ldr x0, [x1]
    0xB9800020,  # ldrsw x0, [x1]
    0xF8A00020,  # ldaddal of an atomic: the opcode of prfm, no bit 11
    0x39800020,  # ldrsb x0, [x1]
    0xFD800020,  # a vector load of no size
    0x4E21CC00,  # fmla
]


@pytest.mark.parametrize(("prefetch", "load"), PREFETCHES.items())
def test_a_prefetch_becomes_the_load_of_the_same_address(prefetch, load):
    assert as_load(prefetch) == load
    before, after = (decode(word.to_bytes(4, "little"))[0] for word in (prefetch, load))
    assert before.kind is after.kind is Kind.PREFETCH
    assert before.reads == after.reads
    assert after.writes == frozenset()


@pytest.mark.parametrize("word", OTHERS)
def test_nothing_else_is_changed(word):
    assert as_load(word) == word


def elf(*sections, machine=183):
    """An ELF file of sections (kind, flags, words), their headers at the end."""
    body, headers = b"", b""
    for kind, flags, words in sections:
        data = struct.pack(f"<{len(words)}I", *words)
        headers += struct.pack("<IIQQQQ24x", 0, kind, flags, 0, 64 + len(body), len(data))
        body += data
    head = b"\x7fELF\x02\x01" + bytes(10) + struct.pack("<HH", 2, machine) + bytes(20)
    head += struct.pack("<Q", 64 + len(body)) + bytes(10)
    return head + struct.pack("<HHH", 64, len(sections), 0) + body + headers


def test_only_sections_of_code_are_rewritten():
    (prefetch, load), *_ = PREFETCHES.items()
    code, data, none = (1, 4), (1, 2), (8, 4)
    program = elf((*data, [prefetch]), (*code, [0xD503201F, prefetch]), (*none, []))
    assert visible(program) == elf((*data, [prefetch]), (*code, [0xD503201F, load]), (*none, []))
    without = elf((*code, OTHERS), (*data, list(PREFETCHES)))
    assert visible(without) == without


@pytest.mark.parametrize("program", [b"", b"#!/bin/sh", elf((1, 4, [0]), machine=62)])
def test_what_is_no_program_for_arm_is_refused(program):
    with pytest.raises(ParseError):
        visible(program)


def test_a_program_that_is_cut_off_is_refused():
    program = elf((1, 4, [0] * 8))
    for size in (70, len(program) - 30):
        with pytest.raises(ParseError, match="cut off"):
            visible(program[:size])
