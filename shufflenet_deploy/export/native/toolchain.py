"""Compiling generated C: gcc or clang for this machine, ``zig cc`` for any other."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export.native.generate import Source
from shufflenet_deploy.files import replacing

_WARNINGS = ("-Wall", "-Wextra", "-Werror")
_SPEED = ("-O2", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
_TIMEOUT_SECS = 600


class Compiler(StrEnum):
    """What compiles: ``zig`` is the ``ziglang`` package of PyPI, and crosses to any machine."""

    GCC = "gcc"
    CLANG = "clang"
    ZIG = "zig"


class Product(StrEnum):
    """What comes out: a library to load into a process, or a static program that measures."""

    LIBRARY = "library"
    PROGRAM = "program"


def compile(  # noqa: A001
    source: Source,
    out: Path,
    *,
    product: Product = Product.LIBRARY,
    compiler: Compiler | None = None,
    options: tuple[str, ...] = (),
) -> Path:
    """Compile ``source`` for its machine to ``out``, with the weights linked in.

    ``compiler`` is by default zig, and gcc or clang where that is not installed. ``options`` are
    added to the command, such as ``-fsanitize=address``.

    Raises:
        UsageError: no compiler is installed, or ``out`` cannot be written.
        ExportError: the compiler failed; the message has its first line.
    """
    compiler = compiler or default_compiler(source.machine.arch)
    with tempfile.TemporaryDirectory(prefix="native-") as name, replacing(out) as temporary:
        folder = Path(name)
        write(source, folder)
        files = ["net.c"]
        if product is Product.PROGRAM:
            main = Path(__file__).with_name("main.c")
            shutil.copy(main, folder / "main.c")
            files.append("main.c")
        shape = (
            ("-shared", "-fPIC", "-fvisibility=default")
            if product is Product.LIBRARY
            else ("-static",)
        )
        machine = source.machine.zig if compiler is Compiler.ZIG else source.machine.flags
        command = [
            *_program(compiler),
            "-std=gnu11",
            *_SPEED,
            *_WARNINGS,
            *machine,
            *shape,
            *options,
            '-DNET_WEIGHTS_FILE="net.weights"',
            *files,
            "-o",
            str(temporary),
            "-lm",
        ]
        _run(command, folder, source.name)
        temporary.chmod(0o755)
    out.chmod(0o755)
    return out


def write(source: Source, folder: Path) -> None:
    """Put ``net.c``, ``net.h`` and ``net.weights`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.c").write_text(source.c, encoding="utf-8")
    (folder / "net.h").write_text(source.header, encoding="utf-8")
    (folder / "net.weights").write_bytes(source.weights)


def default_compiler(arch: str) -> Compiler:
    """The best compiler there is for an architecture.

    Raises:
        UsageError: none is installed.
    """
    import platform  # noqa: PLC0415 - rare: only where no compiler was named

    if importlib.util.find_spec("ziglang"):
        return Compiler.ZIG
    here = {"arm64": "aarch64", "amd64": "x86_64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if arch == here:
        for compiler in (Compiler.CLANG, Compiler.GCC):
            if shutil.which(compiler.value):
                return compiler
    raise UsageError(f"no compiler for {arch}: pip install 'shufflenet-deploy[native]' brings one")


def _program(compiler: Compiler) -> list[str]:
    if compiler is Compiler.ZIG:
        return [sys.executable, "-m", "ziglang", "cc"]
    return [compiler.value]


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_SECS, check=False
        )
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed: choose another compiler") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{name}: compiling took more than {_TIMEOUT_SECS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise ExportError(f"{name}: the C compiler failed: {lines[0].strip()}")
