"""The wording that all renderings share: numbers with their units, captions, legends.

Renderers add only mark-up. Latency is shown in ms, cost in Minstr (millions of instructions).
"""

from __future__ import annotations

from collections.abc import Iterable

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.values import Block, Entry, Estimate, Row

#: Stands where there is nothing to show.
ABSENT = "-"

#: Raw samples (ns, instructions) per unit that a reader sees (ms, Minstr).
SCALE = 1e6

#: What the speedup line says when the interval holds 1.
UNDISTINGUISHED = "not distinguishable"

#: Signs of a figure not to be trusted, besides its footnote.
SIGNS = {"stable": "", "noisy": "~", "tainted": "!", "failed": ""}


def unit(metric: Metric) -> str:
    """The unit that a reader sees."""
    return "ms" if metric is Metric.LATENCY else "Minstr"


def figure(value: float) -> str:
    """A value with about three significant digits, as in Table 8: 0.482, 2.31, 15.2, 1857.6."""
    decimals = 3 if value < 1 else 2 if value < 10 else 1
    return f"{value:.{decimals}f}"


def ratio(value: float) -> str:
    """A speedup: ``3.42×`` below ten, ``12.1×`` above."""
    return f"{value:.{2 if value < 10 else 1}f}×"


def span(low: float, high: float) -> str:
    """Both ends of an interval with the digits of ``figure``."""
    decimals = 3 if high < 1 else 2 if high < 10 else 1
    return f"{low:.{decimals}f}–{high:.{decimals}f}"


def mega(multiply_adds: int | None) -> str:
    """Multiply-adds in millions, as the paper writes its complexity: ``38M``."""
    if multiply_adds is None:
        return ABSENT
    millions = multiply_adds / 1e6
    return f"{millions:.0f}M" if millions >= 10 else f"{millions:.1f}M"


def errors(row: Row) -> tuple[str, ...]:
    """Top-1 errors in percent: the paper's, and what ``eval`` measured on the row's very file."""
    paper, here = row.paper_top1_error_percent, row.measured_top1_error
    lines = [] if paper is None else [f"{paper:.1f}"]
    if here is not None:
        lines.append(f"here {here.percent:.1f}")
    return tuple(lines) or (ABSENT,)


def measured(entry: Entry) -> tuple[str, str]:
    """The median and its 95 % interval, or ``failed`` and nothing."""
    if entry.estimate is None:
        return "failed", ""
    low, high = entry.estimate.low / SCALE, entry.estimate.high / SCALE
    return figure(entry.estimate.median / SCALE), span(low, high)


def speedup(block: Block, entry: Entry) -> tuple[str, str]:
    """The measured speedup and its interval; empty for the baseline.

    It has the sign of what is tainted where either of the two latencies is.
    """
    if entry.speedup is None:
        return "", ""
    interval = span(entry.speedup.low, entry.speedup.high)
    sign = SIGNS["tainted"] if block.is_speedup_tainted(entry) else ""
    return f"{sign}{ratio(entry.speedup.ratio)}", interval


def speedup_tone(block: Block, entry: Entry) -> str:
    """The class of a speedup in the page's style sheet: only what can be trusted is good or bad."""
    if entry.speedup is None:
        return ""
    if block.is_speedup_tainted(entry):
        return "tainted"
    if not entry.speedup.distinguishable:
        return "doubt"
    return "good" if entry.speedup.ratio > 1 else "bad"


def theory(entry: Entry) -> str:
    """The speedup that multiply-adds promise."""
    return "" if entry.theoretical_speedup is None else ratio(entry.theoretical_speedup)


def efficiency(entry: Entry) -> str:
    """Least possible multiply-adds of whole vectors over instructions."""
    value = entry.instruction_efficiency
    return "" if value is None else f"{value:.0%}"


def of_paper(block: Block, entry: Entry) -> str:
    """The paper's latency (only beside latencies) and its speedup."""
    parts = []
    if entry.paper_latency_ms is not None and block.setting.metric is Metric.LATENCY:
        parts.append(f"{entry.paper_latency_ms:.1f} ms")
    if entry.paper_speedup is not None:
        parts.append(ratio(entry.paper_speedup))
    return " ".join(parts)


def heading(block: Block) -> str:
    """One line that names a block: what ran, how and where."""
    setting = block.setting
    return (
        f"{runtime(block)} · {setting.precision.value} · {setting.format.value} · "
        f"{threads(setting.threads)} · {place(block)}"
    )


def short_heading(block: Block) -> str:
    """A block among others of one place: what ran, and how."""
    setting = block.setting
    return f"{runtime(block)} · {setting.precision.value} · {threads(setting.threads)}"


