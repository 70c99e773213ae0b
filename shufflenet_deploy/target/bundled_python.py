"""A Python of our own for targets that have none that serves, made from Debian's ARM packages.

It brings its own loader and C library and is started through them, so that nothing of the target
is used but the kernel: Android, musl and old systems run it alike. It is packed once, kept on this
machine, and unpacked on the target by the target's ``tar`` or by a static busybox that follows.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from shufflenet_deploy.atomic_files import replacing
from shufflenet_deploy.debian_packages import SUITE, Apt, members
from shufflenet_deploy.errors import ArchiveError, TargetError
from shufflenet_deploy.target import bundle, wheels
from shufflenet_deploy.target.bundle import ArchiveEntry

#: Versions in Debian 12, by which wheels are chosen.
PYTHON = "3.11.2"
LIBC = "glibc 2.36"

_PACKAGES = (
    *("libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libffi8", "libexpat1", "libbz2-1.0"),
    *("liblzma5", "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib"),
)
_LIBRARIES = (
    *("libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1"),
    *("libgcc_s.so.1", "libstdc++.so.6", "libz.so.1", "libffi.so.8", "libexpat.so.1"),
    *("libbz2.so.1.0", "liblzma.so.5"),
)
_STDLIB = "usr/lib/python3.11/"
_PACKAGES_FOLDER = "usr/lib/python3/dist-packages/"

# Modules that neither the runtimes nor the agent import, or that lack their library here.
_UNUSED = re.compile(
    r"(test|idlelib|lib2to3|pydoc_data|ensurepip|venv|tkinter|turtledemo|sqlite3|curses|dbm|"
    r"wsgiref|xmlrpc|msilib|distutils|asyncio|__phello__|config-[^/]+)/|"
    r"(.*/)?__pycache__/|.*\.a$|sitecustomize\.py$|"
    r"(turtle|pydoc|pdb|doctest|imaplib|smtplib|smtpd|ftplib|nntplib|poplib|mailbox)\.py$|"
    r"lib-dynload/(_test\w*|_codecs_\w+|_ssl|_hashlib|_sqlite3|_curses\w*|_dbm|_crypt|_xx\w+|"
    r"xxlimited\w*|nis|ossaudiodev|readline|audioop|_uuid|_lsprof|_asyncio)\.[^/]*$"
)


@dataclass(frozen=True, kw_only=True)
class BundledPython:
    """A Python interpreter built for one architecture, and the command that starts it.

    ``arch`` is what wheels call the architecture, ``debian`` what Debian calls it. ``extra`` are
    further packages, their ``libraries`` by soname, and the Python distributions they bring.
    """

    arch: str
    debian: str
    loader: str
    extra: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    provides: Mapping[str, str] = field(default_factory=dict)

    def argv(self, folder: str) -> tuple[str, ...]:
        """Command that starts the unpacked interpreter on the target."""
        library = f"{folder}/lib"
        start = (f"{library}/{self.loader}", "--inhibit-cache", "--library-path", library)
        return (*start, f"{folder}/bin/python3.11")

    @property
    def key(self) -> str:
        """Names what is made: this recipe for this architecture."""
        digest = hashlib.sha256(f"{SUITE} {self!r}".encode())
        for source in (__file__, bundle.__file__, wheels.__file__):
            digest.update(Path(source).read_bytes())
        return digest.hexdigest()[:16]

    def bundle(self) -> Path:
        """It as a ``.tar.gz``; made once, then kept here.

        Raises:
            TargetError: Debian's packages cannot be fetched.
        """
        path = cache_folder() / f"python-{self.arch}-{self.key}.tar.gz"
        if not path.exists():
            names = (*_PACKAGES, *self.extra)
            files = self._files(_fetched(names, self.debian))
            with replacing(path) as temporary:
                bundle.write(temporary, sorted(files, key=lambda entry: entry.name))
        return path

    def busybox(self) -> Path:
        """A static busybox for targets without a ``tar`` that reads gzip; kept here as well.

        Raises:
            TargetError: Debian's packages cannot be fetched.
        """
        path = cache_folder() / f"busybox-{self.arch}-{self.key}"
        if not path.exists():
            found = _fetched(("busybox-static",), self.debian)
            with replacing(path) as temporary:
                temporary.write_bytes(_followed(found, "bin/busybox"))
            path.chmod(0o755)
        return path

    def _files(self, found: Mapping[str, _Member]) -> Iterator[ArchiveEntry]:
        yield ArchiveEntry(
            "bin/python3.11", _followed(found, "usr/bin/python3.11"), executable=True
        )
        places = {PurePosixPath(path).name: path for path in found if _is_library(path)}
        for name in (self.loader, *_LIBRARIES, *self.libraries):
            if name not in places:
                raise TargetError(f"Debian {SUITE} no longer has {name}: report this as a bug")
            yield ArchiveEntry(f"lib/{name}", _followed(found, places[name]), executable=True)
        for folder, goal in ((_STDLIB, ""), (_PACKAGES_FOLDER, "dist-packages/")):
            for path, member in found.items():
                name = path.removeprefix(folder)
                if name == path or member.content is None:
                    continue
                if not (wheels.unused(name) if goal else _UNUSED.match(name)):
                    yield ArchiveEntry(f"lib/python3.11/{goal}{name}", member.content)


INTERPRETERS = {
    "aarch64": BundledPython(arch="aarch64", debian="arm64", loader="ld-linux-aarch64.so.1"),
    # No index has numpy for 32 bit: Debian's is taken, with the libraries it links to.
    "armv7l": BundledPython(
        arch="armv7l",
        debian="armhf",
        loader="ld-linux-armhf.so.3",
        extra=("python3-numpy", "libblas3", "liblapack3", "libgfortran5"),
        libraries=("libblas.so.3", "liblapack.so.3", "libgfortran.so.5"),
        provides={"numpy": "1.24.2"},
    ),
}


def interpreter_for(machine: str) -> BundledPython | None:
    """The one that a kernel of this architecture (``uname -m``) runs; None where there is none."""
    return INTERPRETERS.get({"arm64": "aarch64", "armv8l": "armv7l"}.get(machine, machine))


def brings_python(machine: str) -> bool:
    """Return True if an interpreter can be bundled for this architecture."""
    return interpreter_for(machine) is not None


def cache_folder() -> Path:
    """Return this machine's cache folder of interpreters."""
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("shufflenet-deploy") / "interpreters"


