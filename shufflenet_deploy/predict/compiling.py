"""C sources of this package, compiled on first use by ``ziglang`` and kept.

A file is named by the sha256 of everything that made it.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib import metadata, util
from pathlib import Path

from platformdirs import user_cache_path

from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.programs import run_to_end

INSTALL = "pip install 'shufflenet-deploy[predict]'"
#: Options of a library, and of a program that runs on any system of its architecture.
SHARED = ("-shared", "-fPIC")
#: Stripped, as programs of networks are: zig has another C library for what is not, and to build
#: one takes a minute.
STATIC = ("-static", "-s")
_TIMEOUT_SECS = 600


def cache_folder(kind: str) -> Path:
    """The folder of this machine for what can be made again."""
    return user_cache_path("shufflenet-deploy") / "predict" / kind


def compiled(source: Path, name: str, target: str, *flags: str) -> Path:
    """What a source becomes for a target of zig: ``aarch64-linux-musl``.

    Raises:
        UsageError: ziglang is not installed.
        DeployError: it cannot be compiled.
    """
    if util.find_spec("ziglang") is None:
        raise UsageError(
            f"compiling {source.name} needs ziglang, which is not installed: {INSTALL}"
        )
    parts = (sha256_file(source), *flags, target, "ziglang", metadata.version("ziglang"))
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    made = cache_folder("plugins") / f"{name}-{key[:16]}"
    if not made.exists():
        _compile(source, made, target, flags)
    return made


def _compile(source: Path, out: Path, target: str, flags: tuple[str, ...]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [*(sys.executable, "-m", "ziglang", "cc"), "-O2", "-std=gnu11", "-target", target]
    command += [*flags, str(source)]
    with tempfile.TemporaryDirectory(prefix="compiled-") as folder, replacing(out) as made:
        late = DeployError(f"compiling {source.name} took more than {_TIMEOUT_SECS} s")
        environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": folder}
        done: subprocess.CompletedProcess[str] = run_to_end(
            [*command, "-o", str(made)], limit_secs=_TIMEOUT_SECS, late=late, env=environment
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
            raise DeployError(f"compiling {source.name} failed: {lines[0].strip()}")
