"""The private apt: which mirror, which of the host's settings, and what is said when it fails."""

import subprocess

import pytest

from shufflenet_deploy import debian_packages
from shufflenet_deploy.debian_packages import Apt, Package, members
from shufflenet_deploy.errors import ArchiveError


def test_version_of_a_file_name_with_an_epoch():
    package = Package(name="tar", file="tar_1%3a2.0+x_arm64.deb", digest="SHA256:0", size_bytes=1)
    assert package.version == "1:2.0+x"


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb"])
def test_a_missing_tool_is_named(tmp_path, monkeypatch, missing):
    for tool in {"apt-get", "dpkg-deb"} - {missing}:
        (tmp_path / tool).write_text("#!/bin/sh\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArchiveError, match=f"needs {missing}: use a Debian or Ubuntu host"):
        Apt(tmp_path / "apt", "arm64")


def test_without_debians_keys_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(debian_packages, "KEYRING", tmp_path / "none.gpg")
    with pytest.raises(ArchiveError, match="apt-get install debian-archive-keyring"):
        Apt(tmp_path / "apt", "arm64")


def test_a_mirror_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv(debian_packages.MIRROR_VARIABLE, "http://127.0.0.1:9/debian/")
    apt = Apt(tmp_path, "arm64")
    with pytest.raises(ArchiveError, match=r"mirror http://127\.0\.0\.1:9/debian") as caught:
        apt.update()
    assert "\n" not in str(caught.value)


def test_the_hosts_own_apt_is_untouched_and_its_proxy_kept(tmp_path, monkeypatch):
    host = tmp_path / "host.conf"
    host.write_text('Acquire::http::Proxy "http://proxy:3128"; APT::Periodic::Enable "1";')
    monkeypatch.setenv("APT_CONFIG", str(host))
    Apt(tmp_path / "apt", "arm64")
    text = (tmp_path / "apt" / "apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy:3128";' in text
    assert "Periodic" not in text
    private = subprocess.run(
        ["apt-config", "dump", "Dir::State"],
        env={"APT_CONFIG": str(tmp_path / "apt" / "apt.conf"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f'Dir::State "{tmp_path / "apt"}";' in private


@pytest.mark.parametrize(
    "content",
    [b"", b"not a package", b"!<arch>\ndebian-binary   0           0     0     100644  4"],
)
def test_a_broken_package_is_an_error_and_not_an_empty_folder(tmp_path, content):
    deb = tmp_path / "broken_1_arm64.deb"
    deb.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"broken_1_arm64\.deb is not a whole Debian package"):
        list(members(deb))
