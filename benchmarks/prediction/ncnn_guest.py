"""ncnn of a certain date on ARM: its wheel from PyPI, and Debian's Python that the wheel is for."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shufflenet_deploy import debian_packages
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.predict.compiling import cache_folder

#: The suite of Debian and its Python: ncnn's wheels of 2021 are for no newer one.
_OLD, _NEW = ("bullseye", "3.9", "libffi7"), ("bookworm", "3.11", "libffi8")
_NEW_SINCE = "2022-11"
#: Wheels from the end of 2023 on link against it.
_X11 = ("libx11-6", "libxcb1", "libxau6", "libxdmcp6", "libbsd0", "libmd0")


@dataclass(frozen=True)
class Guest:
    """A system, ncnn for it, how its Python starts, and what all of that is named by."""

    system: Path
    site: Path
    argv: tuple[str, ...]
    identity: str

    @classmethod
    def of_date(cls, date: str) -> Self:
        """The release of ncnn of a day: ``2023-08-16``.

        Raises:
            DeployError: PyPI or Debian cannot be reached.
        """
        suite, python, ffi = _NEW if date >= _NEW_SINCE else _OLD
        version = f"1.0.{date.replace('-', '')}"
        return cls(
            system=_system(suite, python, ffi),
            site=_site(version, python),
            argv=(f"system/usr/bin/python{python}", "-S"),
            identity=f"ncnn {version} Debian {suite}",
        )


def _system(suite: str, python: str, ffi: str) -> Path:
    libraries = ("libc6", "libgcc-s1", "libstdc++6", "zlib1g", ffi, "libexpat1", "liblzma5")
    interpreter = (f"python{python}-minimal", f"libpython{python}-minimal")
    names = {*libraries, *_X11, *interpreter, "libbz2-1.0", f"libpython{python}-stdlib"}
    folder = cache_folder("ncnn") / f"{suite}-{_digest(*sorted(names))}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        apt = debian_packages.Apt(Path(made) / "apt", "arm64", suite=suite)
        apt.update()
        packages = [one for one in apt.resolve(sorted(names)) if one.name in names]
        system = Path(made) / "system"
        for deb in apt.fetch(packages):
            system.mkdir(exist_ok=True)
            subprocess.run(["dpkg-deb", "--extract", str(deb), str(system)], check=True)
        system.rename(folder)
    return folder


def _site(version: str, python: str) -> Path:
    folder = cache_folder("ncnn") / f"{version}-{_digest(python)}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        platforms = ("manylinux2014_aarch64", "manylinux_2_28_aarch64")
        command = [*(sys.executable, "-m", "pip", "download"), "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        command += [word for one in platforms for word in ("--platform", one)]
        done = subprocess.run(
            [*command, "--dest", made, f"ncnn=={version}"],
            capture_output=True,
            text=True,
            check=False,
        )
        wheel = next(Path(made).glob("*.whl"), None)
        if done.returncode or wheel is None:
            raise DeployError(f"ncnn {version} cannot be fetched: {done.stderr.strip()[-200:]}")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(Path(made) / "site")
        shutil.move(Path(made) / "site", folder)
    return folder


def _digest(*words: str) -> str:
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]
