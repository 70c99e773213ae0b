"""The table as one HTML file: no network, no script; light or dark, on a screen or on paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from statistics import median

from shufflenet_deploy.analysis.profile import Breakdown
from shufflenet_deploy.records import Conditions, Metric, Parity
from shufflenet_deploy.report import boards_render, formatting, numerals, palette
from shufflenet_deploy.report.boards import BoardTable, BoardTables, place_of
from shufflenet_deploy.report.charts import charts
from shufflenet_deploy.report.footprints import overviews
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.report.profile_charts import profile_charts, style
from shufflenet_deploy.report.svg import Chart
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, Process, Row, TableCell

#: The meaning of the colours of figures, by class of the style sheet.
_COLOURS = {
    "good": "faster than the baseline",
    "bad": "slower than the baseline",
    "doubt": "not distinguishable from the baseline",
    "noisy": "noisy: read the interval, not the figure",
    "tainted": "tainted: something else was measured too",
    "failed": "failed: there is no figure",
}


@dataclass(frozen=True, kw_only=True)
class _Section:
    """A block and its rendered parts, for the template; ``id`` is its anchor."""

    id: str
    block: Block
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class _Boards:
    """A table by boards and its chart, for the template; ``id`` is its anchor."""

    id: str
    table: BoardTable
    title: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True, kw_only=True)
class _Headline:
    """The sentence on top: how much faster the smallest ShuffleNet is than the baseline."""

    section: _Section
    row: Row
    entry: TableCell


def html(table: Table, profiles: Sequence[Breakdown] = (), parts: Sequence[Part] = ()) -> str:
    """The whole report.

    Args:
        table: what was measured.
        profiles: drawn in the blocks of their cells.
        parts: further sections, in this order, after the blocks of the table. Names of
            their charts must be unique on the page.
    """
    sections = tuple(
        _Section(
            id=f"b{number}",
            block=block,
            charts=(
                *charts(block, f"b{number}"),
                *profile_charts(block, profiles, f"b{number}"),
            ),
        )
        for number, block in enumerate(table.blocks, start=1)
    )
    boards = _by_board(table)
    return render_page(
        "report.html.j2",
        facts=_facts,
        process_facts=_process_facts,
        verdict=_verdict,
        table=table,
        sections=sections,
        overviews=overviews(table),
        boards=boards,
        boards_render=boards_render,
        place_of=place_of,
        contents=_contents(table, sections),
        colours=_colours(table),
        parts=parts,
        headline=_headline(sections),
        legend=formatting.legend(table, table.blocks),
    )


def render_page(template: str, **values: object) -> str:
    """A page of this package from its template, with the style and colours of all pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415

    environment = Environment(
        loader=PackageLoader("shufflenet_deploy.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals.update(
        formatting=formatting,
        light=palette.declared(palette.LIGHT),
        dark=palette.declared(palette.DARK),
        chart_css=chart_css(),
    )
    environment.filters["unit"] = formatting.unit
    return environment.get_template(template).render(**values)


def _by_board(table: Table) -> tuple[_Boards, ...]:
    found = []
    for number, one in enumerate(BoardTables.of(table).tables, start=1):
        drawn = boards_render.speedups(one, f"t{number}-boards")
        title = f"By board · {boards_render.heading(one)}"
        charts_of = () if drawn is None else (drawn,)
        found.append(_Boards(id=f"t{number}", table=one, title=title, charts=charts_of))
    return tuple(found)


def chart_css() -> str:
    """The style of the charts, with colours as variables."""
    return files(__package__).joinpath("chart.css").read_text(encoding="utf-8") + style()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """The links to all sections of one target; ``name`` is printed once, before them."""

    name: str
    links: tuple[tuple[str, str], ...]


def _contents(table: Table, sections: Sequence[_Section]) -> tuple[_Place, ...]:
    places: dict[tuple[str, str], list[tuple[str, str]]] = {}
    suites = len({section.block.setting.suite for section in sections}) > 1
    for number, overview in enumerate(overviews(table), start=1):
        key = (overview.place, overview.suite if suites else "")
        places.setdefault(key, []).append((f"o{number}", overview.label))
    for section in sections:
        setting = section.block.setting
        counted = " · Minstr" if setting.metric is Metric.INSTRUCTIONS else ""
        key = (formatting.place(section.block), setting.suite if suites else "")
        text = f"{formatting.short_heading(section.block)}{counted}"
        places.setdefault(key, []).append((section.id, text))
    return tuple(
        _Place(name=" · ".join(filter(None, key)), links=tuple(links))
        for key, links in places.items()
    )


def _colours(table: Table) -> tuple[tuple[str, str], ...]:
    """The classes that colour the tables' speedups and boxes, with their meaning."""
    tones = {
        formatting.speedup_tone(block, entry)
        for block in table.blocks
        for _, entry in block.entries()
    }
    tones |= {entry.stability for block in table.blocks for _, entry in block.entries()}
    return tuple((tone, text) for tone, text in _COLOURS.items() if tone in tones)


def _headline(sections: tuple[_Section, ...]) -> _Headline | None:
    """The first trustworthy speedup in time, else the first ratio of instructions."""
    found = [
        _Headline(section=section, row=row, entry=entry)
        for section in sections
        for row, entry in section.block.entries()
        if entry.speedup is not None and not section.block.is_speedup_tainted(entry)
    ]
    in_time = [one for one in found if one.section.block.setting.metric is Metric.LATENCY]
    return next(iter(in_time + found), None)


def _verdict(entry: TableCell) -> str:
    """The failure or the stability findings of a cell; empty for a stable one."""
    if entry.failure is not None:
        return entry.failure.kind.value
    causes = ", ".join(flaw.cause for flaw in entry.flaws)
    return f"{entry.stability}: {causes}" if causes else ""


def _facts(entry: TableCell) -> Mapping[str, str]:
    """The artifact and the protocol of one cell, for its tooltip."""
    spec, artifact = entry.spec, entry.artifact
    facts = {
        "warm-up": f"at least {spec.warmup_runs} runs and {numerals.short(spec.warmup_secs)} s",
        "samples": (
            f"at least {spec.min_runs} and {numerals.short(spec.min_secs)} s, "
            f"at most {numerals.short(spec.max_secs)} s, "
            f"in each of {spec.processes} processes"
        ),
    }
    if artifact is not None:
        weights = artifact.weights
        facts |= {
            "file": f"{artifact.path.name}, {artifact.size_bytes / 1e6:.2f} MB",
            "sha256": artifact.sha256,
            "weights": f"{weights.source} ({'trained' if weights.trained else 'untrained'})",
            "converter": artifact.converter,
            "parity": _parity(artifact.parity),
        }
        facts |= {name: str(value) for name, value in artifact.options.items()}
    return facts


def _parity(parity: Parity) -> str:
    if not parity.claimed:
        return parity.reason
    same = "" if parity.top1_agreement is None else f", top-1 agreement {parity.agreement_text}"
    return f"SQNR {parity.sqnr_db:.1f} dB{same} on {parity.inputs} inputs"


def _process_facts(process: Process, metric: Metric) -> Mapping[str, str]:
    """One line about a process, by column."""

    def shown(value: float) -> str:
        return formatting.figure(value / formatting.SCALE)

    memory = process.peak_rss_bytes
    return {
        "process": str(process.process),
        "started": f"{process.started_at:%H:%M:%S}",
        "samples": str(len(process.samples)),
        f"median {formatting.unit(metric)}": shown(median(process.samples)),
        "first": shown(process.first),
        "load": shown(process.load),
        "peak MB": f"{memory / 1e6:.0f}" if memory else formatting.ABSENT,
        "MHz": _change(process, lambda state: _spread(state.frequency_khz, 1000)),
        "°C": _change(process, lambda state: _spread(state.temperature_c, 1)),
        "throttled": _change(process, _throttled),
        "load average": _change(process, _load),
    }


def _change(process: Process, label: Callable[[Conditions], str]) -> str:
    """A condition before and after, once when it stayed the same."""
    texts = [label(state) for state in (process.before, process.after) if state is not None]
    return " → ".join(dict.fromkeys(texts)) or formatting.ABSENT


def _spread(values: Mapping[str, float], per_unit: float) -> str:
    """The range over several cores or sensors."""
    if not values:
        return formatting.ABSENT
    ends = (min(values.values()) / per_unit, max(values.values()) / per_unit)
    return "–".join(dict.fromkeys(f"{end:.0f}" for end in ends))


def _throttled(state: Conditions) -> str:
    return formatting.ABSENT if state.throttled is None else f"{state.throttled:#x}"


def _load(state: Conditions) -> str:
    return formatting.ABSENT if state.load_1min is None else f"{state.load_1min:.2f}"
