"""Profiles for a terminal: an inference by kind of layer, and one model against another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from shufflenet_deploy.analysis.profile import (
    OUTSIDE,
    REST,
    Breakdown,
    CostGap,
    Decomposition,
    ProfiledPart,
)
from shufflenet_deploy.records import Cell
from shufflenet_deploy.report import formatting

#: Limits of the operators' sum over an inference without the profiler, beyond which it is doubted.
_LEAST_INSIDE, _MOST_INSIDE = 0.7, 1.3
#: Kinds of layers that a summary names per cell.
_LARGEST = 3


def as_text(
    breakdowns: Sequence[Breakdown],
    decompositions: Sequence[Decomposition],
    *,
    layers: bool = False,
    operators: bool = False,
    width: int | None = None,
    color: bool = False,
) -> str:
    """All breakdowns, then all decompositions.

    Args:
        breakdowns: one per cell.
        decompositions: one per model that is compared.
        layers: whether to list every layer as well.
        operators: whether to list the runtime's kinds of operators as well.
        width: columns of the terminal; None takes the terminal's, else 80.
        color: whether ANSI colours may be used.
    """
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, emoji=False, markup=False
    )
    for one in breakdowns:
        console.print(Text(heading(one), style="bold"))
        if one.attributed:
            console.print(_parts(one, "Kind of layer", one.kinds))
        else:
            console.print("the file's names identify no layers; the runtime's operators:")
        if layers and one.attributed:
            console.print(_parts(one, "Layer", one.layers))
        if operators or not one.attributed:
            console.print(_parts(one, "Operator", one.operators))
        console.print(Text(caption(one), style="dim"), soft_wrap=False)
        console.print()
    for made in decompositions:
        console.print(Text(_against(made), style="bold"))
        console.print(_gaps(made))
        console.print(Text(verdict(made)))
        console.print()
    for line in legend(breakdowns, decompositions):
        console.print(Text(line, style="dim"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def summary(
    breakdowns: Sequence[Breakdown],
    decompositions: Sequence[Decomposition],
    *,
    width: int | None = None,
    color: bool = False,
) -> str:
    """Two lines per cell: the layer kinds that take most, and the model's cost gap in them.

    Args: as of ``as_text``.
    """
    lost = {(made.candidate, made.metric): made for made in decompositions}
    stream = StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, highlight=False, emoji=False, markup=False
    )
    console.print(Text("Where the time goes", style="bold"))
    for one in sorted(breakdowns, key=lambda one: one.cell.display_order):
        parts = one.kinds if one.attributed else one.operators
        largest = sorted(parts, key=lambda part: part.share, reverse=True)[:_LARGEST]
        shares = ", ".join(f"{part.name} {part.share:.0%}" for part in largest)
        console.print(Text(f"{_name(one.cell)} · {one.cell.runtime}"))
        console.print(Padding(Text(f"{_figure(one.plain, one)}: {shares}"), (0, 0, 0, 2)))
        made = lost.get((one.cell, one.metric))
        if made is not None:
            console.print(Padding(Text(verdict(made)), (0, 0, 0, 2)))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def heading(one: Breakdown) -> str:
    """A cell, its runtime and an inference with the profiler."""
    version = f" {one.runtime_version}" if one.runtime_version else ""
    return f"{_name(one.cell)} · {one.cell.runtime}{version} · {_figure(one.whole, one)} profiled"


def caption(one: Breakdown) -> str:
    """The profiling method, its sample size and its overhead."""
    return (
        f"{one.method}, medians of {one.inferences} inferences; without it "
        f"{_figure(one.plain, one)}, so profiling takes {formatting.ratio(one.overhead)} of that"
        f"{_doubt(one)}"
    )


def _doubt(one: Breakdown) -> str:
    """A warning if the operators do not add up to the inference."""
    if _LEAST_INSIDE <= one.inside <= _MOST_INSIDE:
        return ""
    return (
        f". The operators alone took {formatting.ratio(one.inside)} of that: the target was "
        "disturbed, or the profiler weighs on small operators; profile again when nothing else runs"
    )


def verdict(made: Decomposition) -> str:
    """The cost gap to the theoretical speedup, and the layer kinds with most of it."""
    worst = sorted(made.gaps, key=lambda gap: gap.lost, reverse=True)
    named = [
        f"{gap.name} {_signed(gap.lost)}" for gap in worst[:3] if gap.lost > 0 and made.lost > 0
    ]
    unit = formatting.unit(made.metric)
    if not named:
        return f"what the multiply-adds promise, {formatting.ratio(made.theory)}, arrives"
    return f"{_signed(made.lost)} {unit} beyond the promise; most is lost to: {', '.join(named)}"


def legend(
    breakdowns: Iterable[Breakdown], decompositions: Iterable[Decomposition]
) -> tuple[str, ...]:
    """Definitions of the terms used in the tables."""
    lines = []
    if any(one.attributed for one in breakdowns):
        lines.append(
            "Merged operators count for the layer they are named after. Between layers: operators "
            "that the runtime added for another memory layout or number format. Outside "
            "operators: the executor, the profiler itself and what it rounds off."
        )
    if any(decompositions):
        lines.append(
            "Promised: the baseline's inference divided by the ratio of all multiply-adds, shared "
            "out as the baseline spends it, or by multiply-adds where the two multiply in other "
            "kinds of layers. Lost: what the model takes beyond that. Rest: an inference that "
            "nothing profiles, less the operators as profiled; below zero where profiling makes "
            "them look slower."
        )
    return tuple(lines)


def _against(made: Decomposition) -> str:
    text = (
        f"{_name(made.candidate)} against {made.baseline.model} · {made.candidate.runtime} · "
        f"{formatting.unit(made.metric)} · promised {formatting.ratio(made.theory)}, "
        f"arrived {formatting.ratio(made.speedup)}"
    )
    if made.measured is None or made.low is None or made.high is None:
        return text
    return (
        f"{text}; bench: {formatting.ratio(made.measured)} ({formatting.span(made.low, made.high)})"
    )


def _name(cell: Cell) -> str:
    threads = f" {cell.threads} threads" if cell.threads > 1 else ""
    return f"{cell.model} {cell.resolution} {cell.precision.value}{threads}"


def _figure(value: float, one: Breakdown) -> str:
    return f"{formatting.figure(value / formatting.SCALE)} {formatting.unit(one.metric)}"


def _signed(value: float) -> str:
    return (
        f"{value / formatting.SCALE:+.3f}"
        if abs(value) < 1e6
        else f"{value / formatting.SCALE:+.2f}"
    )


def _parts(one: Breakdown, title: str, parts: Sequence[ProfiledPart]) -> Grid:
    with_work = any(part.multiply_adds for part in parts)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    grid.add_column(title, overflow="fold", min_width=16)
    grid.add_column("Operators", justify="right")
    grid.add_column(formatting.unit(one.metric), justify="right")
    grid.add_column("Share", justify="right")
    if with_work:
        grid.add_column("MAdds", justify="right")
        grid.add_column("of MAdds", justify="right")
    for part in parts:
        cells = [
            part.name,
            str(part.operators) if part.name != OUTSIDE else "",
            _milli(part.value),
            f"{part.share:.1%}",
        ]
        if with_work:
            share = part.multiply_adds / one.multiply_adds if part.multiply_adds else 0
            cells += [
                formatting.mega(part.multiply_adds) if part.multiply_adds else "",
                f"{share:.1%}" if share else "",
            ]
        grid.add_row(*(Text(cell) for cell in cells))
    return grid


def _gaps(made: Decomposition) -> Grid:
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_footer=True)
    sums = [sum(values) for values in zip(*map(_values, made.gaps), strict=True)]
    whole = [
        formatting.ratio(made.theory),
        formatting.ratio(made.speedup),
        *(_milli(value) for value in sums[:3]),
        _signed(sums[3]),
    ]
    titles = ("MAdds", "Speedup", "Baseline", "Promised", "Measured", "Lost")
    grid.add_column("Kind of layer", footer="whole inference", no_wrap=True)
    for title, total in zip(titles, whole, strict=True):
        grid.add_column(title, footer=total, justify="right", no_wrap=True)
    for gap in made.gaps:
        cells = (
            formatting.ratio(gap.theory) if gap.theory else "",
            formatting.ratio(gap.ratio) if gap.ratio and gap.name != REST else "",
            *(_milli(value) for value in _values(gap)[:3]),
            _signed(gap.lost),
        )
        grid.add_row(Text(gap.name), *(Text(cell) for cell in cells))
    return grid


def _values(gap: CostGap) -> tuple[float, float, float, float]:
    return gap.baseline, gap.promised, gap.candidate, gap.lost


def _milli(value: float) -> str:
    scaled = value / formatting.SCALE
    return f"{scaled:.3f}" if abs(scaled) < 10 else f"{scaled:.2f}"
