"""A line now and then in a log: only where nothing else is said, and never on a terminal."""

from __future__ import annotations

import threading

import pytest

from shufflenet_deploy.cli import heartbeat
from shufflenet_deploy.cli.heartbeat import Heartbeat, duration


@pytest.fixture
def lines(monkeypatch):
    """The lines written, and an event that is set by the second one."""
    written, twice = [], threading.Event()

    def echo(text, *, err):
        assert err
        written.append(text)
        if len(written) == 2:
            twice.set()

    monkeypatch.setattr(heartbeat.typer, "echo", echo)
    return written, twice


def test_long_work_is_told_again_and_again(lines):
    written, twice = lines
    with Heartbeat(every_secs=0.01) as beat:
        beat.doing("[1/2] a.onnx: converting")
        assert twice.wait(30)
    assert set(written) == {"[1/2] a.onnx: converting (0 s)"}


def test_nothing_is_told_of_what_has_no_name_or_is_quiet(lines):
    written, twice = lines
    with Heartbeat(every_secs=0.01), Heartbeat(every_secs=0.01, quiet=True) as beat:
        beat.doing("something")
        assert not twice.wait(0.1)
    assert written == []


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (725, "12 min 5 s"), (11_400, "3 h 10 min")],
)
def test_times_are_told_in_two_units_at_most(secs, text):
    assert duration(secs) == text
