"""The wording that all renderings share: numbers with their units, captions, legends.

Renderers add only mark-up. Latency is shown in ms, cost in Minstr (millions of instructions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from shufflenet_deploy.records import Cell, Metric
from shufflenet_deploy.report import numerals
from shufflenet_deploy.report.table_model import Block, Estimate, Row, TableCell

if TYPE_CHECKING:
    from shufflenet_deploy.report.table import Table

#: Placeholder of a missing value.
ABSENT = "-"

#: Raw samples (ns, instructions) per unit as displayed (ms, Minstr).
SCALE = 1e6

#: The speedup line if the interval contains 1.
UNDISTINGUISHED = "not distinguishable"

#: Marks of untrustworthy figures, besides the footnote.
SIGNS = {"stable": "", "noisy": "~", "tainted": "!", "failed": ""}


def unit(metric: Metric) -> str:
    """The displayed unit."""
    return "ms" if metric is Metric.LATENCY else "Minstr"


figure = numerals.figure
span = numerals.span


def ratio(value: float) -> str:
    """A speedup: ``3.42×`` below ten, ``12.1×`` above."""
    places = numerals.decimals(value)
    return f"{value:.{min(places, 2) if value >= 0.1 else places}f}×"


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


def measured(entry: TableCell) -> tuple[str, str]:
    """The median and its 95 % interval; ``failed`` and an empty one for a failure."""
    if entry.estimate is None:
        return "failed", ""
    low, high = entry.estimate.low / SCALE, entry.estimate.high / SCALE
    return figure(entry.estimate.median / SCALE), span(low, high)


def speedup(block: Block, entry: TableCell) -> tuple[str, str]:
    """The measured speedup and its interval; empty for the baseline.

    It is marked as tainted if either of the two latencies is.
    """
    if entry.speedup is None:
        return "", ""
    interval = span(entry.speedup.low, entry.speedup.high)
    sign = SIGNS["tainted"] if block.is_speedup_tainted(entry) else ""
    return f"{sign}{ratio(entry.speedup.ratio)}", interval


def speedup_tone(block: Block, entry: TableCell) -> str:
    """The class of a speedup in the page's style sheet: only an untainted one is good or bad."""
    if entry.speedup is None:
        return ""
    if block.is_speedup_tainted(entry):
        return "tainted"
    if not entry.speedup.distinguishable:
        return "doubt"
    return "good" if entry.speedup.ratio > 1 else "bad"


def theory(entry: TableCell) -> str:
    """The theoretical speedup, by multiply-adds."""
    return "" if entry.theoretical_speedup is None else ratio(entry.theoretical_speedup)


def efficiency(entry: TableCell) -> str:
    """Least possible multiply-adds of whole vectors over instructions."""
    value = entry.instruction_efficiency
    return "" if value is None else f"{value:.0%}"


def paper_figures_text(block: Block, entry: TableCell) -> str:
    """The paper's latency (only next to latencies) and its speedup, or its mAP for a backbone."""
    parts = []
    if entry.paper_latency_ms is not None and block.setting.metric is Metric.LATENCY:
        parts.append(f"{figure(entry.paper_latency_ms)} ms")
    if entry.paper_speedup is not None:
        parts.append(ratio(entry.paper_speedup))
    if entry.paper_map_percent is not None:
        parts.append(f"mAP {entry.paper_map_percent:.1f}")
    return " ".join(parts)


def heading(block: Block) -> str:
    """One line that names a block: runtime, precision, threads and target."""
    setting = block.setting
    return (
        f"{runtime(block)} · {setting.precision.value} · {setting.format} · "
        f"{threads(setting.threads)}{load(block)} · {place(block)}"
    )


def short_heading(block: Block) -> str:
    """A block among others of one target: runtime, precision and threads."""
    setting = block.setting
    return f"{runtime(block)} · {setting.precision.value} · {threads(setting.threads)}{load(block)}"


def load(block: Block) -> str:
    """Background load as a part of a heading; empty without."""
    count = block.setting.background_load
    return f" · {busy_processes(count)}" if count else ""


def busy_processes(count: int) -> str:
    """``1 busy process``, ``2 busy processes``."""
    return "1 busy process" if count == 1 else f"{count} busy processes"


def place(block: Block) -> str:
    """The host and its board or CPU."""
    return f"{block.setting.host} ({block.setting.board or block.setting.cpu})"


def threads(count: int) -> str:
    """``1 thread``, ``4 threads``."""
    return "1 thread" if count == 1 else f"{count} threads"


def runtime(block: Block) -> str:
    """The runtime with its version."""
    return " ".join(filter(None, (block.setting.runtime, block.setting.runtime_version)))


def row_title(block: Block, *, interval: bool = True) -> str:
    """The quantity in the cells, with its unit."""
    if block.setting.metric is Metric.LATENCY:
        return "median latency in ms" + (" with its 95 % interval" if interval else "")
    return "instructions per inference in millions (Minstr)"


