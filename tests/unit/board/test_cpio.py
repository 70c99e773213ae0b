"""The initramfs writer, read back by a reader that shares nothing with it."""

import stat

import pytest

from shufflenet_deploy.board.cpio import CpioTree


def entries(archive: bytes) -> dict[str, tuple[dict[str, int], bytes]]:
    """Unpack an archive as the kernel does, checking alignment on the way."""
    names = ("ino", "mode", "uid", "gid", "nlink", "mtime", "filesize")
    found: dict[str, tuple[dict[str, int], bytes]] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert archive[at : at + 6] == b"070701"
        words = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        header = dict(zip(names, words, strict=False))
        start = at + 110
        name = archive[start : start + words[11]]
        assert name.endswith(b"\0")
        data = start + words[11] + -(110 + words[11]) % 4
        end = data + header["filesize"]
        if name == b"TRAILER!!!\0":
            assert end == len(archive)
            return found
        found[name[:-1].decode()] = (header, archive[data:end])
        at = end + -end % 4


@pytest.fixture
def tree() -> CpioTree:
    tree = CpioTree()
    tree.file("etc/ssh/key", b"secret", 0o600)
    tree.link("bin", "usr/bin")
    tree.folder("root", 0o700)
    tree.file("init", "#!/bin/sh\n", 0o755)
    return tree


def test_everything_comes_back_and_belongs_to_root(tree):
    found = entries(b"".join(tree.archive()))
    assert set(found) == {"etc", "etc/ssh", "etc/ssh/key", "bin", "root", "init"}
    assert all(header["uid"] == header["gid"] == 0 for header, _ in found.values())
    key, content = found["etc/ssh/key"]
    assert (key["mode"], content) == (stat.S_IFREG | 0o600, b"secret")
    assert found["root"][0]["mode"] == stat.S_IFDIR | 0o700
    assert (found["bin"][0]["mode"], found["bin"][1]) == (stat.S_IFLNK | 0o777, b"usr/bin")
    assert len({header["ino"] for header, _ in found.values()}) == len(found)


def test_folders_come_before_what_they_hold(tree):
    tree.file("etc-backup/x", b"")
    order = list(entries(b"".join(tree.archive())))
    assert order.index("etc") < order.index("etc/ssh") < order.index("etc/ssh/key")


@pytest.mark.parametrize("size", range(9))
def test_every_length_is_aligned(size):
    tree = CpioTree()
    tree.file("n" * (size + 1), b"x" * size)
    assert entries(b"".join(tree.archive()))["n" * (size + 1)][1] == b"x" * size


def test_equal_trees_give_equal_bytes_whatever_the_order():
    one, two = CpioTree(), CpioTree()
    one.file("a", b"1")
    one.file("b", b"2")
    two.file("b", b"2")
    two.file("a", b"1")
    assert b"".join(one.archive()) == b"".join(two.archive())


def test_later_writes_win_but_a_parent_is_never_reset():
    tree = CpioTree()
    tree.folder("root", 0o700)
    tree.file("root/x", b"1")
    tree.file("root/x", b"2")
    found = entries(b"".join(tree.archive()))
    assert found["root"][0]["mode"] == stat.S_IFDIR | 0o700
    assert found["root/x"][1] == b"2"
