"""Counts small enough to keep among the tests: those of the code that takes the time."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.predict.counts import CodeBlock, Counts, Misses

#: Blocks with less than this share of the instructions, and of the misses, are left out.
_LEAST_SHARE = 2e-5


def keep(counts: Counts, path: Path) -> None:
    """Write counts as the plugin does, without the blocks that matter to no prediction."""
    write_whole(path, gzip.compress("\n".join(_lines(counts)).encode("ascii"), 9, mtime=0))


def _lines(counts: Counts) -> Iterator[str]:
    missed = sum(map(_missed, counts.blocks))
    for block in counts.blocks:
        instructions = block.executions * block.length
        if max(instructions / counts.instructions, _missed(block) / missed) < _LEAST_SHARE:
            continue
        yield f"B {block.address:x} {block.executions} {block.code.hex()}"
        for index, misses in block.misses.items():
            yield f"M {index} {block.executions} {' '.join(map(str, astuple(misses)))}"
    yield f"counts 1 1 {counts.instructions}"


def _missed(block: CodeBlock) -> int:
    """Lines that a block missed in any level."""
    whole = sum(block.misses.values(), Misses())
    return sum(astuple(whole))
