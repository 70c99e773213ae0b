"""``compare`` as continuous integration runs it: suites, files, formats and exit codes."""

from __future__ import annotations

import json

import pytest
import sample_runs
from command_line import typed

from shufflenet_deploy.journal import Journal

MODEL = "shufflenet-g3-0.5x"


def suite(name: str, median: float, **changes):
    return [
        sample_runs.run(MODEL, suite=name, process=n, median=median, **changes) for n in range(5)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A journal with a suite, one like it, one 10 % slower, one throttled; the first as a file."""
    place = tmp_path_factory.mktemp("compare")
    with Journal(place / "journal.sqlite") as journal:
        hot = sample_runs.conditions(sample_runs.START, throttled=4)
        journal.open_suite(id="hot", name="hot", host="pi", definition="")
        for run in suite("hot", 20e6, after=hot):
            journal.append(run)
        for name, median in (("1-before", 10e6), ("2-same", 10e6), ("3-slower", 11e6)):
            journal.open_suite(id=name, name=name, host="pi", definition="")
            for run in suite(name, median):
                journal.append(run)
        (place / "before.jsonl").write_text("".join(journal.export_lines("1-before")))
    (place / "empty.jsonl").write_text("\n")
    (place / "notes.jsonl").write_text("not a run\n")
    return place


@pytest.fixture
def compare(folder):
    def run(*words: str, check: int = 0, journal: str = "journal.sqlite"):
        env = {"SHUFFLENET_DEPLOY_JOURNAL": str(folder / journal), "COLUMNS": "120"}
        done = typed("compare", *words, cwd=folder, env=env)
        assert done.returncode == check, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def test_a_tainted_suite_is_not_judged_and_that_is_said(compare):
    done = compare("1-before", "hot")
    assert "1 cell: 1 not judged (tainted)" in done.stdout
    assert "regression," not in done.stdout.splitlines()[-1]
    assert done.stderr == (
        "not judged: 1 of 1 cells tainted on either side; measure again when doctor says fit\n"
    )
    compare("1-before", "hot", "--strict", check=1)
    compare("1-before", "2-same", "--strict")


def test_the_exit_code_tells_a_regression(compare):
    assert "1 cell: 1 not distinguishable" in compare("1-before", "2-same").stdout
    worse = compare("1-before", "last", check=1)
    assert "1 cell: 1 regression" in worse.stdout
    assert worse.stderr == ""
    assert "1 cell: 1 slower" in compare("1", "3", "--threshold", "20%").stdout
    assert "1 cell: 1 faster" in compare("3", "1").stdout


def test_a_file_stands_for_a_suite_and_two_need_no_journal(compare, folder):
    told = json.loads(compare("before.jsonl", "3-slower", "--json", check=1).stdout)
    (change,) = told["changes"]
    assert sample_runs.close(change["ratio"], 1.1)
    assert told["control"]["suite"] == "1-before"
    with Journal(folder / "journal.sqlite") as journal:
        (folder / "same.jsonl").write_text("".join(journal.export_lines("2-same")))
    compare("before.jsonl", "same.jsonl", journal="none.sqlite")
    assert not (folder / "none.sqlite").exists()


def test_markdown_is_printed_and_files_are_written_before_the_bad_news(compare, folder):
    shown = compare("1-before", "3-slower", "--markdown", "--out", "ci/result.json", check=1)
    assert shown.stdout.startswith("**1 cell: 1 regression**")
    written = json.loads((folder / "ci" / "result.json").read_text())
    assert written["changes"][0]["verdict"] == "regression"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("1-before", "1-before"), "the same runs"),
        (("1-before", "before.jsonl"), "the same runs"),
        (("1-before", "empty.jsonl"), "holds no runs"),
        (("1-before", "notes.jsonl"), "notes.jsonl, line 1"),
        (("1-before", "gone.jsonl"), "cannot read gone.jsonl"),
        (("1-before", "4"), "runs list"),
        (("1-before", "2-same", "--threshold", "much"), "not a threshold"),
        (("1-before", "2-same", "--out", "result.txt"), ".md or .json"),
        (("1-before", "2-same", "--json", "--markdown"), "contradict"),
    ],
)
def test_a_mistake_costs_one_line(compare, words, told):
    done = compare(*words, check=2)
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
