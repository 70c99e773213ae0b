"""Markdown of what ``compare_runtimes`` found: tables of times and of counts, and how far we are ahead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from compare_runtimes.results import HALVES, HERE, PEAK, Outcome, Result
from shufflenet_deploy import stats
from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.cost.protocol import agreement
from shufflenet_deploy.errors import UsageError

#: Multiply-adds of floats that one AArch64 instruction can do.
_LANES = 4
#: Our program in a precision, which all others are compared with: the first that there is.
_OURS = {
    "fp32": ("ours-native",),
    HALVES: ("ours-native-fp16", "ours-native"),
    "int8": ("ours-native-int8",),
}
_PRECISIONS = tuple(_OURS)


@dataclass(frozen=True)
class Goal:
    """The wanted speedup of our program over the fastest runtime."""

    model: str
    precision: str
    factor: float


GOALS = (
    Goal("shufflenet-g3-0.5x", "fp32", 2.0),
    Goal("shufflenet-g3-1x", "fp32", 1.6),
    Goal("shufflenet-g3-2x", "fp32", 1.2),
    Goal("alexnet", "fp32", 1.0),
    Goal("shufflenet-g3-0.5x", "int8", 2.0),
)


def times(result: Result) -> str:
    """A table of times on this machine, fastest first within a precision."""
    peak = result.outcome(PEAK)
    lines = [
        f"**{result.title}, {result.resolution}**, {result.multiply_adds / 1e6:.1f} million"
        f" multiply-adds. {_circumstances(result, peak)}",
        "",
        "| | | runtime | ms | fastest turn | times ours | of peak | SQNR | top-1 |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for precision in _PRECISIONS:
        ours = _ours(result, precision)
        for one in sorted(result.measured(precision), key=lambda one: stats.center(one.turns)):
            interval = stats.interval(one.turns)
            least = min(stats.median(turn) for turn in one.turns)
            ratio = stats.ratio_interval(ours.turns, one.turns) if ours else None
            share = ""
            if peak is not None and precision == "fp32":
                share = f"{result.multiply_adds / interval.estimate / _rate(peak):.0%}"
            lines.append(
                _row(
                    _named(one), one.precision, _runtime(one), _interval(interval, 1e6),
                    _three(least / 1e6), "" if ratio is None else _interval(ratio, 1),
                    share, *_answers(one),
                )
            )  # fmt: skip
    return "\n".join([*lines, *_unmeasured(result, columns=9)]) + "\n"


def _ours(result: Result, precision: str) -> Outcome | None:
    """Our program, if it was measured."""
    return next(filter(None, map(result.outcome, _OURS[precision])), None)


def counts(result: Result) -> str:
    """A table of instructions on a virtual core, fewest first within a precision."""
    lines = [
        f"**{result.title}, {result.resolution}, {result.machine}**"
        f" ({result.platform}; {result.at:%Y-%m-%d}).",
        "",
        "| | | runtime | Minstr | times ours | FMA | SQNR | top-1 |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for precision in _PRECISIONS:
        ours = _ours(result, precision)
        for one in sorted(result.measured(precision), key=_instructions):
            ratio = f"{_instructions(one) / _instructions(ours):.2f}" if ours else ""
            share = ""
            if precision == "fp32":
                share = f"{result.multiply_adds / _LANES / _instructions(one):.0%}"
            lines.append(
                _row(
                    _named(one), one.precision, _runtime(one),
                    f"{_instructions(one) / 1e6:.2f}", ratio, share, *_answers(one),
                )
            )  # fmt: skip
    return "\n".join([*lines, *_unmeasured(result, columns=8)]) + "\n"


def goals(results: Sequence[Result]) -> str:
    """The cells in which our program is to be faster than any runtime, and its speedups there."""
    lines = [
        "| | | | fastest runtime | wanted | measured | |",
        "|---|---|---|---|---:|---:|---|",
    ]
    for goal in GOALS:
        for result in results:
            ours = _ours(result, goal.precision)
            if result.machine != HERE or result.model != goal.model or ours is None:
                continue
            others = [
                one
                for one in result.measured(goal.precision)
                if one.comparable and one.engine != "native"
            ]
            if not others:
                continue
            rival = min(others, key=lambda one: stats.center(one.turns))
            ratio = stats.ratio_interval(ours.turns, rival.turns)
            lines.append(
                _row(
                    result.title, str(result.resolution), goal.precision,
                    f"{_runtime(rival)} ({rival.name})", f"{goal.factor:g}",
                    _interval(ratio, 1), _verdict(ratio, goal.factor),
                )
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def write(page: Path, results: Sequence[Result]) -> None:
    """Put the tables of all results between the marks of a page.

    Raises:
        UsageError: the page cannot be read, or lacks a mark.
    """
    here = [times(one) for one in results if one.machine == HERE]
    boards = [counts(one) for one in results if one.machine != HERE]
    try:
        text = page.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {page}: {error.strerror}") from error
    blocks = {"goals": goals(results), "times": "\n".join(here), "counts": "\n".join(boards)}
    for name, block in blocks.items():
        begin, end = f"<!-- peers: {name} -->\n", "<!-- peers: end -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        if not pattern.search(text):
            raise UsageError(f"{page} has no place for {name}: {begin.strip()} ... {end}")
        text = pattern.sub(lambda _: f"{begin}{block}{end}", text)  # noqa: B023 - called at once
    write_whole(page, text)


def _circumstances(result: Result, peak: Outcome | None) -> str:
    """When and where it was measured, and what the machine could have done."""
    words = [f"{result.platform}, {result.at:%Y-%m-%d %H:%M} UTC"]
    if result.load_1min is not None:
        before, after = result.load_1min
        words.append(f"load {before:.1f} before and {after:.1f} after")
    rounds = max((len(one.turns) for one in result.outcomes), default=0)
    repeated = sum(one.turns_repeated for one in result.outcomes)
    words.append(f"{rounds} rounds, {repeated} turns taken again")
    if peak is not None:
        medians = [int(peak.version) / stats.median(turn) for turn in peak.turns]
        words.append(
            f"peak {_rate(peak):.0f} GMAC/s ({min(medians):.0f} to {max(medians):.0f} in turns)"
        )
    return "; ".join(words) + "."


def _rate(peak: Outcome) -> float:
    """Multiply-adds per ns, which is GMAC/s, of a core that does nothing else."""
    return int(peak.version) / stats.center(peak.turns)


def _instructions(one: Outcome) -> int:
    (samples,) = one.turns
    return agreement(samples)[0]


def _named(one: Outcome) -> str:
    note = f" ({one.note})" if one.note else ""
    return f"{one.name}{note}{' **wrong**' if one.wrong else ''}"


def _runtime(one: Outcome) -> str:
    return f"{one.engine} {one.version}".strip()


def _answers(one: Outcome) -> tuple[str, str]:
    return f"{one.sqnr_db:.0f} dB", f"{one.agreement:.0%}"


def _interval(interval: stats.Interval, unit: float) -> str:
    estimate, low, high = (
        _three(value / unit) for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate} ({low} to {high})"


def _three(value: float) -> str:
    """Three digits and never an exponent: ``0.380``, ``12.0``, ``1230``."""
    return format(Decimal(f"{value:#.3g}"), "f").rstrip(".")


def _verdict(ratio: stats.Interval, factor: float) -> str:
    if ratio.low >= factor:
        return "yes"
    return "too close to tell" if ratio.high >= factor else "no"


def _unmeasured(result: Result, *, columns: int) -> list[str]:
    return [
        _row(one.name, one.precision, one.engine, one.problem, *[""] * (columns - 4))
        for one in result.outcomes
        if not one.turns
    ]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
