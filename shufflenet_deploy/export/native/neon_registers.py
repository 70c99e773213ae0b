"""How a block of a convolution in assembly uses the registers of 64-bit ARM, and what it costs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.export.native.assembly import HALVES, REGISTERS

QUAD = 4  # vectors that one instruction loads or stores
STRAIGHT = 1000  # multiply-adds in one straight piece of code
PAIR = range(-1024, 1009)  # offsets of ldp and stp
#: Products that lose too much when halves add them up one after the other.
_LONG_SUM = 256
_STALL = 3.0  # instructions that a load with no register to go to in time is worth, in order


@dataclass(frozen=True)
class Registers:
    """What is left beside the accumulators.

    ``channels`` times the pixels of a block's channel, and ``loads`` times ``weights`` registers.
    """

    channels: int
    weights: int
    loads: int


@lru_cache(maxsize=1024)
def shared(
    outputs: int, vectors: int, sets: int, lanes: int, *, ordered: bool
) -> tuple[float, Registers] | None:
    """The cheapest use of the registers that ``sets`` of accumulators leave free.

    With its instructions for each channel.
    """
    free = REGISTERS - sets * outputs * vectors
    found = []
    for channels, weights, loads in itertools.product((1, 2), range(1, QUAD + 1), (1, 2, 3)):
        if channels * vectors + weights * loads > free:
            continue
        price = ceil(vectors / QUAD) + outputs / (lanes * weights)
        late = (channels == 1) + (loads == 1) * outputs / (lanes * weights)
        price += late * (_STALL if ordered else 0.05)
        found.append((price - 0.001 * loads, Registers(channels, weights, loads)))
    return min(found, key=lambda pair: pair[0], default=None)


def sets_of(depth: int, lanes: int) -> int:
    """Sets of accumulators: halves add up the sums of straight pieces of code apart."""
    return 2 if depth > _LONG_SUM and lanes == HALVES.lanes else 1


def fits(outputs: int, vectors: int, depth: int, lanes: int) -> bool:
    """Whether a block's accumulators, pixels and weights fit the registers."""
    biases, sets = ceil(outputs / lanes) + 1, sets_of(depth, lanes)
    return (
        sets * outputs * vectors + biases <= REGISTERS
        and shared(outputs, vectors, sets, lanes, ordered=False) is not None
    )


def cost(
    outputs: int,
    vectors: int,
    depth: int,
    plane: int,
    lanes: int,
    *,
    residual: bool,
    floors: bool,
    ordered: bool,
) -> float:
    """Instructions of a block; ``plane`` is the bytes between channels of the target."""
    sets = sets_of(depth, lanes)
    found = shared(outputs, vectors, sets, lanes, ordered=ordered)
    assert found is not None
    sums, quads = outputs * vectors, outputs * ceil(vectors / QUAD)
    around: float = sums  # the activation
    if sets > 1:
        around += sums * ceil(depth * sums / STRAIGHT)
    if floors:
        around += quads + outputs / 4 + (quads if residual else -sums)
    elif residual:
        around += 2 * quads + sums
    else:
        around += vectors * ceil(outputs / 4) + outputs * _walking(vectors, plane)
    return depth * (sums + found[0]) + around + 5


def _walking(vectors: int, stride: int) -> float:
    """Instructions that store one channel's vectors by pairs, moving the pointer included."""
    return min(paired(vectors, stride), float(vectors))


def paired(vectors: int, stride: int) -> float:
    """The same where two registers are stored at a time, whether or not that takes fewer."""
    if vectors < 2:
        return float(vectors)
    within = 1
    if 0 < stride < len(PAIR):
        within = (len(PAIR) - 16 * vectors + 16) // stride + 1
    return vectors // 2 + vectors % 2 + 1 / max(1, within)
