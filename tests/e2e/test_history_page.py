"""The page of histories in a real browser: wide and narrow, light and dark."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
import sample_runs
from axe_playwright_python.sync_playwright import Axe

from shufflenet_deploy.journal import MeasuredCell
from shufflenet_deploy.records import Failure, FailureKind
from shufflenet_deploy.report import history_page
from shufflenet_deploy.report.history import history

LONG = "verylongname" * 12


def nights(model, *, slower_from):
    """Thirty suites with a failed one, a tainted one and another kernel from some night on."""
    crash = Failure(kind=FailureKind.CRASHED, message=f"<b>{LONG}</b> & more")
    made = []
    for number in range(30):
        changes = {"outcome": crash} if number == 5 else {}
        if number == 8:
            changes = {"after": sample_runs.conditions(sample_runs.START, throttled=4)}
        step = number >= slower_from
        median = 12e6 * (1.15 if step else 1.0) * (1 + 0.002 * (number % 7))
        run = sample_runs.run(model, suite=f"night-{number}-{LONG[:100]}", median=median, **changes)
        moved = run.started_at + timedelta(days=number)
        target = run.target.model_copy(update={"kernel": "6.12.1" if step else "6.6.31"})
        made.append(run.model_copy(update={"started_at": moved, "target": target}))
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("history") / "history.html"
    cells = [nights("alexnet", slower_from=99), nights("shufflenet-g3-0.5x", slower_from=20)]
    path.write_text(history_page.html([history(MeasuredCell.of(one[0]), one) for one in cells]))
    return path


@pytest.fixture
def page(context, file):
    opened = context.new_page()
    opened.set_viewport_size({"width": 1200, "height": 800})
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def unfold(page):
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def test_it_says_first_what_became_slower(page):
    assert page.locator("h1").inner_text() == "1 of 2 cells became slower"
    first = page.locator("section:has(svg)").first
    assert "shufflenet-g3-0.5x" in first.locator("h2").inner_text()
    step = first.locator(".steps li.bad")
    assert "slower by 1" in step.inner_text()
    assert "kernel 6.6.31 → 6.12.1" in step.inner_text()
    assert first.locator("svg line.reference.onset").count() == 1
    assert first.locator("svg circle.mark").count() == 29
    assert first.locator("svg path.cross").count() == 1


def test_every_suite_is_one_click_away(page):
    details = page.locator("details").first
    assert not details.locator("table").is_visible()
    details.locator("summary").click()
    assert details.locator("tbody tr").count() == 30
    assert "throttled" in details.inner_text()
    assert f"crashed: <b>{LONG}</b>" not in details.inner_text()
    assert f"<b>{LONG}</b> & more" in details.inner_text()


def test_it_is_one_file_without_network_or_script(context, file):
    asked, said = [], []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri(), wait_until="networkidle")
    page.close()
    assert (asked, said) == ([file.as_uri()], [])
    text = file.read_text()
    assert "<script" not in text
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (1200, "light")])
def test_it_fits_and_has_no_barrier(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 740})
    page.emulate_media(color_scheme=scheme)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(255, 255, 255)") == (scheme == "light")
