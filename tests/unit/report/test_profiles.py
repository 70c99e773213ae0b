"""Profiles as text and as stacked bars: what is drawn is what was added up."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import sample_runs

from shufflenet_deploy.analysis.profile import decompositions, of_suite
from shufflenet_deploy.records import LayerKind, LayerWork, OperatorTiming, Profile
from shufflenet_deploy.report.chart_files import plots
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.profiles import as_text
from shufflenet_deploy.report.table import Table

SMALL, LARGE = "shufflenet-g3-0.5x", "shufflenet-g3-1x"


def profiled(model, whole_ns, *, names=True):
    """A profiling run: convolutions 60 %, shuffles 20 %, 10 % between layers of ``whole_ns``."""
    run = sample_runs.run(model, median=whole_ns, process=1)
    adds = run.multiply_adds
    layers = (
        LayerWork(name="stem", kind=LayerKind.CONVOLUTION, multiply_adds=adds // 4),
        LayerWork(name="stage2.0.compress", kind=LayerKind.POINTWISE, multiply_adds=adds * 3 // 4),
        LayerWork(name="stage2.0.shuffle", kind=LayerKind.SHUFFLE, multiply_adds=0),
    )
    parts = {"stem": 0.2, "stage2.0.compress": 0.4, "stage2.0.shuffle": 0.2, None: 0.1}
    operators = tuple(
        OperatorTiming(
            name=layer or "ReorderInput",
            operator="Conv" if layer else "ReorderInput",
            layer=layer if names else None,
            samples=(int(share * whole_ns),) * 3,
        )
        for layer, share in parts.items()
    )
    profile = Profile(
        method="a profiler",
        inference=(int(whole_ns),) * 3,
        operators=operators,
        layers=layers if names else (),
    )
    return run.model_copy(update={"purpose": "profile", "profile": profile})


@pytest.fixture
def profiles():
    return [profiled(SMALL, 20e6), profiled(LARGE, 50e6)]


def test_the_text_adds_up(profiles):
    parts = of_suite(profiles, [])
    text = as_text(parts, decompositions(parts, LARGE), layers=True, operators=True, width=80)
    assert re.search(r"shuffle +1 +4\.000 +20\.0%", text)
    assert re.search(r"between layers +1 +2\.000 +10\.0%", text)
    assert re.search(r"outside operators +2\.000 +10\.0%", text)
    assert re.search(r"stage2\.0\.compress +1 +8\.000 +40\.0%", text)
    assert re.search(r"ReorderInput +1 +2\.000", text)
    assert f"{SMALL} 224x224 fp32 against {LARGE}" in " ".join(text.split())
    assert "…" not in text
    # 50 ms over 3.66 are promised.
    assert re.search(r"whole inference +3\.66× +2\.5\d× +\S+ +13\.6\d +\S+ +\+6\.\d\d", text)
    assert max(map(len, text.splitlines())) <= 80


def test_without_layers_the_operators_are_shown():
    parts = of_suite([profiled(SMALL, 20e6, names=False)], [])
    text = as_text(parts, [], width=80)
    assert "identify no layers" in text
    assert re.search(r"ReorderInput +1 +2\.000", text)


def test_a_profile_that_does_not_add_up_is_doubted(profiles):
    parts = of_suite(profiles, [])
    assert "profile again" not in as_text(parts, [], width=80)
    slower = parts[0].model_copy(update={"plain": parts[0].plain / 2})
    assert "profile again" in " ".join(as_text([slower], [], width=80).split())


def test_the_report_stacks_what_belongs_to_a_block(profiles):
    runs = [sample_runs.run(SMALL, process=1), sample_runs.run(LARGE, process=1)]
    table = Table.from_runs(runs, baseline=LARGE)
    parts = of_suite(profiles, runs)
    page = html(table, parts)
    assert "Where the time goes" in page
    assert page.count("layer by layer") >= 2
    assert "Where the time goes" not in html(table)
    elsewhere = [one.model_copy(update={"host": "phone"}) for one in parts]
    assert "Where the time goes" not in html(table, elsewhere)


def test_stacked_bars_are_as_long_as_their_parts(profiles):
    runs = [sample_runs.run(SMALL, process=1), sample_runs.run(LARGE, process=1)]
    table = Table.from_runs(runs, baseline=LARGE)
    images = dict(plots(table, of_suite(profiles, runs)))
    name = "1-onnxruntime-fp32-1thread-profile.svg"
    assert name.replace("svg", "png") in images
    root = ET.fromstring(images[name])
    bars = [rect for rect in root.iter() if rect.get("class", "").startswith("bar kind-")]
    widths = [float(bar.get("width").rstrip("%")) for bar in bars]
    # Five parts of each model; the second takes 2.5 times as long.
    assert len(bars) == 10
    assert sum(widths[5:]) / sum(widths[:5]) == pytest.approx(2.5, rel=0.02)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.02)
