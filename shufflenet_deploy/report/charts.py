"""The charts of a block: speedup, latency or cost, theoretical speedup, samples, conditions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from shufflenet_deploy.records import Metric
from shufflenet_deploy.report import formatting, numerals
from shufflenet_deploy.report.paper import paper
from shufflenet_deploy.report.sensor_charts import frequency, temperature
from shufflenet_deploy.report.svg import (
    Axis,
    Chart,
    Key,
    Line,
    PointMark,
    Reference,
    Strip,
    Whisker,
    chart,
    height,
)
from shufflenet_deploy.report.table_model import Block, Estimate, Row, Speedup, TableCell

#: Samples shown per cell; more would merge into a bar.
_CLOUD = 240
#: Samples further than this from the median stand at the edge of their chart.
_CLOUD_REACH = 0.3


_MEASURED = Key(tone="measured", text="measured, with its 95 % interval")
_PAPER = Key(tone="paper", text="paper (Snapdragon 820)")
_SAME_TONE = "same"
_SAME = Reference(value=1.0, tone=_SAME_TONE, tip="as fast as the baseline")
_THEORY = Key(tone="theory", text="in theory (ratio of multiply-adds)")
_BASELINE = Key(tone="baseline", text="the same of the baseline")
_TAINTED = Key(tone="tainted", text="tainted: something else was measured too")


def charts(block: Block, prefix: str) -> tuple[Chart, ...]:
    """Those of the block's charts that have something to show; ``prefix`` makes names unique."""
    made = (draw(block, f"{prefix}-{name}") for name, draw in _CHARTS.items())
    return tuple(one for one in made if one is not None)


def _speedups(block: Block, name: str) -> Chart | None:
    lines, top = [], 1.0
    for at, row, entry in _by_resolution(block):
        if entry.failure is not None and block.baseline is not None and not row.is_baseline:
            lines.append(_line(at, row, entry.stability, "failed", []))
        if entry.speedup is None:
            continue
        stability = "tainted" if block.is_speedup_tainted(entry) else entry.stability
        marks: list[PointMark | Whisker] = [
            _bar(entry.speedup.ratio, row, stability),
            _ratio_span(entry.speedup),
        ]
        if entry.theoretical_speedup is not None:
            marks.append(_theory(entry.theoretical_speedup))
        if entry.paper_speedup is not None:
            marks.append(_paper(entry.paper_speedup, formatting.ratio(entry.paper_speedup)))
        span = formatting.span(entry.speedup.low, entry.speedup.high)
        doubt = "" if entry.speedup.distinguishable else f", {formatting.UNDISTINGUISHED}"
        shown = f"{formatting.ratio(entry.speedup.ratio)} ({span}){doubt}"
        lines.append(_line(at, row, stability, shown, marks))
        top = max(top, entry.speedup.high, entry.theoretical_speedup or 0, entry.paper_speedup or 0)
    baseline = formatting.baseline_title(block)
    counted = block.setting.metric is Metric.INSTRUCTIONS
    same = replace(_SAME, tip="as many as the baseline") if counted else _SAME
    claimed = _claim(block)
    top = max([top, *(reference.value for _, reference in claimed)])
    return _chart(
        name,
        f"Fewer instructions than {baseline}" if counted else f"Speedup over {baseline}",
        "How many times fewer, next to what the multiply-adds promise and the paper's speedup in "
        "time."
        if counted
        else "How many times faster, next to what the multiply-adds promise and the paper's.",
        (_MEASURED, _THEORY, _PAPER, *(key for key, _ in claimed)),
        lines=lines,
        axis=Axis(low=0, high=top * 1.04, label=lambda value: f"{numerals.short(value)}×"),
        references=(same, *(reference for _, reference in claimed)),
    )


