"""Wheels for another machine's Python: downloaded here, packed into one reproducible bundle."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shufflenet_deploy.atomic_files import replacing
from shufflenet_deploy.errors import TargetError, UsageError
from shufflenet_deploy.printing import first_line, masked
from shufflenet_deploy.target import bundle as bundles
from shufflenet_deploy.target.bundle import ArchiveEntry

#: PEP 600: the older names of manylinux tags, by the glibc they promise.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
#: The oldest glibc that wheels of an architecture were ever built for.
_FIRST_GLIBC = {"x86_64": 5, "i686": 5}
_DEFAULT_FIRST_GLIBC = 17
_PIP_SECS = 900.0

# Files that inference never opens, found by tracing both runtimes on a board.
_UNUSED = re.compile(
    r"(.*/)?(tests|__pycache__)/|.*\.(pyi|pxd|pyx|h|hpp|a|c|cpp|md)$|.*ThirdPartyNotices\.txt$|"
    r"numpy/(f2py|distutils|doc|_pyinstaller|_core/include|core/include|core/lib|_core/lib|"
    r"random/(lib|_examples))/|"
    r"onnxruntime/(quantization|tools|transformers|backend|datasets)/|"
    r"ai_edge_litert/(aot|tools|vendors)/|ai_edge_litert/libLiteRtWebGpuAccelerator\.so$|"
    r"ai_edge_litert/schema_py_generated\.py$"
)

# Of ExecuTorch's wheel only the runtime is for a target: the rest makes files, and needs torch.
_NOT_FOR_TARGETS = re.compile(
    r"executorch/(?!version\.py$|lib/libexecutorch(_threadpool|_backend_xnnpack|_kernels_\w+)?\.so$)"
)


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Properties that select compatible wheels: ``libc`` is ``glibc 2.36`` or ``musl 1.2.4``."""

    arch: str
    libc: str
    python: str

    @property
    def tags(self) -> tuple[str, ...]:
        """Platform tags that this machine accepts, newest first.

        Raises:
            TargetError: the libc is none that wheels are built for.
        """
        match = re.fullmatch(r"(glibc|musl) (\d+)\.(\d+).*", self.libc)
        if match is None:
            raise TargetError(
                f"wheels are built for glibc or musl, not for '{self.libc}': install the runtime "
                "on the board by hand"
            )
        kind, major, minor = match[1], int(match[2]), int(match[3])
        if kind == "musl":
            return tuple(f"musllinux_{major}_{n}_{self.arch}" for n in range(minor, -1, -1))
        first = _FIRST_GLIBC.get(self.arch, _DEFAULT_FIRST_GLIBC)
        tags = []
        for n in range(minor, first - 1, -1):
            tags.append(f"manylinux_{major}_{n}_{self.arch}")
            if n in _LEGACY:
                tags.append(f"{_LEGACY[n]}_{self.arch}")
        return (*tags, f"linux_{self.arch}")

    @property
    def python_version(self) -> str:
        """``3.11`` of ``3.11.2``."""
        return ".".join(self.python.split(".")[:2])

    @property
    def abis(self) -> tuple[str, ...]:
        """ABI tags that its CPython accepts, its own first; until 3.7 that ended in ``m``."""
        version = self.python_version
        own = f"cp{version.replace('.', '')}{'m' if version in ('3.6', '3.7') else ''}"
        return (own, "abi3", "none")

    def __str__(self) -> str:
        return f"{self.arch}, {self.libc}, Python {self.python_version}"


def cache_folder() -> Path:
    """Return this machine's cache folder of bundles."""
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("shufflenet-deploy") / "wheels"


