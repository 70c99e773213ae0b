"""The charts of a table as image files: SVG and PNG, in light colours, one per chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from html import escape

from shufflenet_deploy.analysis.profile import Breakdown
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.report import boards_render, formatting, palette
from shufflenet_deploy.report.boards import BoardTables
from shufflenet_deploy.report.charts import charts
from shufflenet_deploy.report.html import chart_css
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.report.profile_charts import profile_charts
from shufflenet_deploy.report.svg import Chart, Key
from shufflenet_deploy.report.table import Table

_WIDTH = 760
_PADDING = 28
#: The heading, the line with the quantity and setting, and lines of keys stand above the chart.
_HEAD, _KEYS_LINE = 72, 20
_PNG_ZOOM = 2
#: Pixels per character of a key, a little more than any sans-serif font needs.
_KEY_CHARACTER = 7.2


def plots(
    table: Table, profiles: Sequence[Breakdown] = (), parts: Sequence[Part] = ()
) -> Iterator[tuple[str, bytes]]:
    """File names with their bytes: ``1-onnxruntime-fp32-1thread-speedup.svg``, ``….png``, ...

    The charts of ``parts`` are called as they are on the page.

    Raises:
        UsageError: no font is installed, so that a PNG would lack its words.
    """
    for number, block in enumerate(table.blocks, start=1):
        prefix = f"b{number}"
        for chart in (*charts(block, prefix), *profile_charts(block, profiles, prefix)):
            kind = chart.name.removeprefix(f"{prefix}-")
            setting = block.setting
            threads = formatting.threads(setting.threads).replace(" ", "")
            name = f"{number}-{setting.runtime}-{setting.precision.value}-{threads}-{kind}"
            yield from _files(name, _document(chart, formatting.heading(block)))
    for number, one in enumerate(BoardTables.of(table).tables, start=1):
        drawn = boards_render.speedups(one, f"boards-{number}")
        if drawn is not None:
            yield from images([(boards_render.heading(one), drawn)])
    yield from images([(part.title, chart) for part in parts for chart in part.charts])


def images(charts: Sequence[tuple[str, Chart]]) -> Iterator[tuple[str, bytes]]:
    """The same of charts under their own names, each with the line that names its setting.

    Raises:
        UsageError: as ``plots``.
    """
    for setting, chart in charts:
        yield from _files(chart.name, _document(chart, setting))


def _files(name: str, image: str) -> Iterator[tuple[str, bytes]]:
    yield f"{name}.svg", image.encode()
    yield f"{name}.png", _png(image)


def _document(chart: Chart, setting: str) -> str:
    """A chart with its heading, keys and colours, as a document of its own."""
    keys = _keys(chart.keys)
    top = _HEAD + _KEYS_LINE * len(keys)
    width, height = _WIDTH + 2 * _PADDING, chart.height + top + _PADDING
    css = palette.settled(chart_css(), palette.LIGHT)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{css}</style>'
        f'<rect width="{width}" height="{height}" fill="{palette.LIGHT["page"]}"/>'
        f'<text class="heading" x="{_PADDING}" y="36">{escape(chart.title)}</text>'
        f'<text class="key" x="{_PADDING}" y="57">{escape(setting)}</text>{"".join(keys)}'
        f'<svg x="{_PADDING}" y="{top}" width="{_WIDTH}" height="{chart.height}" '
        f'overflow="visible">{chart.draw(_WIDTH)}</svg></svg>'
    )


def _keys(keys: tuple[Key, ...]) -> list[str]:
    """Wrap the keys into lines of the chart's width."""
    lines, x = [""], float(_PADDING)
    for key in keys:
        taken = 36 + _KEY_CHARACTER * len(key.text)
        if lines[-1] and x + taken > _PADDING + _WIDTH:
            lines.append("")
            x = float(_PADDING)
        y = _HEAD + _KEYS_LINE * (len(lines) - 1)
        lines[-1] += (
            f'<rect class="swatch {key.tone}" x="{x:g}" y="{y - 3}" width="10" height="10" rx="2"/>'
            f'<text class="key" x="{x + 16:g}" y="{y + 7}">{escape(key.text)}</text>'
        )
        x += taken
    return lines


def _png(image: str) -> bytes:
    if not _has_font():
        raise UsageError(
            "a PNG needs a font and none is installed: apt-get install fonts-dejavu-core, "
            "or take the SVG files"
        )
    return _rastered(image)


@cache
def _has_font() -> bool:
    """Probe for a font: a rendered letter leaves pixels."""
    frame = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    return _rastered(frame.format('<text x="2" y="15">M</text>')) != _rastered(frame.format(""))


def _rastered(image: str) -> bytes:
    import resvg_py  # noqa: PLC0415

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=image,
            zoom=_PNG_ZOOM,
            background=palette.LIGHT["page"],
            font_family="DejaVu Sans",
            sans_serif_family="DejaVu Sans",
        )
    )
