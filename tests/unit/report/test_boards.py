"""Models by boards: speedups, promises, rankings, and every form of them."""

from __future__ import annotations

import csv
import io
import json

import pytest
import sample_runs

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.report import boards_render
from shufflenet_deploy.report.boards import BoardTables
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.render import Rendering
from shufflenet_deploy.report.table import Table

SMALL, LARGE, ALEXNET = "shufflenet-g3-0.5x", "shufflenet-g3-1x", "alexnet"
#: Milliseconds of two boards: on the second one the small model is slower than the large one.
FIRST = {SMALL: 10.0, LARGE: 33.0, ALEXNET: 131.0}
SECOND = {SMALL: 20.0, LARGE: 15.0, ALEXNET: 131.0}


def measured(host, figures, *, suite="lab", **changes):
    target = sample_runs.PI.model_copy(update={"host": host})
    return [
        sample_runs.run(
            model, process=process, target=target, median=ms * 1e6, suite=suite, **changes
        )
        for model, ms in figures.items()
        for process in range(3)
    ]


def by_board(*groups) -> BoardTables:
    return BoardTables.of(Table.from_runs([run for group in groups for run in group]))


@pytest.fixture(scope="module")
def tables():
    return by_board(measured("pi3", FIRST), measured("pi5", SECOND))


def row(table, model):
    return next(one for one in table.rows if one.model == model)


def test_models_by_boards_with_speedups_of_each_board(tables):
    (table,) = tables.tables
    assert [board.host for board in table.boards] == ["pi3", "pi5"]
    first, second = row(table, SMALL).figures
    assert sample_runs.close(first.speedup.ratio, 13.1)
    assert sample_runs.close(second.speedup.ratio, 6.55)
    assert first.speedup.low < first.speedup.ratio < first.speedup.high
    assert (first.rank, second.rank) == (1, 2)
    assert row(table, ALEXNET).figures[0].speedup is None


def test_boards_that_keep_the_papers_promise_are_told(tables):
    """The paper measured 12.1x for the small model and 4.87x for the large one."""
    (table,) = tables.tables
    assert [one.promise for one in row(table, SMALL).figures] == ["kept", "not kept"]
    assert [one.promise for one in row(table, LARGE).figures] == ["not kept", "kept"]
    assert [(board.kept, board.not_kept) for board in table.boards] == [(1, 1), (1, 1)]
    assert boards_render.conclusions(table)[0] == (
        "The paper's promises kept: pi3 1 of 2; pi5 1 of 2."
    )


def test_models_that_change_places_are_told(tables):
    (found,) = tables.tables[0].reversals
    assert (found.one_is_faster, found.other_is_faster) == (("pi3",), ("pi5",))
    told = boards_render.conclusions(tables.tables[0])[1]
    assert told.endswith("is faster than ShuffleNet 1x (g=3) on pi3, slower on pi5.")


def test_an_order_within_the_intervals_is_no_change():
    close = {SMALL: 10.0, LARGE: 10.001, ALEXNET: 131.0}
    reverse = {SMALL: 10.001, LARGE: 10.0, ALEXNET: 131.0}
    (table,) = by_board(measured("a", close), measured("b", reverse)).tables
    assert table.reversals == ()


def test_tainted_figures_are_shown_and_judge_nothing():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    (table,) = by_board(measured("pi3", FIRST), measured("pi5", SECOND, after=hot)).tables
    tainted = row(table, SMALL).figures[1]
    assert (tainted.stability, tainted.rank, tainted.promise) == ("tainted", None, None)
    assert table.reversals == ()
    assert boards_render.told(table, tainted)[0].startswith("!")


def test_of_a_host_in_several_suites_the_newest_counts():
    later = [
        run.model_copy(update={"started_at": run.started_at.replace(year=2027)})
        for run in measured("pi3", SECOND, suite="later")
    ]
    (table,) = by_board(measured("pi3", FIRST), later, measured("pi5", FIRST)).tables
    assert [board.suite for board in table.boards] == ["later", "lab"]


def test_one_board_compares_nothing():
    with pytest.raises(UsageError, match="two hosts"):
        boards_render.check(by_board(measured("pi3", FIRST)))


def test_every_form_says_it(tables):
    for form in Rendering:
        text = boards_render.render(tables, form)
        assert "pi3" in text
        assert "pi5" in text
    assert json.loads(boards_render.render(tables, Rendering.JSON))["schema_version"] == 1
    lines = list(csv.DictReader(io.StringIO(boards_render.render(tables, Rendering.CSV))))
    assert len(lines) == 6
    assert {line["promise"] for line in lines} == {"kept", "not kept", ""}


@pytest.mark.parametrize("width", [80, 40])
def test_the_terminal_holds_it(tables, width):
    text = boards_render.terminal(tables, width=width)
    assert max(map(len, text.splitlines())) <= width


def test_the_page_links_every_figure_to_its_conditions(tables):
    page = html(Table.from_runs([*measured("pi3", FIRST), *measured("pi5", SECOND)]))
    places = [one.place for each in tables.tables[0].rows for one in each.figures]
    assert len(set(places)) == 6
    for place in places:
        assert f'href="#{place}"' in page
        assert f'id="{place}"' in page