def place(block: Block) -> str:
    """The host and the machine behind it."""
    return f"{block.setting.host} ({block.setting.board or block.setting.cpu})"


def threads(count: int) -> str:
    """``1 thread``, ``4 threads``."""
    return "1 thread" if count == 1 else f"{count} threads"


def runtime(block: Block) -> str:
    """The runtime with its version."""
    return " ".join(filter(None, (block.setting.runtime, block.setting.runtime_version)))


def what(block: Block, *, interval: bool = True) -> str:
    """What the numbers are."""
    if block.setting.metric is Metric.LATENCY:
        return "median latency in ms" + (" with its 95 % interval" if interval else "")
    return "instructions per inference in millions (Minstr)"


def caption(block: Block) -> str:
    """Everything needed to measure this block again."""
    setting = block.setting
    counts = [len(entry.processes) for _, entry in block.entries() if entry.processes]
    samples = [len(process.samples) for _, entry in block.entries() for process in entry.processes]
    parts = [
        ", ".join(
            dict.fromkeys(
                filter(
                    None,
                    (setting.board, setting.cpu, setting.arch, setting.os, setting.kernel),
                )
            )
        ),
        "governor " + (", ".join(block.governors) or "not told"),
        "CPUs " + (", ".join(map(str, setting.cpus)) if setting.cpus else "not pinned"),
        runtime(block),
        f"{block.started_at:%Y-%m-%d %H:%M} to {block.ended_at:%H:%M %Z}",
        f"shufflenet-deploy {block.tool.get('version', '(version not recorded)')}",
        f"suite {setting.suite}",
    ]
    if counts:
        parts.append(f"{_range(counts)} processes × {_range(samples)} samples")
    return "; ".join(filter(None, parts)) + "."


def comparison(block: Block) -> str:
    """What to call the measured ratio: fewer instructions are no promise of speed."""
    return "speedup" if block.setting.metric is Metric.LATENCY else "ratio"


def paper_label(block: Block) -> str:
    """What to call the paper's figures, which are all wall time."""
    return "paper" if block.setting.metric is Metric.LATENCY else "paper's time"


def legend(table: Table, blocks: Iterable[Block]) -> tuple[str, ...]:
    """How to read these blocks: one sentence per kind of line, each once."""
    lines: dict[str, None] = {}
    for block in blocks:
        lines |= dict.fromkeys(_legend(table, block))
    return tuple(lines)


def _legend(table: Table, block: Block) -> list[str]:
    lines = []
    counted = block.setting.metric is Metric.INSTRUCTIONS
    if counted:
        lines.append("Instructions are not cycles: never compare Minstr with ms.")
    if block.baseline is not None:
        figure_name = "instructions" if counted else "latency"
        lines.append(
            f"{comparison(block).capitalize()}: {figure_name} of {baseline_title(block)} over the "
            "model's, from the same rounds, with its 95 % confidence interval; in theory: the "
            "ratio of multiply-adds at that resolution."
        )
    if any(entry.instruction_efficiency is not None for _, entry in block.entries()):
        kind = block.setting.precision
        lines.append(
            f"Efficiency: least possible {kind.lanes}-wide {kind.value} multiply-adds over "
            "instructions."
        )
    if any(row.paper_top1_error_percent is not None for row in block.rows):
        lines.append(
            f"Paper: {table.paper_source}, {table.paper_device}; the top-1 error is the paper's "
            f"too{_but_for_errors(block)}."
        )
    if any(entry.stability == "tainted" for _, entry in block.entries()):
        lines.append(
            "! tainted: something else than the model was measured too, also where a speedup is "
            "over such a figure; measure again."
        )
    if any(entry.stability == "noisy" for _, entry in block.entries()):
        lines.append("~ noisy: read the interval, not the figure.")
    return lines


def _but_for_errors(block: Block) -> str:
    measured = any(row.measured_top1_error is not None for row in block.rows)
    return (
        ', except where "here" marks one that was measured' if measured else ", not measured here"
    )


def baseline_title(block: Block) -> str:
    """The title of the row that the others are compared with."""
    return next((row.title for row in block.rows if row.is_baseline), block.baseline or "")


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def half_width(estimate: Estimate) -> str:
    """The further end of the 95 % interval, relative to the median: ``1.2%``."""
    reach = max(estimate.high - estimate.median, estimate.median - estimate.low)
    percent = 100 * reach / estimate.median
    if percent < 0.005:
        return "0%"
    return f"{percent:.{2 if percent < 0.1 else 1 if percent < 10 else 0}f}%"
