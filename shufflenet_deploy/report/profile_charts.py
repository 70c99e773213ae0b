"""Profiles as stacked bars: where the time of each model goes, and of each part of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from shufflenet_deploy.analysis.profile import BETWEEN, OUTSIDE, Breakdown, ProfiledPart
from shufflenet_deploy.records import LayerKind
from shufflenet_deploy.report import formatting, numerals
from shufflenet_deploy.report.svg import Axis, Chart, Key, Line, Segment, chart, height
from shufflenet_deploy.report.table_model import Block

#: A colour for each kind of layer, distinguishable with colour blindness too, on light and on dark.
_COLOURS = {
    LayerKind.CONVOLUTION: "#0072b2",
    LayerKind.POINTWISE: "#56b4e9",
    LayerKind.DEPTHWISE: "#d55e00",
    LayerKind.SHUFFLE: "#cc79a7",
    LayerKind.POOL: "#009e73",
    LayerKind.JOIN: "#b8a800",
    LayerKind.DENSE: "#7a5cc8",
    LayerKind.OTHER: "#8c6d4f",
    BETWEEN: "#c0202c",
    OUTSIDE: "#8a93a0",
}


def _tone(kind: str) -> str:
    """The class of a kind of layer in the style sheet."""
    return f"kind-{list(_COLOURS).index(kind)}"


def style() -> str:
    """The colours of the kinds, for the style sheet of charts and their legends."""
    return "\n".join(
        f".chart .{_tone(kind)} {{ fill: {colour}; }} "
        f".keys .{_tone(kind)}::before {{ background: {colour}; }}"
        for kind, colour in _COLOURS.items()
    )


def profile_charts(block: Block, breakdowns: Iterable[Breakdown], prefix: str) -> tuple[Chart, ...]:
    """The profiles of a block's cells; empty where there are none. ``prefix`` as in ``charts``."""
    setting = block.setting
    of_block = [
        one
        for one in breakdowns
        if one.attributed
        and (one.host, one.metric) == (setting.host, setting.metric)
        and (one.cell.runtime, one.cell.precision, one.cell.threads)
        == (setting.runtime, setting.precision, setting.threads)
    ]
    if not of_block:
        return ()
    unit = formatting.unit(setting.metric)
    models = _stacked(
        [
            (str(one.cell.resolution), one.cell.model, _figure(one.whole, unit), one.kinds)
            for one in of_block
        ],
        unit,
        name=f"{prefix}-profile",
        title="Where the time goes" if unit == "ms" else "Where the instructions go",
        text="An inference with the runtime's profiler, by kind of layer. Between layers: what the "
        "runtime added; outside operators: the executor and the profiler itself.",
    )
    parts = [
        _stacked(
            [
                ("", group, _figure(sum(part.value for part in kinds), unit), kinds)
                for group, kinds in _groups(one)
            ],
            unit,
            name=f"{prefix}-layers-{number}",
            title=f"{one.cell.model} at {one.cell.resolution}, layer by layer",
            text="The same inference along the network; merged layers count for the one they are "
            "merged into.",
        )
        for number, one in enumerate(of_block, 1)
    ]
    return (models, *parts)


def _groups(one: Breakdown) -> list[tuple[str, list[ProfiledPart]]]:
    """The layers by unit (``stage2.0``), those that stand alone by their own name."""
    found: dict[str, list[ProfiledPart]] = {}
    for layer in one.layers:
        if layer.name in (BETWEEN, OUTSIDE):
            found[layer.name] = [layer]
        elif layer.operators:
            unit = layer.name.rpartition(".")[0] if layer.name.count(".") > 1 else layer.name
            kind = layer.kind or LayerKind.OTHER
            found.setdefault(unit, []).append(layer.model_copy(update={"name": kind.value}))
    return list(found.items())


def _stacked(
    bars: Sequence[tuple[str, str, str, Sequence[ProfiledPart]]],
    unit: str,
    *,
    name: str,
    title: str,
    text: str,
) -> Chart:
    """One line for each (group, label, value, parts), their parts end to end."""
    lines, top, used = [], 0.0, set()
    for group, label, value, parts in bars:
        segments, at = [], 0.0
        for part in parts:
            end = at + max(part.value, 0.0) / formatting.SCALE
            tip = f"{part.name}: {_figure(part.value, unit)}"
            segments.append(Segment(low=at, high=end, tone=_tone(part.name), tip=tip))
            used.add(part.name)
            at = end
        lines.append(Line(group=group, label=label, value=value, marks=tuple(segments)))
        top = max(top, at)
    axis = Axis(
        low=0, high=top * 1.02 or 1.0, label=lambda value: f"{numerals.short(value)} {unit}"
    )

    def draw(width: int | None) -> str:
        return chart(lines, axis, name=name, title=title, description=text, width=width)

    keys = tuple(Key(tone=_tone(kind), text=kind) for kind in _COLOURS if kind in used)
    return Chart(name=name, title=title, text=text, keys=keys, draw=draw, height=height(lines))


def _figure(value: float, unit: str) -> str:
    return f"{formatting.figure(value / formatting.SCALE)} {unit}"
