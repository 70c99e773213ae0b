"""Periodic lines in a log: only while nothing else is printed, and never on a terminal."""

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


def test_long_work_is_reported_periodically(lines):
    written, twice = lines
    with Heartbeat(every_secs=0.01) as beat:
        beat.doing("[1/2] a.onnx: converting")
        assert twice.wait(30)
    assert set(written) == {"[1/2] a.onnx: converting (0 s)"}


def test_unnamed_and_quiet_steps_are_not_reported(lines):
    written, twice = lines
    with Heartbeat(every_secs=0.01), Heartbeat(every_secs=0.01, quiet=True) as beat:
        beat.doing("something")
        assert not twice.wait(0.1)
    assert written == []


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (725, "12 min 5 s"), (11_400, "3 h 10 min")],
)
def test_durations_have_two_units_at_most(secs, text):
    assert duration(secs) == text
