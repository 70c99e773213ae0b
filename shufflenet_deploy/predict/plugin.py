"""The plugin for QEMU, compiled on first use and kept: ``plugin.c`` says what it counts.

``ziglang`` compiles it for this machine's architecture and an old C library, so that it loads into
any distribution's QEMU. A library is named by the sha256 of everything that made it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from platformdirs import user_cache_path

from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.programs import run_to_end

INSTALL = "pip install 'shufflenet-deploy[predict]'"
_EMULATOR = "qemu-aarch64"
_TIMEOUT_SECS = 600
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
    library = _compiled(source, "counts", "-fvisibility=hidden", f"-DPLUGIN_API={api}", arch=arch)
    identity = f"{sha256_file(source)} QEMU {version}"
    return Emulator(program=program, version=version, plugin=library, identity=identity)


def openmp_by_turns() -> Path:
    """``openmp_turns.c`` as a library for ARM, compiled if it was not yet.

    Raises:
        DeployError: it cannot be compiled.
    """
    source = Path(__file__).with_name("openmp_turns.c")
    return _compiled(source, "openmp", arch="aarch64")


def cache_folder(kind: str) -> Path:
    """The folder of this machine for what can be made again."""
    return user_cache_path("shufflenet-deploy") / "predict" / kind


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


def _compiled(source: Path, name: str, *flags: str, arch: str) -> Path:
    """The library of a source, named by all that made it."""
    target = f"{arch}-linux-gnu.{_OLDEST_LIBC}"
    parts = (sha256_file(source), *flags, target, "ziglang", metadata.version("ziglang"))
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    library = cache_folder("plugins") / f"{name}-{key[:16]}.so"
    if not library.exists():
        _compile(source, library, target, flags)
    return library


def _compile(source: Path, library: Path, target: str, flags: Sequence[str]) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    command = [*(sys.executable, "-m", "ziglang", "cc"), "-shared", "-fPIC", "-O2"]
    command += ["-target", target, *flags, str(source)]
    with tempfile.TemporaryDirectory(prefix="plugin-") as folder, replacing(library) as made:
        late = DeployError(f"compiling {source.name} for QEMU took more than {_TIMEOUT_SECS} s")
        environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": folder}
        command += ["-o", str(made)]
        done = run_to_end(command, limit_secs=_TIMEOUT_SECS, late=late, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            raise DeployError(f"compiling {source.name} for QEMU failed: {lines[0].strip()}")