@dataclass(frozen=True)
class _Member:
    """A file of a package, or a link to another."""

    content: bytes | None
    link: str = ""


def _fetched(names: Iterable[str], architecture: str) -> dict[str, _Member]:
    """The files of packages by path, without leading slash, links included."""
    wanted = set(names)
    found: dict[str, _Member] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as name:
            apt = Apt(Path(name), architecture)
            apt.update()
            packages = [one for one in apt.resolve(sorted(wanted)) if one.name in wanted]
            for deb in apt.fetch(packages):
                for member, content in members(deb):
                    path = member.name.removeprefix("./")
                    if member.issym():
                        found[path] = _Member(None, member.linkname)
                    elif member.isreg():
                        found[path] = _Member(content)
    except ArchiveError as error:
        raise TargetError(f"making a Python for the target failed: {error}") from error
    return found


def _is_library(path: str) -> bool:
    return (
        re.fullmatch(r"(usr/)?lib/([^/]+-linux-gnu[^/]*/)?((blas|lapack)/)?[^/]+", path) is not None
    )


def _followed(found: Mapping[str, _Member], path: str) -> bytes:
    """The content of a file, through the links that lead to it."""
    for _ in range(8):
        member = found.get(path)
        if member is None:
            break
        if member.content is not None:
            return member.content
        folder = PurePosixPath(path).parent
        path = member.link.lstrip("/") if member.link.startswith("/") else str(folder / member.link)
    raise TargetError(f"Debian {SUITE} no longer has {path}: report this as a bug")
