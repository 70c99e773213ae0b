"""Compilers: gcc or clang for this machine, ``zig cc`` to cross-compile for any other."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import shufflenet_deploy
from shufflenet_deploy.atomic_files import replacing
from shufflenet_deploy.codegen.c_file import GeneratedC
from shufflenet_deploy.codegen.cpu_target import HOST_ARCH
from shufflenet_deploy.errors import ExportError, UsageError

_WARNINGS = ("-Wall", "-Wextra", "-Werror")
#: Of every compiler; for C that is compiled elsewhere, too.
OPTIMIZATION = ("-O2", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
#: What makes a program of a network; it starts threads if it is told to.
HARNESS_SOURCES = ("main.c", "thread_pool.c")
_HARNESS = Path(__file__).parent / "harness"
_TIMEOUT_SECS = 600


class Compiler(StrEnum):
    """A C compiler; ``zig`` is the ``ziglang`` package of PyPI, and cross-compiles."""

    GCC = "gcc"
    CLANG = "clang"
    ZIG = "zig"


class Product(StrEnum):
    """The product: a library to load into a process, or a static executable that measures."""

    LIBRARY = "library"
    PROGRAM = "program"


def compile_c(
    source: GeneratedC,
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
    cpu = source.cpu
    compiler = compiler or default_compiler(cpu.arch)
    with tempfile.TemporaryDirectory(prefix="native-") as made, replacing(out) as temporary:
        folder = Path(made)
        write_sources(source, folder)
        crossing = ("-target", cpu.triple) if compiler is Compiler.ZIG else ()
        tuned = (f"-mcpu={cpu.zig_cpu}",) if compiler is Compiler.ZIG else cpu.flags
        common = (
            *(*_program(compiler), "-std=gnu11", *OPTIMIZATION, *_WARNINGS, *crossing, *options),
            '-DNET_WEIGHTS_FILE="net.weights"',
        )
        if product is Product.LIBRARY:
            # The process that loads it has a C library, hardly ever the one that zig would name.
            libraries = ("-nostdlib",) if compiler is Compiler.ZIG else ("-lm",)
            shape = ("-fPIC", "-fvisibility=default")
            _run([*common, *tuned, *shape, "-c", "net.c", "-o", "net.o"], folder, source.name)
            link = [*common, "-shared", "net.o", "-o", str(temporary), *libraries]
            _run(link, folder, source.name)
        else:
            # What is not the network is compiled for any core: it finds out which one it is on,
            # and zig has one C library for all.
            copy_harness(folder)
            facts = [f'-DNET_VERSION="{shufflenet_deploy.__version__}"', "-DNET_PROBE"]
            facts += [f"-DNET_NEEDS_{feature.upper()}" for feature in sorted(cpu.required_features)]
            _run([*common, *facts, *tuned, "-c", "net.c", "-o", "net.o"], folder, source.name)
            end = (
                "-static",
                "-s",
                *HARNESS_SOURCES,
                "net.o",
                "-o",
                str(temporary),
                "-lm",
                "-pthread",
            )
            _run([*common, *facts, *end], folder, source.name)
        temporary.chmod(0o755)
    return out


def compile_cpp(source: Path, out: Path, *, arch: str, options: tuple[str, ...] = ()) -> Path:
    """Compile a C++ source to a library for 64-bit Linux, linked to nothing.

    Whoever loads it has loaded what it calls. ``arch`` is ``aarch64`` or ``x86_64``; the library
    runs with glibc 2.27 and newer. Only zig will do: it brings the C++ headers of every machine.

    Raises:
        ExportError: zig is not installed, or the compiler failed.
    """
    if not importlib.util.find_spec("ziglang"):
        raise ExportError(f"no C++ compiler for {arch}: pip install ziglang brings one")
    zig = (sys.executable, "-m", "ziglang")
    crossing = ("-target", f"{arch}-linux-gnu.2.27")
    plain = ("-std=c++17", "-O2", "-fPIC", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden")
    with tempfile.TemporaryDirectory(prefix="native-") as made, replacing(out) as temporary:
        folder = Path(made)
        compiling = [*zig, "c++", *crossing, *plain, "-fno-sanitize=all", *options]
        _run([*compiling, "-c", str(source), "-o", "one.o"], folder, source.stem)
        linking = [*zig, "cc", *crossing, "-shared", "-nostdlib", "-s", "one.o"]
        _run([*linking, "-o", str(temporary)], folder, source.stem)
        temporary.chmod(0o755)
    return out


def copy_harness(folder: Path) -> None:
    """Copy the C that measures a network, of which ``HARNESS_SOURCES`` are compiled."""
    for path in sorted(_HARNESS.glob("*.[ch]")):
        shutil.copy(path, folder)


def write_sources(source: GeneratedC, folder: Path) -> None:
    """Write ``net.c``, ``net.h`` and ``net.weights`` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.c").write_text(source.c, encoding="utf-8")
    (folder / "net.h").write_text(source.header, encoding="utf-8")
    (folder / "net.weights").write_bytes(source.weights)


def default_compiler(arch: str) -> Compiler:
    """The preferred installed compiler for an architecture.

    Raises:
        ExportError: none is installed.
    """
    if importlib.util.find_spec("ziglang"):
        return Compiler.ZIG
    if arch == HOST_ARCH:
        for compiler in (Compiler.CLANG, Compiler.GCC):
            if shutil.which(compiler.value):
                return compiler
    raise ExportError(f"no compiler for {arch}: pip install ziglang brings one")


def compiler_version(compiler: Compiler) -> str:
    """The release of a compiler: ``ziglang 0.17.1``.

    Raises:
        UsageError: it is not installed.
    """
    if compiler is Compiler.ZIG:
        return f"ziglang {metadata.version('ziglang')}"
    try:
        said = subprocess.run(
            [compiler.value, "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"{compiler} is not installed: choose another compiler") from error
    return said.stdout.splitlines()[0]


def _program(compiler: Compiler) -> list[str]:
    if compiler is Compiler.ZIG:
        return [sys.executable, "-m", "ziglang", "cc"]
    return [compiler.value]


def _run(command: list[str], folder: Path, name: str) -> None:
    # zig would keep a copy of every program it links, weights and all, next to its C libraries.
    environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECS,
            check=False,
        )
    except FileNotFoundError as error:
        raise UsageError(f"{command[0]} is not installed: choose another compiler") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{name}: compiling took more than {_TIMEOUT_SECS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr]
        raise ExportError(f"{name}: the C compiler failed: {lines[0].strip()}")