def _claim(block: Block) -> list[tuple[Key, Reference]]:
    """The paper's "13x faster, 18x in theory", where its networks were measured at its sizes."""
    claim = paper().claim
    of_paper = {row.model for row, entry in block.entries() if entry.paper_speedup is not None}
    if block.baseline != claim.baseline or claim.model not in of_paper:
        return []
    title = next(row.title for row in block.rows if row.model == claim.model)
    in_time = f"{numerals.short(claim.speedup)}×, the paper's claim for {title}"
    in_theory = f"{numerals.short(claim.theoretical_speedup)}×, its claim in theory"
    return [
        (
            Key(tone="claim-paper", text=in_time),
            Reference(value=claim.speedup, tone="paper", tip=in_time),
        ),
        (
            Key(tone="claim-theory", text=in_theory),
            Reference(value=claim.theoretical_speedup, tone="theory", tip=in_theory),
        ),
    ]


def _figures(block: Block, name: str) -> Chart | None:
    lines, values = [], []
    latency = block.setting.metric is Metric.LATENCY
    unit = formatting.unit(block.setting.metric)
    for at, row, entry in _by_resolution(block):
        if entry.estimate is None:
            lines.append(_line(at, row, entry.stability, "failed", []))
            continue
        low, middle, high = (value / formatting.SCALE for value in _ends(entry.estimate))
        tip = f"{formatting.figure(middle)} {unit}, 95 % interval {formatting.span(low, high)}"
        marks: list[PointMark | Whisker] = []
        values += [low, high]
        if latency and entry.paper_latency_ms is not None:
            marks.append(
                _paper(entry.paper_latency_ms, f"{formatting.figure(entry.paper_latency_ms)} ms")
            )
            values.append(entry.paper_latency_ms)
        marks.append(Whisker(low=low, high=high, tip=tip))
        marks.append(
            PointMark(shape="dot", value=middle, tone=_tone(row, entry.stability), tip=tip)
        )
        shown = f"{formatting.figure(middle)} {unit} {formatting.deviation(entry.estimate)}"
        lines.append(_line(at, row, entry.stability, shown, marks))
    if not values:
        return None
    return _chart(
        name,
        "Latency" if latency else "Instructions per inference",
        "Median of one inference; the scale is logarithmic, equal distances are equal ratios."
        if latency
        else "In millions, exact to the instruction; the scale is logarithmic.",
        (_MEASURED, _PAPER) if latency else (_MEASURED,),
        lines=lines,
        axis=Axis(
            low=min(values) / 1.15,
            high=max(values) * 1.15,
            label=lambda value: f"{numerals.short(value)} {unit}",
            log=True,
        ),
    )


def _arrived(block: Block, name: str) -> Chart | None:
    lines, top = [], 1.0
    for at, row, entry in _by_resolution(block):
        if entry.speedup is None or not entry.theoretical_speedup:
            continue
        promised = entry.theoretical_speedup
        share = entry.speedup.ratio / promised
        span = Whisker(
            low=entry.speedup.low / promised,
            high=entry.speedup.high / promised,
            tip=f"95 % interval {entry.speedup.low / promised:.0%}–"
            f"{entry.speedup.high / promised:.0%}",
        )
        stability = "tainted" if block.is_speedup_tainted(entry) else entry.stability
        marks: list[PointMark | Whisker] = [_bar(share, row, stability), span]
        if entry.paper_speedup is not None:
            theirs = entry.paper_speedup / promised
            marks.append(_paper(theirs, f"{theirs:.0%}"))
            top = max(top, theirs)
        shown = (
            f"{formatting.ratio(entry.speedup.ratio)} of {formatting.ratio(promised)}: {share:.0%}"
        )
        lines.append(_line(at, row, stability, shown, marks))
        top = max(top, span.high)
    return _chart(
        name,
        "What arrives of the promised reduction",
        "The measured ratio as a share of the ratio of multiply-adds: at 100 % a multiply-add of "
        f"the model costs as much as one of {formatting.baseline_title(block)}.",
        (_MEASURED, _PAPER),
        lines=lines,
        axis=Axis(low=0, high=top * 1.04, label=lambda value: f"{value:.0%}"),
        references=(Reference(value=1.0, tone=_SAME_TONE, tip="as promised"),),
    )


