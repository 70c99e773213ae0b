"""The disk that a board and its host both see: what is offered on it, and what stays there."""

from __future__ import annotations

from io import FileIO
from pathlib import Path

import pytest

from shufflenet_deploy.transport import SharedDisk


@pytest.fixture
def disk(tmp_path):
    made = SharedDisk(tmp_path / "disk", "/dev/vda")
    made.make()
    return made


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"0123456789abcdef" * (1 << 17))
    return path


def test_a_large_file_lies_there_while_it_is_fetched_and_not_longer(disk, large):
    size_bytes = disk.file.stat().st_size
    with disk.offering(large) as offered:
        assert offered is True
        with disk.file.open("rb") as stream:
            assert stream.read(large.stat().st_size) == large.read_bytes()
        assert disk.file.stat().st_size == size_bytes
    assert disk.file.stat().st_size == size_bytes
    assert disk.file.stat().st_blocks == 0


def test_a_small_file_is_not_worth_it(disk, tmp_path):
    small = tmp_path / "small"
    small.write_bytes(bytes(1000))
    with disk.offering(small) as offered:
        assert not offered


def test_a_board_that_was_started_without_one_gets_files_otherwise(tmp_path, large):
    with SharedDisk(tmp_path / "none", "/dev/vda").offering(large) as offered:
        assert not offered


class Full(FileIO):
    """A file on a disk that has room for so many bytes only."""

    room = 600_000

    def write(self, content):
        if not self.room:
            raise OSError(28, "No space left on device")
        written = super().write(content[: self.room])
        self.room -= written
        return written


@pytest.mark.parametrize("room", [600_000, 1 << 20])
def test_where_there_is_no_room_for_a_copy_files_go_otherwise(disk, large, monkeypatch, room):
    plain = Path.open
    monkeypatch.setattr(Full, "room", room)
    monkeypatch.setattr(
        Path,
        "open",
        lambda path, *how, **more: (
            Full(path, "r+") if path == disk.file else plain(path, *how, **more)
        ),
    )
    with disk.offering(large) as offered:
        assert not offered
    assert disk.file.stat().st_blocks == 0
