"""Tables in terminals of any width: nothing sticks out, no name and no figure is broken."""

from __future__ import annotations

import pytest

from shufflenet_deploy.cli.stdout import Column, paragraph, print_grid

COLUMNS = (
    Column(title="suite"),
    Column(title="median", right=True),
    Column(title="p99", right=True),
    Column(title="verdict", prose=True),
    Column(title="when", extra=True),
)
ROWS = [
    ("20261130-1224-calm-otter-77aa", "12345.678", "0.001", "noisy: wide spread", "2026-11-24"),
    ("20261129-0024-swift-ember-3a38", "1.5", "99999.5", "stable", "2026-11-23"),
]


@pytest.mark.parametrize("width", [34, 50, 60, 72, 80, 100, 200])
def test_nothing_is_broken_at_any_width(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    print_grid(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= width
    words = " ".join(lines).split()
    for row in ROWS:
        for cell in row[:3]:
            assert cell in words
    assert "…" not in "".join(lines)
    # What may go goes only where there is no room.
    assert ("2026-11-24" in words) == (width >= 80)


def test_a_pipe_is_as_wide_as_the_table(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    print_grid(COLUMNS, ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(ROWS)


def test_prose_in_a_pipe_stays_on_its_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    paragraph("word " * 40)
    assert capsys.readouterr().out.count("\n") == 1
