"""The C of tails: vectors are widened before they are shuffled, which gcc keeps in registers."""

from __future__ import annotations

import re

import pytest

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.c.tail_packed import PackedTail

SHUFFLE = re.compile(
    r"__builtin_shufflevector\((LOAD|WIDE)(\d+)(?:_(\d+))?\(.*?\), \1[\d_]+\(.*?\), "
)


@pytest.mark.parametrize("pixels", [1, 2, 4, 8])
@pytest.mark.parametrize("lanes", [8, 16])
@pytest.mark.parametrize("outputs", [1, 3, 4, 8])
def test_a_shuffle_takes_vectors_as_wide_as_it_makes(outputs: int, lanes: int, pixels: int) -> None:
    tail, code = PackedTail(outputs, pixels, lanes), CWriter()
    tail.start(code)
    tail.multiply(code, 0, "x + 3 * LANES", 0)
    lines = [line for line in code.lines if "shufflevector" in line]
    assert lines or pixels in (1, lanes) or outputs * pixels < lanes
    for line in lines:
        match = SHUFFLE.search(line)
        assert match is not None, line
        order = [int(lane) for lane in line[match.end() :].split(")")[0].split(",")]
        kind, wide, loaded = match.groups()
        assert len(order) == int(wide)
        # Lanes behind what was loaded may be anything.
        assert max(order) < int(loaded or wide)
        assert (kind == "WIDE") == (loaded is not None)
