"""Debian's packages for ARM, resolved and fetched with a private apt: no root, nothing installed.

Works on Debian and Ubuntu hosts of any architecture. The suite is fixed, whatever the host runs, so
that the board has the same C library, Python and kernel everywhere.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.errors import ArchiveError
from shufflenet_deploy.programs import run_to_end

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
MIRROR_VARIABLE = "SHUFFLENET_DEPLOY_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_APT_TIMEOUT_SECS = 300.0
#: What the host's administrator decided about the way to the mirror is kept; the rest is ours.
_KEPT_SETTINGS = re.compile(
    r"Acquire::(https?|ftp|Retries|ForceIPv[46]|Check-Date|Check-Valid-Until|By-Hash|Queue-Mode)\b"
)
_SETTING = re.compile(r'(?P<key>\S+) "(?P<value>.*)";')
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) (?P<digest>\S*)$")


@dataclass(frozen=True, kw_only=True, order=True)
class Package:
    """One file of the archive: ``file`` carries name, version and architecture."""

    name: str
    file: str
    digest: str
    size_bytes: int

    @property
    def version(self) -> str:
        """Debian's version, its epoch included."""
        return self.file.split("_")[1].replace("%3a", ":")


class Apt:
    """A private apt in ``folder``: own lists, own cache, an empty list of installed packages.

    ``architecture`` is Debian's name of it: ``arm64``, ``armhf``; ``suite`` that of a release.

    Raises:
        ArchiveError: apt, dpkg-deb or Debian's keyring is not installed.
    """

    def __init__(self, folder: Path, architecture: str, *, suite: str = SUITE) -> None:
        _require_tools()
        self._folder = folder
        self._architecture = architecture
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(
            f"deb [arch={architecture} signed-by={KEYRING}] {_mirror()} {suite} main\n"
        )
        (folder / "apt.conf").write_text(self._configuration())

    def update(self) -> None:
        """Fetch the suite's index.

        Raises:
            ArchiveError: the mirror cannot be reached or is not signed by Debian.
        """
        self._run("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")

    def resolve(self, names: Sequence[str]) -> list[Package]:
        """The packages named and all they depend on, sorted.

        Raises:
            ArchiveError: the suite has no such package.
        """
        argv = ("apt-get", "install", "-qq", "--print-uris", "--no-install-recommends", *names)
        lines = self._run(*argv).splitlines()
        matches = [match for line in lines if (match := _URI.match(line))]
        return sorted(
            Package(
                name=match["file"].split("_")[0],
                file=match["file"],
                digest=match["digest"],
                size_bytes=int(match["size"]),
            )
            for match in matches
        )

    def depends(self, name: str) -> tuple[str, ...]:
        """Names of the direct dependencies of one package.

        Raises:
            ArchiveError: the suite has no such package.
        """
        shown = self._run("apt-cache", "show", "--no-all-versions", name)
        found = re.search(r"^Depends: (.*)$", shown, re.MULTILINE)
        return tuple(re.findall(r"(?:^|, )([^\s,(|]+)", found[1])) if found else ()

    def fetch(self, packages: Sequence[Package]) -> list[Path]:
        """Download packages; apt checks each against the signed index.

        Raises:
            ArchiveError: a download failed.
        """
        wanted = [f"{package.name}={package.version}" for package in packages]
        self._run("apt-get", "download", "-qq", *wanted, cwd=self._folder / "debs")
        return [self._folder / "debs" / package.file for package in packages]

    def _configuration(self) -> str:
        settings = {
            "APT::Architecture": self._architecture,
            "APT::Architectures": self._architecture,
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Acquire::Languages": "none",
            "Dir::Etc::parts": "/dev/null",
            "Dir::Etc::main": "/dev/null",
            "Dir::Etc::sourcelist": str(self._folder / "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": str(self._folder),
            "Dir::State::status": str(self._folder / "status"),
            "Dir::State::lists": str(self._folder / "lists"),
            "Dir::Cache": str(self._folder / "cache"),
            "Dir::Log": str(self._folder),
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        lines += [
            match[0]
            for match in _SETTING.finditer(_plain_run(("apt-config", "dump")))
            if _KEPT_SETTINGS.match(match["key"]) and match["value"]
        ]
        return "\n".join(lines) + "\n"

    def _run(self, *argv: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf"), "LC_ALL": "C"}
        return _plain_run(argv, env=environment, cwd=cwd)


def members(deb: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """The members of a package's file system with their contents, in the archive's order.

    Raises:
        ArchiveError: it is not a whole Debian package.
    """
    argv = ("dpkg-deb", "--fsys-tarfile", str(deb))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    stream = archive.extractfile(member) if member.isreg() else None
                    yield member, stream.read() if stream else b""
        except tarfile.TarError as error:
            raise ArchiveError(
                f"{deb.name} is not a whole Debian package ({error}); try again"
            ) from error
        finally:
            process.kill()


def unpack(deb: Path, folder: Path) -> None:
    """Extract a package's file system into ``folder``; nothing of it is run.

    Raises:
        ArchiveError: it is not a whole Debian package.
    """
    _plain_run(("dpkg-deb", "--extract", str(deb), str(folder)))


def _require_tools() -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise ArchiveError(
            f"fetching Debian's packages needs {' and '.join(missing)}: use a Debian or Ubuntu"
            " host, or install the packages apt and dpkg"
        )
    if not KEYRING.is_file():
        raise ArchiveError(
            f"{KEYRING} is missing, so Debian's packages could not be verified:"
            " run sudo apt-get install debian-archive-keyring"
        )


def _mirror() -> str:
    """The variable, else the mirror of a Debian host, else Debian's own."""
    if chosen := os.environ.get(MIRROR_VARIABLE):
        return chosen.rstrip("/")
    for uri in _host_uris():
        if re.fullmatch(r"https?://\S+/debian/?", uri):
            return uri.rstrip("/")
    return MIRROR


def _host_uris() -> Iterator[str]:
    root = Path("/etc/apt")
    for path in (root / "sources.list", *sorted((root / "sources.list.d").glob("*"))):
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("URIs:"):
                yield from line.removeprefix("URIs:").split()
            elif line.startswith("deb "):
                words = re.sub(r"\[[^]]*\]", "", line).split()
                yield from words[1:2]


def _plain_run(
    argv: Sequence[str], *, env: dict[str, str] | None = None, cwd: Path | None = None
) -> str:
    late = ArchiveError(
        f"{argv[0]} did not finish in {_APT_TIMEOUT_SECS:.0f} s; is {_mirror()} reachable?"
    )
    try:
        done = run_to_end(argv, limit_secs=_APT_TIMEOUT_SECS, late=late, cwd=cwd, env=env)
    except FileNotFoundError as error:
        raise ArchiveError(f"{argv[0]} is not installed: use a Debian or Ubuntu host") from error
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]
        reason = (reasons or done.stderr.splitlines() or ["no message"])[0]
        raise ArchiveError(
            f"{shlex.join(argv[:2])} failed: {reason} (mirror {_mirror()};"
            f" another one can be named in {MIRROR_VARIABLE})"
        )
    return done.stdout
