"""The plugin for QEMU, compiled on first use and kept: ``plugin.c`` says what it counts.

It is compiled for this machine's architecture and an old C library, so that it loads into any
distribution's QEMU.
"""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.predict.compiling import INSTALL, SHARED, compiled

_EMULATOR = "qemu-aarch64"
#: The first QEMU whose plugins are of API version 2 or later.
_SECOND_API_SINCE = 9
_OLDEST_LIBC = "2.28"
#: What ``openmp_by_turns`` is called where a program runs.
OPENMP_BY_TURNS = "openmp_turns.so"


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """QEMU's user emulation with the plugin that fits it."""

    program: str
    version: str
    plugin: Path
    #: Names all that decides what is counted: this plugin, this QEMU.
    identity: str


def require() -> None:
    """Refuse where something is missing, before anything slow.

    Raises:
        UsageError: with what to install.
    """
    if not sys.platform.startswith("linux"):
        raise UsageError("predicting runs programs under QEMU's user emulation: use Linux")
    if shutil.which(_EMULATOR) is None:
        raise UsageError(
            f"predicting needs {_EMULATOR}, which is not installed: apt install qemu-user"
        )
    for module, distribution in (("capstone", "capstone"), ("ziglang", "ziglang")):
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"predicting needs {distribution}, which is not installed: {INSTALL}")


def emulator() -> Emulator:
    """QEMU and the plugin, which is compiled if it was not yet.

    Raises:
        UsageError: as ``require``, or QEMU was built without plugins.
        DeployError: the plugin cannot be compiled, or QEMU does not say its version.
    """
    require()
    program = shutil.which(_EMULATOR) or _EMULATOR
    version = _version(program)
    if "-plugin" not in _printed(program, "-help"):
        raise UsageError(
            f"{program} {version} was built without plugins, as in Debian 13: put one with them"
            " first in PATH, such as Debian 12's, or build QEMU with --enable-plugins"
        )
    api = 1 if int(version.partition(".")[0]) < _SECOND_API_SINCE else 2
    source = Path(__file__).with_name("plugin.c")
    arch = platform.machine().lower().replace("arm64", "aarch64").replace("amd64", "x86_64")
    flags = (*SHARED, "-fvisibility=hidden", f"-DPLUGIN_API={api}")
    library = compiled(source, "counts", f"{arch}-linux-gnu.{_OLDEST_LIBC}", *flags)
    identity = f"{sha256_file(source)} QEMU {version}"
    return Emulator(program=program, version=version, plugin=library, identity=identity)


def openmp_by_turns() -> Path:
    """``openmp_turns.c`` as a library for ARM, compiled if it was not yet.

    Raises:
        DeployError: it cannot be compiled.
    """
    source = Path(__file__).with_name("openmp_turns.c")
    return compiled(source, "openmp", f"aarch64-linux-gnu.{_OLDEST_LIBC}", *SHARED)


def _version(program: str) -> str:
    found = re.search(r"version (\d+\.\d+(?:\.\d+)?)", _printed(program, "--version"))
    if found is None:
        raise DeployError(f"{program} --version prints no version: reinstall qemu-user")
    return found[1]


def _printed(program: str, option: str) -> str:
    done = subprocess.run(
        [program, option], capture_output=True, text=True, errors="replace", check=False
    )
    return done.stdout + done.stderr
