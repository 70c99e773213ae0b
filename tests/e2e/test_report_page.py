"""The HTML report in a real browser: wide and narrow, light and dark, by mouse and keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import sample_runs
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page

from shufflenet_deploy.records import Failure, FailureKind, Precision
from shufflenet_deploy.report.charts import charts
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.page_part import Part
from shufflenet_deploy.report.table import Table

LONG = "verylongname" * 12


def runs():
    """A table with everything that can be in one: stable, noisy, tainted, failed and untrained."""
    hot = sample_runs.conditions(sample_runs.START, throttled=4, frequency_khz={"cpu0": 600_000})
    found = sample_runs.table8()
    found = [
        run.model_copy(update={"after": hot})
        if (run.cell.model, str(run.cell.resolution)) == ("mobilenet-1.0", "480x640")
        else run
        for run in found
    ]
    crash = Failure(kind=FailureKind.CRASHED, message=f"<b>{LONG}</b> & more")
    found += [sample_runs.run("vgg16", resolution="480x640", outcome=crash, runtime_version=None)]
    found += sample_runs.table8(precision=Precision.INT8, trained=False)
    for model in ("shufflenet-g3-0.5x", "alexnet"):
        found += sample_runs.counted(model, suite="cost")
    return found


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.from_runs(runs())


@pytest.fixture(scope="module")
def file(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    more = Part(
        title="Something else",
        text="What another function has to say.",
        charts=charts(table.blocks[0], "more")[:1],
        header=("layer", "ms"),
        rows=(("stage2 " + "unit/" * 40, "1.25"), ("fc", "0.1")),
    )
    path.write_text(html(table, parts=(more,)))
    return path


@pytest.fixture
def page(context: BrowserContext, file: Path) -> Iterator[Page]:
    """The report just opened at 1200 pixels; every request but its own is an error."""
    opened = context.new_page()
    opened.set_viewport_size({"width": 1200, "height": 800})
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def test_it_is_one_file_without_network_script_or_complaint(context, file):
    said, asked = [], []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri(), wait_until="networkidle")
    unfold(page)
    page.close()
    assert said == []
    assert asked == [file.as_uri()]
    text = file.read_text()
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("width", [320, 360, 768, 1200])
def test_nothing_sticks_out_to_the_side(page, width):
    page.set_viewport_size({"width": width, "height": 740})
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        sticking = page.evaluate(
            """width => [...document.querySelectorAll('body *')]
                .filter(one => !one.closest('.scroll, svg, thead'))
                .filter(one => one.getBoundingClientRect().right > width + 1)
                .map(one => one.outerHTML.slice(0, 200))""",
            width,
        )
        assert sticking == []
        unfold(page)


@pytest.mark.parametrize("width", [360, 390, 1200])
def test_the_side_by_side_table_shows_its_point(page, width):
    """The speedups, and what each of them is of, without scrolling to the side."""
    page.set_viewport_size({"width": width, "height": 740})
    speedups = page.locator("table.overview .pair b")
    assert speedups.count() > 4
    for index in range(speedups.count()):
        box = speedups.nth(index).bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width
    told = page.locator("table.overview").first.inner_text()
    for word in ("ShuffleNet 0.5x (g=3)", "onnxruntime 1.32.0", "int8", "fp32"):
        assert word in told


def test_the_contents_name_a_machine_once_and_each_setting_apart(page):
    contents = page.locator("nav[aria-label=Contents]")
    assert contents.inner_text().count("Raspberry Pi 4 Model B") == 2  # two suites
    links = contents.locator("a").all_inner_texts()
    assert "onnxruntime 1.32.0 · int8 · 1 thread" in links
    assert not any("Raspberry" in link for link in links)


def test_every_figure_has_its_conditions_one_click_away(page, table):
    entries = [entry for block in table.blocks for _, entry in block.entries()]
    unfolding = page.locator("details")
    assert unfolding.count() == len(entries)
    for index in (0, len(entries) - 1):
        one = unfolding.nth(index)
        told = one.locator(".conditions")
        assert not told.is_visible()
        one.locator("summary").click()
        assert told.is_visible()
        assert entries[index].artifact.sha256 in told.inner_text()
        assert told.locator("table tbody tr").count() == len(entries[index].processes)


def test_what_cannot_be_trusted_is_marked_in_words(page, table):
    for state, word in (("noisy", "noisy: "), ("tainted", "tainted: "), ("failed", "crashed")):
        wanted = [
            entry
            for block in table.blocks
            for _, entry in block.entries()
            if entry.stability == state
        ]
        cells = page.locator(f"td.at.{state}")
        assert wanted
        assert cells.count() == len(wanted)
        for index in range(len(wanted)):
            assert word in cells.nth(index).inner_text()
    failed = page.locator("td.at.failed")
    assert "failed" in failed.inner_text()
    row = page.locator("tbody", has=failed)
    row.locator("summary").click()
    assert f"crashed: <b>{LONG}</b> & more" in row.inner_text()


def test_charts_tell_what_the_paper_says(page):
    first = page.locator("section:has(table.speedups)").first
    titles = first.locator("figure h3").all_inner_texts()
    assert titles[:2] == ["Speedup over AlexNet", "Latency"]
    assert "Temperature in °C" in titles
    speedup = first.locator("figure").first
    for word in ("13×", "18×", "in theory", "95 % interval"):
        assert word in speedup.inner_text()
    for tone in ("paper", "theory"):
        assert speedup.locator(f"line.reference.{tone}").count() == 1
    assert speedup.locator("rect.bar").count() == 12


def test_dark_is_dark_and_light_is_light(page):
    seen = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        seen[scheme] = page.evaluate(
            """() => ['body', '.soft', 'svg .bar', '.verdict', 'summary'].map(where => {
                const style = getComputedStyle(document.querySelector(where));
                return [style.color, style.fill, style.backgroundColor].join()
            })"""
        )
    assert all(one != other for one, other in zip(seen["light"], seen["dark"], strict=True))
    page.emulate_media(color_scheme="dark")
    red, green, blue = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert max(red, green, blue) < 50


def test_the_keyboard_reaches_and_opens_everything(page):
    wanted = page.locator("summary, a[href], [tabindex='0']").count()
    hidden = page.locator("details .scroll").count()
    seen, unseen = 0, []
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => {
                const one = document.activeElement;
                if (one === document.body || one.dataset.seen) return null;
                one.dataset.seen = 1;
                const style = getComputedStyle(one);
                const shown = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
                return [shown, one.outerHTML.slice(0, 120)];
            }"""
        )
        if focus is None:
            break
        seen += 1
        if not focus[0]:
            unseen.append(focus[1])
    assert unseen == []
    assert seen == wanted - hidden
    first = page.locator("details").first
    first.locator("summary").focus()
    page.keyboard.press("Enter")
    assert first.locator(".conditions").is_visible()
    page.keyboard.press("Space")
    assert not first.locator(".conditions").is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_no_barrier_is_found(page, scheme, width):
    """axe-core: contrast, names, roles, headings, headers of tables, landmarks."""
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    unfold(page)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []


def test_headings_headers_and_drawings_are_named(page):
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0
    drawings = page.locator("svg.chart")
    assert drawings.count() == page.locator("svg.chart[role=img][aria-labelledby]").count() > 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_paper_shows_every_condition(page):
    page.emulate_media(media="print")
    heights = page.evaluate(
        "[...document.querySelectorAll('.conditions')].map(one => one.offsetHeight)"
    )
    assert heights
    assert min(heights) > 50
