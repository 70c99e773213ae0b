"""Instructions as the models of cores see them, from words whose disassembly is known."""

from __future__ import annotations

import pytest

from shufflenet_deploy.cores.instructions import Kind
from shufflenet_deploy.predict.decoder import decode


def one(word):
    (found,) = decode(word.to_bytes(4, "little"))
    return found


@pytest.mark.parametrize(
    ("word", "kind", "reads", "writes"),
    [
        (0x4E22CC20, Kind.FP_FMA, "v0 v1 v2", "v0"),  # fmla v0.4s, v1.4s, v2.4s
        (0x4F821020, Kind.FP_FMA, "v0 v1 v2", "v0"),  # fmla v0.4s, v1.4s, v2.s[0]
        (0x1F021020, Kind.FP_FMA, "v1 v2 v4", "v0"),  # fmadd s0, s1, s2, s4
        (0x4E829420, Kind.DOT_PRODUCT, "v0 v1 v2", "v0"),  # sdot v0.4s, v1.16b, v2.16b
        (0x4CDF2820, Kind.VECTOR_LOAD, "x1", "v0 v1 v2 v3 x1"),  # ld1 {v0.4s-v3.4s}, [x1], #64
        (0x4D60E820, Kind.VECTOR_LOAD, "x1", "v0 v1 v2 v3"),  # ld4r {v0.4s-v3.4s}, [x1]
        (0x0D408020, Kind.VECTOR_LOAD, "v0 x1", "v0"),  # ld1 {v0.s}[0], [x1]
        (0xACC10420, Kind.VECTOR_LOAD, "x1", "v0 v1 x1"),  # ldp q0, q1, [x1], #32
        (0x3D800020, Kind.VECTOR_STORE, "v0 x1", ""),  # str q0, [x1]
        (0xF8206820, Kind.STORE, "x0 x1", ""),  # str x0, [x1, x0]
        (0xF8408420, Kind.LOAD, "x1", "x0 x1"),  # ldr x0, [x1], #8
        (0xA9BF7BFD, Kind.STORE, "sp x29 x30", "sp"),  # stp x29, x30, [sp, #-16]!
        (0xF9800020, Kind.PREFETCH, "x1", ""),  # prfm pldl1keep, [x1]
        (0x4E041C20, Kind.TRANSFER, "v0 x1", "v0"),  # mov v0.s[0], w1
        (0x4F00F400, Kind.PERMUTE, "", "v0"),  # fmov v0.4s, #2.0
        (0x54000041, Kind.BRANCH, "nzcv", ""),  # b.ne
        (0x9B017C00, Kind.MULTIPLY, "x0 x1", "x0"),  # mul x0, x0, x1
        (0x8B010000, Kind.INTEGER, "x0 x1", "x0"),  # add x0, x0, x1
    ],
)
def test_what_an_instruction_reads_and_writes(word, kind, reads, writes):
    found = one(word)
    assert found.kind is kind
    assert found.reads == set(reads.split())
    assert found.writes == set(writes.split())


def test_how_much_memory_it_moves():
    assert one(0x4CDF2820).bytes == 64
    assert one(0x3DC00020).bytes == 16  # ldr q0, [x1]
    assert one(0xFD400020).bytes == 8  # ldr d0, [x1]
    assert one(0xA8C17BFD).bytes == 16  # ldp x29, x30, [sp], #16


def test_the_base_of_an_address_and_the_last_factor_needed():
    assert one(0xACC10420).base == "x1"
    assert one(0x3DC00020).base is None
    assert one(0x4E22CC20).accumulator == "v0"
    assert one(0x1F021020).accumulator == "v4"
    assert one(0x4E22CC20).wide
    assert not one(0x0E22CC20).wide  # fmla v0.2s
    assert one(0x4D60E820).interleaved


def test_what_is_no_instruction_counts_as_one():
    assert one(0x00000000).kind is Kind.INTEGER
    assert decode(b"") == ()
