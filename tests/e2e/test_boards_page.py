"""The report of several boards in a real browser: each figure leads to its conditions."""

from __future__ import annotations

import pytest
import sample_runs
from axe_playwright_python.sync_playwright import Axe

from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.table import Table

HOSTS = ("pi3", "pi4", "pi5", "a-board-with-a-long-name", "rock", "odroid")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("boards") / "report.html"
    runs = [
        sample_runs.run(model, target=sample_runs.PI.model_copy(update={"host": host}))
        for host in HOSTS
        for model in ("shufflenet-g3-0.5x", "alexnet", "mobilenet-1.0")
    ]
    path.write_text(html(Table.from_runs(runs)))
    return path


@pytest.fixture
def page(context, file):
    opened = context.new_page()
    opened.set_viewport_size({"width": 1200, "height": 800})
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def test_the_conditions_of_a_figure_are_one_click_away(page):
    link = page.locator("table.boards a").nth(4)
    target = page.locator(link.get_attribute("href"))
    assert not target.is_visible()
    link.click()
    target.wait_for(state="visible")
    assert "sha256" in target.inner_text()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_six_boards_fit_without_barriers(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 740})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("table.boards b").count() == 3 * len(HOSTS)
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
