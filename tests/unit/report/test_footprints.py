"""Memory and the costs of the start, in every form of the table."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
import sample_runs

from shufflenet_deploy.records import NO_SENSOR, EnergyTrace, SensorTrace
from shufflenet_deploy.report import render
from shufflenet_deploy.report.footprints import energies, footprints
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.table import Table


def run(model, process, *, arena=None, idle=31 << 20, peak=61 << 20, first=20_000_000):
    outcome = sample_runs.measurement(10e6, seed=process).model_copy(
        update={
            "idle_rss_bytes": idle,
            "peak_rss_bytes": peak + process,
            "arena_bytes": arena,
            "first": first + process,
            "load": 50_000_000 + process,
        }
    )
    return sample_runs.run(model, process=process, outcome=outcome)


@pytest.fixture
def table():
    runs = [run(model, process) for process in range(3) for model in ("alexnet", "mobilenet-1.0")]
    return Table.from_runs(runs, baseline="alexnet")


def test_memory_is_the_largest_of_the_processes_and_times_their_medians(table):
    ((_, entry), *_) = table.blocks[0].entries()
    found = entry.footprint
    assert (found.peak_rss_bytes, found.model_rss_bytes) == ((61 << 20) + 2, (30 << 20) + 2)
    assert (found.load, found.first) == (50_000_001, 20_000_001)
    assert (found.file_bytes, found.arena_bytes) == (5_600_000, None)


def test_every_form_of_the_table_shows_it(table):
    shown = ("Memory and first inference", "file", "model", "peak", "load", "first")
    figures = ("5.60", "31.5", "64.0", "50.0", "20.0")
    page = html(table)
    for text in (render.terminal(table, width=80), render.markdown(table), page):
        assert [word for word in (*shown, *figures) if word not in text] == []
    (line, _) = csv.DictReader(StringIO(render.csv(table)))
    assert line["peak_rss_bytes"] == str((61 << 20) + 2)
    assert float(line["first"]) == 20_000_001
    entry = json.loads(render.json(table))["blocks"][0]["rows"][0]["entries"][0]
    assert entry["footprint"]["model_rss_bytes"] == (30 << 20) + 2
    assert entry["processes"][2]["peak_rss_bytes"] == (61 << 20) + 2


def test_settings_stand_in_one_table():
    first = run("alexnet", 0, arena=1_500_000)
    other = first.model_copy(update={"cell": first.cell.model_copy(update={"runtime": "ncnn"})})
    (found,) = footprints(Table.from_runs([first, other], baseline="alexnet"))
    assert found.names == ("Model", "Runtime", "Type", "Size")
    assert [names[1].partition(" ")[0] for names, _ in found.lines] == ["ncnn", "onnxruntime"]
    assert all(len(names) == len(found.names) for names, _ in found.lines)


def test_the_arena_has_a_column_where_a_runtime_tells_it(table):
    assert "arena" not in footprints(table)[0].columns
    runs = [run("alexnet", 0, arena=1_500_000), run("mobilenet-1.0", 0)]
    (found,) = footprints(Table.from_runs(runs, baseline="alexnet"))
    place = found.columns.index("arena")
    told = {names[0]: figures[place].value for names, figures in found.lines}
    assert sorted(told.values()) == ["-", "1.50"]


def test_what_is_not_known_is_absent_and_what_failed_has_no_line():
    runs = [run("alexnet", 0, idle=None, peak=61 << 20), *sample_runs.counted("mobilenet-1.0")]
    tables = footprints(Table.from_runs(runs, baseline="alexnet"))
    model = tables[0].columns.index("model")
    assert tables[0].lines[0][1][model].value == "-"
    assert "Minstr" in tables[1].text


def powered(runtime, *, watts=None):
    """One process of a runtime beside a sensor of constant power, or beside none."""
    seconds = tuple(second * 10**9 for second in range(11))
    sensors = () if watts is None else (
        SensorTrace(
            name="ina226 power1", kind="power", at_ns=seconds, values=(int(watts * 1e6),) * 11
        ),
    )  # fmt: skip
    trace = EnergyTrace(
        interval_ns=10**9,
        steady_ns=(2 * 10**9, 8 * 10**9),
        idle_before_ns=(0, 2 * 10**9),
        idle_after_ns=(8 * 10**9, 10 * 10**9),
        sensors=sensors,
        reason="" if sensors else NO_SENSOR,
    )
    outcome = sample_runs.measurement(10e6, count=40).model_copy(update={"energy": trace})
    return sample_runs.run("alexnet", runtime=runtime, runtime_version=None, outcome=outcome)


def test_the_energy_of_all_runtimes_stands_in_one_table():
    """6 s at 2 and 5 W, 40 inferences: 300 and 750 mJ each."""
    runs = [powered("onnxruntime", watts=2), powered("litert", watts=5), powered("native")]
    (found,) = energies(Table.from_runs(runs))
    assert found.names == ("Model", "Runtime", "Type", "Size")
    assert found.columns == ("mJ", "bounds", "W", "idle W")
    assert {name[1]: tuple(one.value for one in row) for name, row in found.lines} == {
        "onnxruntime": ("300.0", "300.0–300.0", "2.00", "2.00, 2.00"),
        "litert": ("750.0", "750.0–750.0", "5.00", "5.00, 5.00"),
        "native": ("-",) * 4,
    }
    assert "idle power included" in found.text
    assert found.text.endswith(NO_SENSOR)


def test_where_nothing_is_measurable_the_reason_stands_alone():
    (found,) = energies(Table.from_runs([powered("onnxruntime"), powered("native")]))
    assert found.text == NO_SENSOR
    assert found.columns == ("mJ",)
    for text in (render.terminal, render.markdown):
        assert text(Table.from_runs([powered("native")])).count(NO_SENSOR) == 1