def _clouds(block: Block, name: str) -> Chart | None:
    lines = []
    for at, row, entry in _by_resolution(block):
        samples = [sample for process in entry.processes for sample in process.samples]
        if entry.estimate is None or len(set(samples)) < 2:
            continue
        middle = median(samples)
        step = math.ceil(len(samples) / _CLOUD)
        cloud = Strip(
            values=tuple(sample / middle - 1 for sample in samples[::step]),
            tone=_tone(row, entry.stability),
        )
        bounds = (entry.estimate.p10 / middle - 1, entry.estimate.p90 / middle - 1)
        tip = f"the middle 80 %: {bounds[0]:+.1%} to {bounds[1]:+.1%}"
        lines.append(
            _line(
                at,
                row,
                entry.stability,
                f"n={len(samples)}, 80 % within {bounds[1] - bounds[0]:.1%}",
                [cloud, Whisker(low=bounds[0], high=bounds[1], tip=tip)],
            )
        )
    return _chart(
        name,
        "Every sample",
        "Distance of each sample from the median of its cell, in the order of time from top to "
        f"bottom; those beyond {_CLOUD_REACH:.0%} stand at the edge. Nothing is dropped.",
        (Key(tone="measured", text="one sample"), Key(tone="span", text="10th to 90th percentile")),
        lines=lines,
        axis=Axis(
            low=-_CLOUD_REACH,
            high=_CLOUD_REACH,
            label=lambda value: f"{value:+.0%}" if value else "0%",
        ),
        references=(Reference(value=0.0, tone=_SAME_TONE, tip="the median"),),
    )


def _by_resolution(block: Block) -> Iterator[tuple[str, Row, TableCell]]:
    for index, at in enumerate(block.columns):
        for row in block.rows:
            entry = row.entries[index]
            if entry is not None:
                yield str(at), row, entry


def _chart(
    name: str,
    title: str,
    text: str,
    keys: tuple[Key, ...],
    *,
    lines: list[Line],
    axis: Axis,
    references: tuple[Reference, ...] = (),
) -> Chart | None:
    if not lines:
        return None
    tones = {mark.tone for line in lines for mark in line.marks if not isinstance(mark, Whisker)}
    always = {"span", "claim-paper", "claim-theory"}
    explained = tuple(
        key for key in (*keys, _BASELINE, _TAINTED) if key.tone in tones or key.tone in always
    )
    explained += tuple(
        Key(tone=_SAME_TONE, text=one.tip) for one in references if one.tone == _SAME_TONE
    )

    def draw(width: int | None) -> str:
        return chart(
            lines,
            axis,
            name=name,
            title=title,
            description=text,
            references=references,
            width=width,
        )

    return Chart(name=name, title=title, text=text, keys=explained, draw=draw, height=height(lines))


def _line(
    at: str, row: Row, stability: str, value: str, marks: Sequence[PointMark | Whisker | Strip]
) -> Line:
    sign = formatting.SIGNS[stability]
    return Line(
        group=at,
        label=row.title,
        value=f"{sign} {value}".strip(),
        marks=tuple(marks),
        tone=stability,
    )


def _bar(value: float, row: Row, stability: str) -> PointMark:
    return PointMark(
        shape="bar", value=value, tone=_tone(row, stability), tip=f"measured: {row.title}"
    )


def _tone(row: Row, stability: str) -> str:
    if stability == "tainted":
        return "tainted"
    return "baseline" if row.is_baseline else "measured"


def _ratio_span(speedup: Speedup) -> Whisker:
    tip = f"95 % interval {formatting.span(speedup.low, speedup.high)}"
    return Whisker(low=speedup.low, high=speedup.high, tip=tip)


def _theory(value: float) -> PointMark:
    return PointMark(
        shape="tick", value=value, tone="theory", tip=f"in theory {formatting.ratio(value)}"
    )


def _paper(value: float, shown: str) -> PointMark:
    return PointMark(shape="diamond", value=value, tone="paper", tip=f"paper: {shown}")


def _ends(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.low, estimate.median, estimate.high


#: Every chart of a block, in this order. Each is given the block and a name unique on the page, and
#: gives nothing where there is nothing to show.
_CHARTS: Mapping[str, Callable[[Block, str], Chart | None]] = {
    "speedup": _speedups,
    "figures": _figures,
    "arrived": _arrived,
    "samples": _clouds,
    "temperature": temperature,
    "frequency": frequency,
}
