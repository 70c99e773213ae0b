"""Selection of compatible wheels for a machine, and the bundle made of them."""

from __future__ import annotations

import tarfile
import zipfile

import pytest

from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.target.bundle import uncompressed, unpacked_bytes
from shufflenet_deploy.target.wheels import Platform, complaint, pack


def platform(arch: str, libc: str) -> Platform:
    return Platform(arch=arch, libc=libc, python="3.11.2")


def test_tags_of_an_arm_board():
    tags = platform("aarch64", "glibc 2.28").tags
    assert tags[0] == "manylinux_2_28_aarch64"
    assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64", "linux_aarch64"} <= set(tags)
    assert "manylinux_2_29_aarch64" not in tags
    assert "manylinux_2_5_aarch64" not in tags


def test_old_tags_of_x86():
    assert {"manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"} <= set(
        platform("x86_64", "glibc 2.36").tags
    )


def test_tags_of_musl():
    assert platform("aarch64", "musl 1.2.4").tags == (
        "musllinux_1_2_aarch64",
        "musllinux_1_1_aarch64",
        "musllinux_1_0_aarch64",
    )


@pytest.mark.parametrize(
    ("python", "abi"),
    [("3.7.3", "cp37m"), ("3.8.10", "cp38"), ("3.9.2", "cp39"), ("3.11.2", "cp311")],
)
def test_the_abi_of_a_python(python, abi):
    there = Platform(arch="aarch64", libc="glibc 2.28", python=python)
    assert there.abis == (abi, "abi3", "none")


@pytest.mark.parametrize("libc", ["musl", "bionic", ""])
def test_an_unknown_c_library_is_refused(libc):
    with pytest.raises(TargetError, match="glibc or musl"):
        _ = platform("aarch64", libc).tags


def test_a_platform_in_words():
    assert str(platform("armv7l", "glibc 2.36")) == "armv7l, glibc 2.36, Python 3.11"


@pytest.fixture
def wheel(tmp_path):
    def make(*, reverse: bool = False, year: int = 2020):
        path = tmp_path / f"thing-{year}.whl"
        entries = {
            "thing/__init__.py": b"x = 1\n",
            "thing/_core.so": b"\x7fELF",
            "thing-1.data/purelib/thing/extra.py": b"y = 2\n",
            "thing-1.data/scripts/thing": b"#!python\n",
            "thing-1.dist-info/METADATA": b"Name: thing\n",
            "../escape.py": b"bad",
        }
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted(entries, reverse=reverse):
                info = zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0))
                info.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
                archive.writestr(info, entries[name])
        return path

    return make


def test_a_bundle_holds_what_an_installation_would(wheel, tmp_path):
    pack([wheel()], tmp_path / "bundle.tar.gz")
    with tarfile.open(tmp_path / "bundle.tar.gz") as tar:
        names = {entry.name: entry.mode for entry in tar}
    assert names == {
        "thing/__init__.py": 0o644,
        "thing/_core.so": 0o755,
        "thing/extra.py": 0o644,
        "thing-1.dist-info/METADATA": 0o644,
    }
    assert unpacked_bytes(tmp_path / "bundle.tar.gz") == 6 + 4 + 6 + 12


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_a_bundle_travels_as_a_plain_archive_where_that_is_faster(wheel, tmp_path, suffix):
    packed = tmp_path / f"bundle{suffix}"
    pack([wheel()], packed)
    with uncompressed(packed) as plain:
        assert plain.name == "bundle.tar"
        with tarfile.open(plain, "r:") as tar, tarfile.open(packed) as original:
            assert tar.getmembers()
            for one, same in zip(tar, original, strict=True):
                assert one.get_info() == same.get_info()
                assert tar.extractfile(one).read() == original.extractfile(same).read()
    assert not plain.exists()


def test_a_bundle_is_reproducible(wheel, tmp_path):
    pack([wheel()], tmp_path / "one.tar.gz")
    pack([wheel(reverse=True, year=2024)], tmp_path / "two.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


def test_pip_s_complaint_is_its_first_error():
    stderr = b"WARNING: old\nERROR: Could not find a version\nERROR: No matching distribution\n"
    assert complaint(stderr) == "Could not find a version"
    assert complaint(b"") == "pip failed without a word"
