"""The counts as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from runtime_counts.counts import NATIVE, PRECISIONS, RUNTIMES, Counted, ratio
from runtime_counts.networks import NETWORKS, Network

_INTRODUCTION = """\
# Instructions beside other runtimes

Millions of instructions of one inference of a {resolution} image with one thread on a Cortex-A76,
counted (not measured, and no time) by `PYTHONPATH=benchmarks python -m runtime_counts --json
counts.jsonl --markdown docs/counts.md`: under QEMU's user emulation, each runtime from its own
wheel for ARM ({versions}), with the file that `export` makes for it. Weights are drawn at random.

*Ratio* is native over the lowest of the others. *Least* is the share of native's instructions that
the multiply-adds would take if nothing else were done: four by an instruction in fp32, sixteen in
int8. A convolution by Winograd needs fewer, so that more than 100 % is possible.
"""
_TITLES = {"litert": "LiteRT", "mnn": "MNN"}


def table(known: Counted, networks: Sequence[Network], precision: str) -> Iterator[str]:
    """One precision, a line for each network, and the geometric mean of the ratios."""
    names = RUNTIMES[precision]
    titles = " | ".join(_TITLES.get(name, name) for name in names)
    yield f"| {precision} | {titles} | ratio | least |"
    yield f"| :-- |{' --: |' * (len(names) + 2)}"
    ratios = []
    for network in networks:
        cells = known.of(network, precision)
        if not cells:
            continue
        millions = [
            f"{cells[name].instructions / 1e6:.1f}" if name in cells else "" for name in names
        ]
        over = ratio(cells)
        if over is not None:
            ratios.append(over)
        last = [
            "" if over is None else f"{over:.2f}",
            f"{cells[NATIVE].share_of_least:.0%}" if NATIVE in cells else "",
        ]
        yield f"| {network.title} | {' | '.join([*millions, *last])} |"
    if ratios:
        mean = prod(ratios) ** (1 / len(ratios))
        yield f"| geometric mean |{' |' * len(names)} {mean:.2f} | |"


def markdown(known: Counted) -> str:
    """The whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(known.versions.items()))
    lines = [_INTRODUCTION.format(versions=versions, resolution=known.resolution)]
    for precision in PRECISIONS:
        lines += [*table(known, NETWORKS, precision), ""]
    return "\n".join(lines)
