"""Counts of every layer of a native program: its probe reads the clock between layers.

With ``--profile 1`` a program makes one more inference in which two system calls follow each layer,
so that intervals alternate: a layer, then the little that the probe itself does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shufflenet_deploy.cores import Core
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.predict.caches import Caches
from shufflenet_deploy.predict.counting import Execution, run
from shufflenet_deploy.predict.counts import Counts, intervals
from shufflenet_deploy.predict.plugin import Emulator

#: Intervals whose instructions differ by more than this from an inference's are none.
_MOST_DIFFERENCE = 0.1
#: One interval with more than this share of them all is no layer.
_WHOLE = 0.95


@dataclass(frozen=True)
class LayerCounts:
    """The instructions that one layer executed."""

    name: str
    operator: str
    counts: Counts


def layer_counts(
    execution: Execution, core: Core, caches: Caches, emulator: Emulator, inference: Counts
) -> list[LayerCounts]:
    """The layers of a native program in their order, of which ``inference`` is the whole.

    Raises:
        DeployError: it failed under QEMU.
        ParseError: it did not print its layers.
    """
    profiled = replace(execution, argv=(*execution.argv, "--profile", "1"))
    (text,), printed = run(profiled, core, [caches], emulator, every=True)
    names = _names(printed)
    found = _alternating(intervals(text), len(names), inference)
    return [
        LayerCounts(name, operator, counts)
        for (name, operator), counts in zip(names, found, strict=True)
    ]


def _names(printed: str) -> list[tuple[str, str]]:
    try:
        operators = json.loads(printed)["profile"]["operators"]
        return [(str(one["name"]), str(one["operator"])) for one in operators]
    except (ValueError, KeyError, TypeError) as error:
        raise ParseError("the program printed no layers: export it anew") from error


def _alternating(found: Sequence[Counts], layers: int, inference: Counts) -> list[Counts]:
    """Of all intervals every other one of those that execute what an inference does: the layers."""
    starts = range(len(found) - 2 * layers + 1)
    spans = (found[at : at + 2 * layers : 2] for at in starts)
    # A whole inference among trifles also adds up to one.
    apart = (span for span in spans if layers == 1 or _longest(span) < _WHOLE * _total(span))
    alike = [span for span in apart if _differs(span, inference) < _MOST_DIFFERENCE]
    best = max(alike, key=lambda span: _shared(span, inference), default=None)
    if best is None:
        raise ParseError("the layers of the program cannot be told apart: export it anew")
    return list(best)


def _total(span: Sequence[Counts]) -> int:
    return sum(one.instructions for one in span)


def _longest(span: Sequence[Counts]) -> int:
    return max(one.instructions for one in span)


def _differs(span: Sequence[Counts], inference: Counts) -> float:
    return abs(_total(span) - inference.instructions) / inference.instructions


def _shared(span: Sequence[Counts], inference: Counts) -> int:
    """Instructions of an inference that these intervals execute, block by block."""
    executed: Counter[tuple[int, int]] = Counter()
    for one in span:
        for block in one.blocks:
            executed[block.address, block.length] += block.executions
    return sum(
        min(block.executions, executed[block.address, block.length]) * block.length
        for block in inference.blocks
    )