def bundle(requirements: Iterable[str], platform: Platform, *, lean: bool = False) -> Path:
    """The unpacked wheels of pinned requirements as one ``.tar.gz``; made once, then kept here.

    Requirements are taken as they stand, without what they depend on in turn. A ``lean`` bundle is
    a ``.tar.xz`` without the files that running a model never opens.

    Raises:
        TargetError: there are no such wheels, the index cannot be reached, or pip is missing.
    """
    wanted = tuple(sorted(requirements))
    key = _key(wanted, platform)
    lean_key = hashlib.sha256(f"{key} {_UNUSED.pattern}".encode()).hexdigest()[:16]
    path = cache_folder() / (f"{lean_key}.tar.xz" if lean else f"{key}.tar.gz")
    if not path.exists():
        found = fetched(wanted, platform)
        with replacing(path) as temporary:
            pack(found, temporary, lean=lean)
    return path


def fetched(requirements: Iterable[str], platform: Platform) -> list[Path]:
    """The wheels of pinned requirements, in this machine's cache.

    Raises:
        TargetError: there are no such wheels, the index cannot be reached, or pip is missing.
    """
    wanted = tuple(sorted(requirements))
    folder = cache_folder() / _key(wanted, platform)
    if len(list(folder.glob("*.whl"))) != len(wanted):
        _download(wanted, platform, folder)
    return sorted(folder.glob("*.whl"))


def _key(wanted: tuple[str, ...], platform: Platform) -> str:
    text = "\n".join((*wanted, *platform.tags, platform.python_version))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def unused(name: str) -> bool:
    """Return True if inference does not need this file of a wheel."""
    return _UNUSED.match(name) is not None


def pack(wheels: Iterable[Path], path: Path, *, lean: bool = False) -> None:
    """Write the files of several wheels into one bundle whose bytes depend on them alone."""
    bundles.write(path, (entry for wheel in wheels for entry in _entries(wheel, lean=lean)))


def _entries(wheel: Path, *, lean: bool) -> Iterator[ArchiveEntry]:
    with zipfile.ZipFile(wheel) as archive:
        for entry, name in sorted(_installed(archive), key=lambda pair: pair[1]):
            if not (_NOT_FOR_TARGETS.match(name) or (lean and unused(name))):
                executable = bool((entry.external_attr >> 16) & 0o100)
                yield ArchiveEntry(name, archive.read(entry), executable=executable)


def _installed(wheel: zipfile.ZipFile) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """The entries that belong on the import path, and their names there."""
    for entry in wheel.infolist():
        parts = PurePosixPath(entry.filename).parts
        if entry.is_dir() or not parts or ".." in parts or parts[0] == "/":
            continue
        if parts[0].endswith(".data"):
            if len(parts) < 3 or parts[1] not in {"purelib", "platlib"}:
                continue
            parts = parts[2:]
        yield entry, "/".join(parts)


def _download(requirements: tuple[str, ...], platform: Platform, folder: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        raise TargetError(
            "fetching wheels for the board needs pip on this machine: "
            f"{sys.executable} -m ensurepip"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.iterdir():
            stale.unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    argv = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-input", "--no-deps", "--only-binary=:all:", "--dest", str(folder)),
        *("--implementation", "cp", "--python-version", platform.python_version),
        *(part for name in platform.abis for part in ("--abi", name)),
        *(part for tag in platform.tags for part in ("--platform", tag)),
        *requirements,
    ]
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=_PIP_SECS, check=False, env=_pip_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise TargetError(
            f"pip did not fetch {', '.join(requirements)} within {_PIP_SECS:.0f} s"
        ) from error
    if done.returncode:
        raise TargetError(
            f"no wheels of {', '.join(requirements)} for {platform}: {complaint(done.stderr)}"
        )


def _pip_environment() -> dict[str, str]:
    return {**os.environ, "PIP_NO_COLOR": "1", "PYTHONWARNINGS": "ignore"}


def complaint(stderr: bytes) -> str:
    """The line of pip's standard error that gives the reason."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    # pip repeats the index, which may hold a token.
    return masked(first_line((errors or lines or ["pip failed without a word"])[0], 500))
