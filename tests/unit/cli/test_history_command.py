"""``history``, ``report --history`` and ``table --by host`` as they are typed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
import sample_runs
from command_line import typed

from shufflenet_deploy.journal import Journal

SMALL, ALEXNET = "shufflenet-g3-0.5x", "alexnet"
ONE = ("history", "--host", "pi4", "--model", SMALL)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sixteen nights until today on two boards: on pi4 the small model became slower."""
    folder = tmp_path_factory.mktemp("history")
    today = datetime.now(UTC)
    lines = []
    for night in range(16):
        for host in ("pi4", "pi5"):
            target = sample_runs.PI.model_copy(update={"host": host})
            for model, ms in ((SMALL, 12.0), (ALEXNET, 131.0)):
                slower = 1.2 if night >= 10 and (host, model) == ("pi4", SMALL) else 1.0
                median = ms * 1e6 * slower * (1 + 0.001 * (night % 5))
                run = sample_runs.run(
                    model, suite=f"night-{night:02}", target=target, median=median
                )
                moment = today - timedelta(days=15 - night, minutes=5)
                lines.append(run.model_copy(update={"started_at": moment}).model_dump_json())
    with Journal(folder / "journal.sqlite") as book:
        book.import_lines(lines, "nights")
    (folder / "hosts.toml").write_text('[hosts.pi4]\n[hosts.pi5]\n[groups]\nlab = ["pi4", "pi5"]\n')
    return folder


@pytest.fixture
def run(place, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_JOURNAL", str(place / "journal.sqlite"))
    monkeypatch.setenv("SHUFFLENET_DEPLOY_HOSTS", str(place / "nobody"))
    return lambda *words: typed(*words, cwd=place)


def test_the_exit_code_says_whether_the_last_step_is_a_slowdown(run):
    slower = run(*ONE)
    assert slower.returncode == 1, slower.stderr
    assert "night-10: slower by " in slower.stdout
    assert run("history", "--host", "pi5").returncode == 0
    assert run("history", "--host", "@lab").returncode == 1


def test_a_history_may_begin_later(run):
    later = run(*ONE, "--since", "5d", "--json")
    assert later.returncode == 0, later.stdout
    (found,) = json.loads(later.stdout)["histories"]
    assert [point["suite"] for point in found["points"]] == [f"night-{n}" for n in range(11, 16)]
    assert run(*ONE, "--since", f"{datetime.now(UTC):%Y}-01-01").returncode in {0, 1}


def test_of_a_long_history_the_newest_suites_are_read_and_the_others_counted(run, place):
    newest = run(*ONE, "--last", "12", "--json")
    (found,) = json.loads(newest.stdout)["histories"]
    assert [point["suite"] for point in found["points"]] == [f"night-{n:02}" for n in range(4, 16)]
    assert found["earlier"] == 4
    assert "12 suites" in (told := " ".join(run(*ONE, "--last", "12").stdout.split())), told
    assert "4 earlier (--last)" in told
    page = ("report", "--history", "--host", "pi4", "--out", "last.html", "--last", "12")
    assert run(*page).returncode == 0
    assert "4 earlier" in (place / "last.html").read_text()


def test_a_rarer_alarm_needs_more_suites(run):
    asked = run(*ONE, "--false-alarms", "0.01%")
    assert asked.returncode == 0
    assert "too few for steps" in " ".join(asked.stdout.split())


def test_the_page_is_written_with_its_charts(run, place):
    done = run(
        "report", "--history", "--host", "pi4", "--out", "h.html", "--plots", "plots", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["plots"]) == 4
    assert "1 of 2 cells became slower" in (place / "h.html").read_text()


def test_a_long_list_of_suites_is_cut_and_says_so(run):
    whole = run("runs", "list")
    assert whole.stderr == ""
    cut = run("runs", "list", "--limit", "3")
    assert [line.split()[0] for line in cut.stdout.splitlines()[1:]] == [
        f"night-{n}" for n in (15, 14, 13)
    ]
    assert "a greater --limit" in cut.stderr
    assert len(json.loads(run("runs", "list", "--json").stdout)["suites"]) == 16


def test_a_table_by_host(run):
    table = run("table", "--by", "host", "--json")
    assert table.returncode == 0, table.stderr
    (found,) = json.loads(table.stdout)["tables"]
    assert [board["host"] for board in found["boards"]] == ["pi4", "pi5"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("history", "--host", "pi9"), "measured: pi"),
        (("history", "--model", "alexnat"), "measured: alexnet"),
        (("history", "--since", "yesterday"), "2026-09-30"),
        (("history", "--since", "2199-01-01"), "leave --since out"),
        (("history", "--false-alarms", "0"), "write a share"),
        (("history", "--false-alarms", "often"), "rate of false alarms"),
        (("report", "--history", "--suite", "night-03"), "leave --suite"),
        (("report", "--host", "pi4"), "add --history"),
        (("report", "--last", "9"), "add --history"),
        (("history", "--last", "0"), "--last"),
        (("table", "--by", "host", "--suite", "night-00", "--model", "alexnat"), "alexnet"),
        (("table", "--by", "board"), "host"),
    ],
)
def test_mistakes_are_one_line(run, words, told):
    refused = run(*words)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert told in refused.stderr
