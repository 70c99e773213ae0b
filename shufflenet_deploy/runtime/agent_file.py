"""The agent as the one file that a board gets: the sources of ``device_scripts/agent`` as a zipapp.

Python runs such a file as it runs a program, and imports from it. Its bytes follow from the sources
alone: names in order, no times, nothing compressed (every zlib compresses differently).
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from shufflenet_deploy.atomic_files import resource, write_whole

FILE_NAME = "agent.pyz"

_PACKAGE = "agent"
#: The earliest time that a zip archive can state.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def agent_bytes() -> bytes:
    """Return the content of the file: a zip archive of the package and its ``__main__.py``."""
    root = resource("device_scripts")
    sources = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted((root / _PACKAGE).rglob("*.py"))
    }
    sources["__main__.py"] = sources.pop(f"{_PACKAGE}/__main__.py")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, source in sorted(sources.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, source)
    return content.getvalue()


def agent_sha256() -> str:
    """Return the sha256 of the file, which is part of the key of what was measured with it."""
    return hashlib.sha256(agent_bytes()).hexdigest()


def write_agent(folder: Path) -> Path:
    """Write the file into a folder; its path there.

    Raises:
        UsageError: the folder cannot be written.
    """
    path = folder / FILE_NAME
    write_whole(path, agent_bytes())
    return path


def install_agent(install: Callable[[Path], str]) -> str:
    """Hand the file to ``install``, such as ``Target.install``; return what that returns."""
    with tempfile.TemporaryDirectory() as folder:
        return install(write_agent(Path(folder)))
