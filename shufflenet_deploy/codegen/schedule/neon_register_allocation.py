"""Register allocation and instruction counts of AArch64 microkernels, fp32 and fp16.

A load that has no register to go to before its use costs what the description of the core says
(``cores.LoadWait``); every other instruction counts one, whatever the core.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from shufflenet_deploy.cores import NO_WAIT, LoadWait

REGISTERS = 32
_FP16_LANES = 8
VECTORS_PER_LOAD = 4  # vectors that one instruction loads or stores
MAX_STRAIGHT_FMAS = 1000  # multiply-adds in one straight-line block
PAIR_OFFSETS = range(-1024, 1009)  # offsets of ldp and stp
#: Products that lose too much when halves add them up one after the other.
_LONG_FP16_SUM = 256


@dataclass(frozen=True)
class OperandRegisters:
    """Registers for operands, next to the accumulators.

    ``channels`` sets for a channel's pixels, and ``loads`` times ``weights`` registers.
    """

    channels: int
    weights: int
    loads: int


@lru_cache(maxsize=1024)
def allocate_operands(
    outputs: int,
    vectors: int,
    sets: int,
    lanes: int,
    *,
    load_wait: LoadWait,
    split_loads: bool = False,
) -> tuple[float, OperandRegisters] | None:
    """The cheapest use of the registers that ``sets`` of accumulators leave, and its cost.

    The cost is in instructions per channel, multiply-adds excluded; with ``split_loads`` in cycles.
    """
    free = REGISTERS - sets * outputs * vectors
    found = []
    for channels, weights, loads in itertools.product(
        (1, 2), range(1, VECTORS_PER_LOAD + 1), (1, 2, 3)
    ):
        if channels * vectors + weights * loads > free:
            continue
        if split_loads and weights > 1:
            continue  # each is loaded on its own
        cost = ceil(vectors / VECTORS_PER_LOAD) + outputs / (lanes * weights)
        if split_loads:
            cost = vectors + outputs / lanes
        late = (channels == 1) + (loads == 1) * outputs / (lanes * weights)
        cost += late * (load_wait.halves if split_loads else load_wait.whole)
        found.append((cost - 0.001 * loads, OperandRegisters(channels, weights, loads)))
    return min(found, key=lambda pair: pair[0], default=None)


def accumulator_sets(depth: int, lanes: int) -> int:
    """Sets of accumulators: long fp16 sums are accumulated in two levels."""
    return 2 if depth > _LONG_FP16_SUM and lanes == _FP16_LANES else 1


def fits_registers(outputs: int, vectors: int, depth: int, lanes: int) -> bool:
    """True if a block's accumulators, pixels and weights fit the registers."""
    biases, sets = ceil(outputs / lanes) + 1, accumulator_sets(depth, lanes)
    return (
        sets * outputs * vectors + biases <= REGISTERS
        and allocate_operands(outputs, vectors, sets, lanes, load_wait=NO_WAIT) is not None
    )


def block_instructions(
    outputs: int,
    vectors: int,
    depth: int,
    plane: int,
    lanes: int,
    *,
    residual: bool,
    clamp_min: bool,
    load_wait: LoadWait,
    split_loads: bool = False,
) -> float:
    """Instructions of a block; ``plane`` is the target's channel stride in bytes."""
    sets = accumulator_sets(depth, lanes)
    found = allocate_operands(
        outputs, vectors, sets, lanes, load_wait=load_wait, split_loads=split_loads
    )
    assert found is not None
    sums, quads = outputs * vectors, outputs * ceil(vectors / VECTORS_PER_LOAD)
    around: float = sums  # the activation
    if sets > 1:
        around += sums * ceil(depth * sums / MAX_STRAIGHT_FMAS)
    if clamp_min:
        around += quads + outputs / 4 + (quads if residual else -sums)
    elif residual:
        around += 2 * quads + sums
    else:
        around += vectors * ceil(outputs / 4) + outputs * _store_instructions(vectors, plane)
    return depth * (sums + found[0]) + around + 5


def _store_instructions(vectors: int, stride: int) -> float:
    """Instructions that store one channel's vectors, pointer updates included."""
    return min(paired_store_instructions(vectors, stride), float(vectors))


def paired_store_instructions(vectors: int, stride: int) -> float:
    """The same with ``stp``, whether or not that takes fewer."""
    if vectors < 2:
        return float(vectors)
    within = 1
    if 0 < stride < len(PAIR_OFFSETS):
        within = (len(PAIR_OFFSETS) - 16 * vectors + 16) // stride + 1
    return vectors // 2 + vectors % 2 + 1 / max(1, within)
