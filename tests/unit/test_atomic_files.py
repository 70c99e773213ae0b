"""Reading users' files: whatever they are, an answer or one error."""

from __future__ import annotations

import os

import pytest

from shufflenet_deploy import atomic_files
from shufflenet_deploy.errors import UsageError


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/urandom"])
def test_a_file_that_never_ends_is_refused_at_the_limit(path):
    with pytest.raises(UsageError, match="larger than 1 MiB, or endless"):
        atomic_files.read_bytes(atomic_files.user_path(path), what="the suite", limit_bytes=1 << 20)


def test_lines_that_never_end_are_refused_at_the_limit():
    with pytest.raises(UsageError, match="larger than 1 MiB, or endless; split it"):
        list(atomic_files.read_lines(atomic_files.user_path("/dev/zero"), limit_bytes=1 << 20))


def test_a_pipe_that_nobody_writes_to_is_empty(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert atomic_files.read_bytes(tmp_path / "pipe", what="the suite") == b""


def test_a_pipe_that_somebody_writes_to_is_read():
    reader, writer = os.pipe()
    os.write(writer, b"a = 1\n")
    os.close(writer)
    try:
        path = atomic_files.user_path(f"/dev/fd/{reader}")
        assert atomic_files.read_toml(path, what="the suite") == {"a": 1}
    finally:
        os.close(reader)


@pytest.mark.parametrize("path", ["/", "/proc/self/mem", "/nowhere", "/etc/passwd/x"])
def test_what_cannot_be_read_is_named(path):
    with pytest.raises(UsageError, match=f"cannot read the suite {path}: ") as raised:
        atomic_files.read_text(atomic_files.user_path(path), what="the suite")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("~nosuchuser/x", "no home folder is known for '~nosuchuser'"),
        ("x" * 256, "a name may have 255 bytes"),
        ("ж" * 200, "a name may have 255 bytes"),
        ("d/" * 3000, "a path 4095"),
        ("a\0b", "NUL"),
        ("a\ud800b", "a lone surrogate"),
    ],
)
def test_a_path_that_cannot_be_is_refused(name, told):
    with pytest.raises(UsageError, match=told):
        atomic_files.user_path(name)


def test_no_file_takes_the_place_of_a_device_or_a_folder(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(UsageError, match="no regular file"):
            atomic_files.write_whole(path, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


def test_a_device_has_no_digest():
    with pytest.raises(OSError, match="not a regular file"):
        atomic_files.sha256_file(atomic_files.user_path("/dev/zero"))