def caption(block: Block) -> str:
    """Everything needed to reproduce this block."""
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
        "governor " + (", ".join(block.governors) or "unknown"),
        f"beside {busy_processes(setting.background_load)}" if setting.background_load else "",
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
    """The name of the measured ratio: fewer instructions do not imply a speedup."""
    return "speedup" if block.setting.metric is Metric.LATENCY else "ratio"


def paper_label(block: Block) -> str:
    """The label of the paper's figures, which are all wall time."""
    return "paper" if block.setting.metric is Metric.LATENCY else "paper's time"


def legend(table: Table, blocks: Iterable[Block]) -> tuple[str, ...]:
    """The legend of these blocks: one sentence per kind of line, true of all of them."""
    shown = tuple(blocks)
    entries = [entry for block in shown for _, entry in block.entries()]
    verdicts = {entry.stability for entry in entries}
    lines = [
        "Instructions are not cycles: never compare Minstr with ms."
        if any(block.setting.metric is Metric.INSTRUCTIONS for block in shown)
        else "",
        *(_compared(shown, metric) for metric in Metric),
        _efficiencies(shown),
        f"Paper: {table.paper_source}, {table.paper_device}."
        if any(entry.paper_latency_ms is not None for entry in entries)
        or any(row.paper_top1_error_percent is not None for block in shown for row in block.rows)
        else "",
        "mAP: the paper's, in percent, of detection in COCO with the network as backbone "
        f"({table.paper_source}, Table 7); nothing of it is measured here."
        if any(entry.paper_map_percent is not None for entry in entries)
        else "",
        _errors(shown),
        "-a/+b%: the interval reaches a % below and b % above the median."
        if any("/" in deviation(entry.estimate) for entry in entries if entry.estimate)
        else "",
        "! tainted: something else than the model was measured too, also where a speedup is over "
        "such a figure; measure again."
        if "tainted" in verdicts
        else "",
        "~ noisy: read the interval, not the figure." if "noisy" in verdicts else "",
    ]
    return tuple(filter(None, lines))


def _compared(blocks: Sequence[Block], metric: Metric) -> str:
    alike = [b for b in blocks if b.setting.metric is metric and b.baseline is not None]
    if not alike:
        return ""
    figure_name = "instructions" if metric is Metric.INSTRUCTIONS else "latency"
    baselines = dict.fromkeys(baseline_title(block) for block in alike)
    return (
        f"{comparison(alike[0]).capitalize()}: {figure_name} of {' or '.join(baselines)} over the "
        "model's, from the same rounds, with its 95 % confidence interval; in theory: the "
        "ratio of multiply-adds at that resolution."
    )


def _efficiencies(blocks: Sequence[Block]) -> str:
    kinds = dict.fromkeys(
        block.setting.precision
        for block in blocks
        if any(entry.instruction_efficiency is not None for _, entry in block.entries())
    )
    widths = " or ".join(f"{kind.lanes}-wide {kind.value}" for kind in kinds)
    return f"Efficiency: least possible {widths} multiply-adds over instructions." if kinds else ""


def _errors(blocks: Sequence[Block]) -> str:
    """The source of the top-1 errors, worded alike with and without measured ones."""
    rows = [row for block in blocks for row in block.rows]
    of_paper = any(row.paper_top1_error_percent is not None for row in rows)
    here = any(row.measured_top1_error is not None for row in rows)
    if not of_paper and not here:
        return ""
    return 'Top-1 errors are the paper\'s; "here" marks what was measured on the very file.'


def baseline_title(block: Block) -> str:
    """The title of the row that the others are compared with."""
    return next((row.title for row in block.rows if row.is_baseline), block.baseline or "")


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def deviation(estimate: Estimate) -> str:
    """The 95 % interval relative to the median: ``±1.2%``, or ``-0.3/+12%`` if asymmetric."""
    return numerals.deviation(estimate.median, estimate.low, estimate.high)


def cell_name(cell: Cell) -> str:
    """A cell with its options, in one line."""
    options = "".join(f" {name}={value}" for name, value in cell.options.items())
    threads = f" {cell.threads} threads" if cell.threads > 1 else ""
    what = f"{cell.model}{options} {cell.resolution} {cell.precision.value}"
    return f"{what} {cell.runtime}{threads}"


def place_names(places: Iterable[tuple[str, Cell]]) -> dict[tuple[str, Cell], str]:
    """The names of cells on their hosts; the host is named where there are several."""
    known = list(places)
    several = len({host for host, _ in known}) > 1
    return {
        (host, cell): f"{host}: {cell_name(cell)}" if several else cell_name(cell)
        for host, cell in known
    }


def below_names(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first column is long: the other columns of a row stand below it.

    The first row is the header, whose first column is not shown.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][1:]
    lines = []
    for index, (name, *texts) in enumerate(rows):
        lines += [f"  {name}"] if index else []
        shown = (text.rjust(width) for text, width in zip(texts, widths, strict=True))
        lines.append(f"    {'  '.join(shown)}")
    return lines
