"""Choice of a runtime's release that has a wheel for a target's Python, architecture and C library.

Each runtime's table is what PyPI carries (``runtimes``); the newest release that fits is taken, and
the run records which one it was. numpy is pinned with it, because its C interface changed in
version 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from shufflenet_deploy.errors import MissingRuntimeError
from shufflenet_deploy.records import TargetFacts

Version = tuple[int, ...]

_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64", "armv7": "armv7l", "armv6l": "armv6l"}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One release: the Python versions and, per architecture, the oldest glibc of its wheels."""

    version: str
    pythons: tuple[str, str]
    glibc: dict[str, str]
    numpy_below_2: bool = False

    def supports(self, python: Version, arch: str, glibc: Version | None) -> bool:
        """Return True if pip would find a wheel."""
        if arch not in self.glibc or not _ordered(self.pythons[0], python, self.pythons[1]):
            return False
        return glibc is None or glibc >= _version(self.glibc[arch])


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A runtime as PyPI knows it, with its releases, newest first.

    ``env`` holds the variables that it must find when it is imported.
    """

    name: str
    module: str
    releases: tuple[Release, ...]
    alternative: str
    env: Mapping[str, str] = field(default_factory=dict)

    def requirements(self, facts: TargetFacts, version: str | None) -> tuple[str, ...]:
        """The pinned distributions to install on a target.

        Args:
            facts: the target.
            version: a release the user insists on, or None for the newest that fits.

        Raises:
            MissingRuntimeError: no wheel fits; the message names the alternative.
        """
        arch = _ARCHITECTURES.get(facts.arch, facts.arch)
        python = self._python(facts)
        glibc = self._glibc(facts)
        if version is not None:
            return self._insisted(version, facts, python, arch, glibc)
        for release in self.releases:
            if release.supports(python, arch, glibc):
                below_2 = release.numpy_below_2
                return (f"{self.name}=={release.version}", _numpy(python, below_2=below_2))
        raise MissingRuntimeError(
            f"{self.name} has no wheel for {arch} with Python {_text(python)} and "
            f"{facts.libc or 'this C library'} ({facts.host}): {self.alternative}"
        )

    def _insisted(
        self, version: str, facts: TargetFacts, python: Version, arch: str, glibc: Version | None
    ) -> tuple[str, ...]:
        """An exact version: checked where its row is known, else left to pip."""
        wanted = _version(version)
        known = [row for row in self.releases if _version(row.version)[: len(wanted)] == wanted]
        if known and not any(row.supports(python, arch, glibc) for row in known):
            raise MissingRuntimeError(
                f"{self.name} {version} has no wheel for {arch} with Python {_text(python)} "
                f"({facts.host}): leave the version out to take the newest that fits"
            )
        # The oldest release that was built against numpy 2 decides for versions without a row.
        newer = [row for row in self.releases if not row.numpy_below_2]
        below_2 = not newer or wanted < min(_version(row.version) for row in newer)
        return (f"{self.name}=={version}", _numpy(python, below_2=below_2))

    def _python(self, facts: TargetFacts) -> Version:
        if facts.python is None:
            raise MissingRuntimeError(
                f"{facts.host} has no Python, which {self.name} needs: install it"
            )
        return _version(facts.python)[:2]

    def _glibc(self, facts: TargetFacts) -> Version | None:
        if facts.libc is None:
            return None
        if "musl" in facts.libc.lower():
            raise MissingRuntimeError(
                f"{self.name} has no wheel for {facts.libc} ({facts.host}): use a glibc system"
            )
        return _version(facts.libc) or None


def numpy_requirement(facts: TargetFacts) -> str:
    """Version of numpy for a target's Python, where no runtime pins it."""
    return _numpy(_version(facts.python or "")[:2], below_2=False)


def pillow_requirement(facts: TargetFacts) -> str:
    """Version of Pillow for a target's Python: the newest with wheels for it."""
    newest = (((3, 7), "9.5.0"), ((3, 8), "10.4.0"), ((3, 9), "11.3.0"), ((3, 11), "13.0.0"))
    python = _version(facts.python or "")[:2]
    fitting = [pin for lowest, pin in newest if python >= lowest]
    return f"pillow=={fitting[-1]}" if fitting else "pillow"


def _numpy(python: Version, *, below_2: bool) -> str:
    newest = (
        ((3, 7), "1.21.6"),
        ((3, 8), "1.24.4"),
        ((3, 9), "1.26.4" if below_2 else "2.0.2"),
        ((3, 10), "1.26.4" if below_2 else "2.2.6"),
        ((3, 11), "1.26.4" if below_2 else "2.4.6"),
    )
    fitting = [pin for lowest, pin in newest if python >= lowest]
    return f"numpy=={fitting[-1]}" if fitting else "numpy"


def _version(text: str) -> Version:
    """The first dotted number in ``text``: (2, 36) of "glibc 2.36"."""
    match = re.search(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)


def _ordered(low: str, middle: Version, high: str) -> bool:
    return _version(low) <= middle <= _version(high)


def on_64_bits(glibc: str) -> dict[str, str]:
    """``Release.glibc`` of a wheel for x86-64 and 64-bit ARM alike."""
    return {"x86_64": glibc, "aarch64": glibc}
