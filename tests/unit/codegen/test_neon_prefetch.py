"""Prefetches of AArch64 microkernels: the lines of the next tile, and weights before their use."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import FP16, FP32
from shufflenet_deploy.codegen.emit.neon.microkernel import asm_lines
from shufflenet_deploy.codegen.emit.neon.microkernel_registers import MicrokernelSpec, Prefetch
from shufflenet_deploy.cores import CORTEX_A55
from shufflenet_deploy.network.graph import Activation

LINE_BYTES, VECTOR_BYTES = 64, 16
PLANE_BYTES = 832
STRIP = MicrokernelSpec(
    element=FP32,
    outputs=6,
    vectors=4,
    channels=9,
    taps=(0,),
    source_channel_stride=PLANE_BYTES,
    channel_stride=PLANE_BYTES,
    residual_channel_stride=0,
    in_place=False,
    activation=Activation.RELU,
    times=1,
    advances_outputs=True,
    clamp_min=True,
    load_wait=CORTEX_A55.load_wait,
)
_ACCESS = re.compile(r"^\"?(\w+) (.*?)\[%\[(\w+)\](?:, #(-?\d+))?\](?:, (.*?))?\\n")
_ADVANCE = re.compile(r"^\"?(add|sub) %\[([xwbry])\], %\[\2\], (.*?)\\n")
_BYTES = {"d": 8, "q": VECTOR_BYTES, "%": 8}


def accesses(strip):
    """Addresses that a microkernel loads and prefetches, relative to each pointer's beginning."""
    text = "\n".join(asm_lines(strip))
    sizes = dict(re.findall(r'\[(d\d+)\] "r"\(\(intptr_t\)(-?\d+)\)', text))
    at = dict.fromkeys("xwbry", 0)
    loaded, fetched = [], []

    def number(given):
        return int(given[1:] if given[0] == "#" else sizes[given[2:-1]])

    for line in map(str.strip, text.splitlines()):
        if found := _ADVANCE.match(line):
            sign = 1 if found[1] == "add" else -1
            at[found[2]] += sign * number(found[3])
        elif found := _ACCESS.match(line):
            kind, what, pointer, offset, step = found.groups()
            address = at[pointer] + int(offset or 0)
            size = VECTOR_BYTES * what.count("v") if kind[:2] == "ld" and "{" in what else 0
            if kind == "prfm":
                fetched.append((pointer, address))
            elif kind.startswith("ld"):
                size = size or _BYTES[what[0]]
                loaded += [(pointer, address + one) for one in range(0, size, 8)]
            at[pointer] += number(step) if step else 0
    return loaded, fetched


def lines(pairs, pointer, ahead=0):
    return {(at + ahead) // LINE_BYTES for name, at in pairs if name == pointer}


@pytest.mark.parametrize("split_loads", [False, True])
@pytest.mark.parametrize("vectors", [3, 4, 5])
@pytest.mark.parametrize("element", [FP32, FP16])
def test_the_next_tile_is_prefetched_but_for_what_this_one_loads(split_loads, vectors, element):
    strip = replace(
        STRIP,
        element=element,
        outputs=24 // vectors - 1,
        vectors=vectors,
        split_loads=split_loads and element is FP32,
        prefetch=Prefetch(pixels=True),
    )
    loaded, fetched = accesses(strip)
    assert {name for name, _ in fetched} == {"x"}
    next_tile = lines(loaded, "x", VECTOR_BYTES * vectors)
    assert next_tile - lines(loaded, "x") <= lines(fetched, "x") <= next_tile
    per_line = -(-vectors // 4)
    assert len(fetched) == strip.channels * per_line


@pytest.mark.parametrize("split_loads", [False, True])
def test_taps_that_share_lines_prefetch_them_once(split_loads):
    """Three rows of three taps, eight bytes apart: the last of each row does."""
    row = 160
    taps = tuple(row * i + 8 * j for i in range(3) for j in range(3))
    strip = replace(STRIP, taps=taps, channels=2, split_loads=split_loads)
    loaded, fetched = accesses(replace(strip, prefetch=Prefetch(pixels=True)))
    assert len(fetched) == 3 * strip.channels
    next_tile = lines(loaded, "x", VECTOR_BYTES * strip.vectors)
    assert next_tile - lines(loaded, "x") <= lines(fetched, "x") <= next_tile


@pytest.mark.parametrize("split_loads", [False, True])
def test_a_tap_between_vectors_prefetches_the_line_that_its_last_element_is_in(split_loads):
    vectors = 2
    strip = replace(STRIP, outputs=12, vectors=vectors, taps=(36,), split_loads=split_loads)
    loaded, fetched = accesses(replace(strip, prefetch=Prefetch(pixels=True)))
    next_tile = lines(loaded, "x", VECTOR_BYTES * vectors + VECTOR_BYTES // 2 - FP32.size)
    assert next_tile - lines(loaded, "x") <= lines(fetched, "x")


@pytest.mark.parametrize("split_loads", [False, True])
@pytest.mark.parametrize("vectors", [2, 3, 4])
def test_pixels_of_later_channels_are_prefetched_and_none_behind_the_last(split_loads, vectors):
    strip = replace(STRIP, outputs=24 // vectors - 1, vectors=vectors, split_loads=split_loads)
    later = 2
    loaded, fetched = accesses(replace(strip, prefetch=Prefetch(channels=later)))
    first = {at // LINE_BYTES for name, at in loaded if name == "x" and at < later * PLANE_BYTES}
    assert {name for name, _ in fetched} == {"x"}
    assert lines(loaded, "x") - first <= lines(fetched, "x") <= lines(loaded, "x")
    assert len(fetched) <= 2 * (strip.channels - later)


@pytest.mark.parametrize("split_loads", [False, True])
@pytest.mark.parametrize("clamp_min", [False, True])
def test_the_next_residual_is_prefetched(split_loads, clamp_min):
    strip = replace(
        STRIP,
        residual_channel_stride=PLANE_BYTES,
        clamp_min=clamp_min,
        split_loads=split_loads,
        prefetch=Prefetch(residual=True),
    )
    loaded, fetched = accesses(strip)
    next_tile = lines(loaded, "r", VECTOR_BYTES * strip.vectors)
    assert next_tile - lines(loaded, "r") <= lines(fetched, "r") <= next_tile
    assert len(fetched) == strip.outputs


@pytest.mark.parametrize("split_loads", [False, True])
@pytest.mark.parametrize("outputs", [3, 5, 6])
def test_every_line_of_weights_is_prefetched_so_far_ahead(split_loads, outputs):
    strip = replace(STRIP, outputs=outputs, split_loads=split_loads, prefetch=Prefetch(weights=512))
    loaded, fetched = accesses(strip)
    assert {name for name, _ in fetched} == {"w"}
    assert lines(loaded, "w", 512) <= lines(fetched, "w")
    assert len(fetched) <= len(lines(loaded, "w")) + 1
    assert max(at for _, at in fetched) < max(at for name, at in loaded if name == "w") + 512


def test_prefetches_change_nothing_else():
    with_all = replace(STRIP, prefetch=Prefetch(pixels=True, weights=512))
    kept = [line for line in asm_lines(with_all) if "prfm" not in line]
    assert kept == asm_lines(STRIP)
