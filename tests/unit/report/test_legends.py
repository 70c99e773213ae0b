"""Legends name every colour and line of the report, and only untainted figures are green."""

from __future__ import annotations

import random
import re
from xml.etree import ElementTree as ET

import pytest
import sample_runs

from shufflenet_deploy.records import Precision
from shufflenet_deploy.report import render
from shufflenet_deploy.report.chart_files import plots
from shufflenet_deploy.report.charts import charts
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.table import Table

PAIR = ("shufflenet-g3-0.5x", "alexnet")
THROTTLED = {"throttled": 4, "frequency_khz": {"cpu0": 600_000}}


def settings(**changes):
    """Runs of two models in eight settings, in an order that means nothing."""
    runs = [
        sample_runs.run(
            model,
            process=process,
            runtime=runtime,
            precision=precision,
            spec=sample_runs.SPEC.model_copy(update={"threads": threads}),
            **changes,
        ).model_copy(update={"id": f"{runtime}{precision}{threads}{model}{process}"})
        for runtime in ("onnxruntime", "litert")
        for precision in (Precision.INT8, Precision.FP32)
        for threads in (4, 1)
        for model in PAIR
        for process in range(2)
    ]
    random.Random(7).shuffle(runs)
    return runs


def tainted(model):
    """A table where something else was measured along with one of two models."""
    hot = sample_runs.conditions(sample_runs.START, **THROTTLED)
    runs = [sample_runs.run(one, process=process) for one in PAIR for process in range(3)]
    return Table.from_runs(
        [run.model_copy(update={"after": hot}) if run.cell.model == model else run for run in runs]
    )


def test_settings_stand_in_one_order_however_they_were_measured():
    seen = [
        (block.setting.runtime, block.setting.precision.value, block.setting.threads)
        for block in Table.from_runs(settings()).blocks
    ]
    assert seen == [
        (runtime, precision, threads)
        for runtime in ("litert", "onnxruntime")
        for precision in ("fp32", "int8")
        for threads in (1, 4)
    ]


def test_images_of_different_threads_have_different_names():
    names = [name for name, _ in plots(Table.from_runs(settings()[:8])) if name.endswith("svg")]
    assert len(names) == len(set(names))
    assert all(re.match(r"\d+-\w+-(fp32|int8)-(1thread|4threads)-\w+\.svg$", one) for one in names)


@pytest.mark.parametrize("model", PAIR)
def test_a_tainted_speedup_is_neither_green_nor_bold(model):
    table = tainted(model)
    page = html(table)
    (tone, value) = re.search(r'<b class="(\w+)">(\S+×)</b>', page).groups()
    assert (tone, value[0]) == ("tainted", "!")
    assert 'class="good"' not in page
    # Bold green, green: in ANSI colours.
    assert not re.search(r"\x1b\[[\d;]*32[\d;]*m", render.terminal(table, color=True))
    assert not re.search(r"speedup \*\*", render.markdown(table))
    # The headline is what a reader takes away: none without an untainted figure.
    assert "as fast as" not in re.search(r"<h1>.*?</h1>", page)[0]


def test_a_good_speedup_is_green():
    page = html(
        Table.from_runs([sample_runs.run(one, process=p) for one in PAIR for p in range(3)])
    )
    assert re.search(r'<b class="good">', page)
    assert "faster than the baseline" in page


@pytest.mark.parametrize("table", [Table.from_runs(sample_runs.table8()), tainted("alexnet")])
def test_every_tone_of_a_chart_has_a_key_and_every_key_a_tone(table):
    for block in table.blocks:
        for chart in charts(block, "b1"):
            drawing = ET.fromstring(chart.draw(700))
            classes = [one.get("class", "").split() for one in drawing.iter()]
            marks = {
                words[1]
                for words in classes
                if len(words) == 2 and words[0] in ("bar", "mark", "cloud", "curve", "stroke")
            }
            dashed = {words[1] for words in classes if words[:1] == ["reference"]}
            keys = {key.tone for key in chart.keys}
            assert marks <= keys, chart.name
            assert {"same"} & dashed == {"same"} & keys
            assert {f"claim-{one}" for one in dashed - {"same"}} <= keys
            assert keys - {"span"} <= marks | dashed | {f"claim-{one}" for one in dashed}
