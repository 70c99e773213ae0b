"""The charts of a table as picture files: SVG and PNG, in light colours, one per chart."""

from __future__ import annotations

from collections.abc import Iterator

from shufflenet_deploy.report import palette
from shufflenet_deploy.report.charts import charts
from shufflenet_deploy.report.html import chart_css
from shufflenet_deploy.report.table import Table

_WIDTH = 720
_PNG_ZOOM = 2
_PADDING = 24


def plots(table: Table) -> Iterator[tuple[str, bytes]]:
    """File names with their bytes: ``fp32-onnxruntime-1-speedup.svg``, ``….png``, ...

    Raises:
        UsageError: no font is installed, so that a PNG would lack its words.
    """
    css = palette.settled(chart_css(), palette.LIGHT)
    style = f"<style>{css}</style>"
    for number, block in enumerate(table.blocks, start=1):
        for chart in charts(block, f"b{number}"):
            setting = block.setting
            kind = chart.name.rpartition("-")[2]
            name = f"{number}-{setting.runtime}-{setting.precision.value}-{kind}"
            picture = chart.draw(_WIDTH, style)
            yield f"{name}.svg", picture.encode()
            yield f"{name}.png", _png(picture)


def _png(picture: str) -> bytes:
    import resvg_py  # noqa: PLC0415

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=picture,
            zoom=_PNG_ZOOM,
            background=palette.LIGHT["page"],
            sans_serif_family="DejaVu Sans",
        )
    )
