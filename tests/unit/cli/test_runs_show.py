"""``runs show`` of suites over one host and over several."""

from __future__ import annotations

import json

import pytest
import sample_runs
from command_line import typed

from shufflenet_deploy.journal import Journal

OTHER = sample_runs.PI.model_copy(update={"host": "desk", "board": "Another Board"})


@pytest.fixture
def shown(tmp_path):
    def show(*targets, options=()):
        journal = str(tmp_path / "journal.sqlite")
        with Journal(journal) as book:
            for target in targets:
                for one in range(2):
                    book.append(sample_runs.run(process=one, target=target))
        return typed("runs", "show", "--journal", journal, *options, cwd=tmp_path).stdout

    return show


def test_rows_of_several_hosts_are_told_apart(shown):
    lines = shown(sample_runs.PI, OTHER).splitlines()
    head = next(place for place, line in enumerate(lines) if "\t" in line)
    assert lines[head].split("\t")[:2] == ["host", "cell"]
    rows = [line.split("\t")[:2] for line in lines[head + 1 :]]
    assert sorted(host for host, _ in rows) == ["desk", "pi"]
    assert len({cell for _, cell in rows}) == 1
    assert any(line.startswith("desk: Another Board") for line in lines[:head])
    assert any(line.startswith("pi: Raspberry Pi 4") for line in lines[:head])


def test_one_host_needs_no_column(shown):
    lines = shown(sample_runs.PI).splitlines()
    assert any(line.startswith("cell\tprocesses") for line in lines)
    assert any(line.startswith("Raspberry Pi 4") for line in lines)


def test_json_names_the_host_of_every_cell(shown):
    document = json.loads(shown(sample_runs.PI, OTHER, options=["--json"]))
    assert sorted(cell["host"] for cell in document["cells"]) == ["desk", "pi"]
