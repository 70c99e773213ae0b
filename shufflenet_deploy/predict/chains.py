"""Blocks that follow each other equally often, joined to chains: what a core's cycles are taken of.

Translated blocks end at every branch and page; the pipelines of a core do not. A chain goes on
through branches that are not taken. The chain of a loop's body is executed again and again, which
is the steady state that ``Core.cycles`` gives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from shufflenet_deploy.cores.instructions import STORES, Kind
from shufflenet_deploy.predict.counts import CodeBlock, Misses, Prefetched
from shufflenet_deploy.predict.decoder import INSTRUCTION_BYTES, decode

#: A chain is cut where it gets longer, and where the counts of two blocks differ by more than this.
_MOST_INSTRUCTIONS = 1500
_SAME_COUNT = 0.02


class Ending(Enum):
    """The exit of a block, by its last instruction."""

    FALLS_THROUGH = auto()
    CONDITIONAL = auto()
    LEAVES = auto()


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Code, how often it was executed, and the misses of its loads, stores and prefetches.

    ``prefetched`` are the lines of its prefetches that were of use.

    ``loops`` says that it ends with a branch to its own beginning, ``exits`` how often it was left
    by the end of that loop.
    """

    address: int
    executions: int
    code: bytes
    loads: Misses
    stores: Misses
    prefetches: Misses
    prefetched: Prefetched
    loops: bool
    exits: int = 0

    @property
    def instructions(self) -> int:
        """Instructions executed in it altogether."""
        return self.executions * (len(self.code) // INSTRUCTION_BYTES)


def join(blocks: Sequence[CodeBlock]) -> list[Chain]:
    """Chains of all blocks; each block is in one of them."""
    starting: dict[int, list[CodeBlock]] = defaultdict(list)
    for block in blocks:
        starting[block.address].append(block)
    used: set[int] = set()
    found = []
    for block in sorted(blocks, key=lambda one: (one.address, one.length)):
        if id(block) in used:
            continue
        parts = [block]
        used.add(id(block))
        while (following := _following(parts, starting, used)) is not None:
            parts.append(following)
            used.add(id(following))
        found.append(_chain(parts))
    executed: dict[int, int] = defaultdict(int)
    for chain in found:
        executed[chain.address] += chain.executions
    return [_with_exits(chain, executed) for chain in found]


def _following(
    parts: Sequence[CodeBlock], starting: dict[int, list[CodeBlock]], used: set[int]
) -> CodeBlock | None:
    last = parts[-1]
    ending, target = _ending(last)
    if ending is Ending.LEAVES or (ending is Ending.CONDITIONAL and target == parts[0].address):
        return None
    if sum(part.length for part in parts) >= _MOST_INSTRUCTIONS:
        return None
    fitting = [
        one
        for one in starting[last.end]
        if id(one) not in used
        and abs(one.executions - last.executions)
        <= _SAME_COUNT * max(one.executions, last.executions)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _chain(parts: Sequence[CodeBlock]) -> Chain:
    loads = stores = prefetches = Misses()
    prefetched = Prefetched()
    for part in parts:
        prefetched = sum(part.prefetched.values(), prefetched)
        for index, misses in part.misses.items():
            at = index * INSTRUCTION_BYTES
            (one,) = decode(part.code[at : at + INSTRUCTION_BYTES])
            if one.kind in STORES:
                stores += misses
            elif one.kind is Kind.PREFETCH:
                prefetches += misses
            else:
                loads += misses
    ending, target = _ending(parts[-1])
    return Chain(
        address=parts[0].address,
        executions=parts[0].executions,
        code=b"".join(part.code for part in parts),
        loads=loads,
        stores=stores,
        loops=ending is Ending.CONDITIONAL and target == parts[0].address,
        prefetches=prefetches,
        prefetched=prefetched,
    )


def _with_exits(chain: Chain, executed: dict[int, int]) -> Chain:
    if not chain.loops:
        return chain
    left = executed[chain.address + len(chain.code)]
    fields = {name: getattr(chain, name) for name in chain.__dataclass_fields__}
    return Chain(**fields | {"exits": min(left, chain.executions)})


def _ending(block: CodeBlock) -> tuple[Ending, int | None]:
    """The exit of a block, and the target of its conditional branch."""
    word = int.from_bytes(block.code[-INSTRUCTION_BYTES:], "little")
    at = block.end - INSTRUCTION_BYTES
    if word >> 24 == 0x54 or word >> 25 & 0x3F == 0b011010:  # b.cond; cbz, cbnz
        return Ending.CONDITIONAL, at + 4 * _signed(word >> 5, 19)
    if word >> 25 & 0x3F == 0b011011:  # tbz, tbnz
        return Ending.CONDITIONAL, at + 4 * _signed(word >> 5, 14)
    leaving = word >> 26 & 0x1F == 0b00101 or word >> 25 == 0b1101011 or word >> 24 == 0xD4
    return (Ending.LEAVES if leaving else Ending.FALLS_THROUGH), None


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
