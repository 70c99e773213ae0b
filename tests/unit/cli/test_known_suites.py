"""A host that a journal names is connected to only if the user named it here, or agrees."""

from __future__ import annotations

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line
from shufflenet_deploy.cli.known_suites import host_of_suite, remember_host
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.transport import ssh


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def test_what_was_named_here_is_taken():
    remember_host("20260101-1", "pi@board:2222")
    assert host_of_suite("20260101-1", "pi@board:2222", may_ask=False) == "pi@board:2222"
    for suite, host in (("20260101-2", "pi@board:2222"), ("20260101-1", "pi@board")):
        with pytest.raises(UsageError, match="--host"):
            host_of_suite(suite, host, may_ask=False)


def test_what_needs_no_network_is_taken():
    for host in ("local", "board", "board:other", "adb", "adb:0123"):
        assert host_of_suite("1", host, may_ask=False) == host


def test_nothing_odd_is_noted_or_shown(state):
    remember_host("1", "pi\n2\tevil")
    assert not state.exists()
    with pytest.raises(UsageError) as caught:
        host_of_suite("1", "a\x1b[2Jb\n", may_ask=False)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("answer", [True, False])
def test_the_user_is_asked_at_a_terminal(monkeypatch, answer):
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text, **_: asked.append(text) or answer)
    if answer:
        assert host_of_suite("1", "pi", may_ask=True) == "pi"
    else:
        with pytest.raises(UsageError):
            host_of_suite("1", "pi", may_ask=True)
    assert "'pi'" in asked[0]


def test_without_a_place_to_note_it_in_it_is_asked_again(state):
    state.write_text("a file")
    remember_host("1", "pi")
    with pytest.raises(UsageError):
        host_of_suite("1", "pi", may_ask=False)


@pytest.mark.parametrize("host", ["pi", "x$(touch${IFS}owned)"])
def test_an_imported_suite_connects_nowhere_unasked(tmp_path, monkeypatch, host):
    connected = []
    monkeypatch.setattr(ssh.SshTransport, "__enter__", lambda self: connected.append(self.host))
    with Journal(tmp_path / "theirs.sqlite") as book:
        definition = json.dumps({"name": "tiny", "models": ["shufflenet-g3-0.25x"]})
        book.open_suite(id="20260101-1", name="tiny", host=host, definition=definition)
        lines = list(book.export_lines())
    journal = str(tmp_path / "ours.sqlite")
    with Journal(journal) as book:
        book.import_lines(lines, "a file")
    words = ["bench", "--resume", "--journal", journal]
    done = CliRunner().invoke(command_line(), words)
    assert isinstance(done.exception, UsageError)
    assert "--host" in str(done.exception)
    assert not connected
