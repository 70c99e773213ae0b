"""Manifests: the JSON beside each exported file that says what it is and how it came to be.

The file is written first and its manifest last, so a manifest whose sha256 matches the file beside
it was written by an export that finished.
"""

from __future__ import annotations

from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.untrusted import count
from shufflenet_deploy.files import read_bytes, sha256_file, write_whole
from shufflenet_deploy.records import Artifact, Record

_MOST_BYTES = 4 << 20
_SUFFIX = ".manifest.json"


class Manifest(Record):
    """An artifact and the key under which it was asked for."""

    key: str
    artifact: Artifact


def beside(path: Path) -> Path:
    """Where the manifest of the exported file ``path`` lies."""
    return path.with_name(path.name + _SUFFIX)


def write(artifact: Artifact, key: str) -> None:
    """Write the manifest beside the artifact; it names the file only, so the folder may move.

    Raises:
        UsageError: the folder cannot be written.
    """
    portable = artifact.model_copy(update={"path": Path(artifact.path.name)})
    manifest = Manifest(key=key, artifact=portable)
    write_whole(beside(artifact.path), manifest.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Manifest | None:
    """The manifest of the exported file ``path``; None when there is none of this version."""
    try:
        content = read_bytes(beside(path), what="the manifest", limit_bytes=_MOST_BYTES)
        manifest = Manifest.model_validate_json(content)
        for number in (manifest.artifact.multiply_adds, manifest.artifact.parameters):
            count(number)
    except (UsageError, ValueError):  # pydantic's errors are of the last kind
        return None
    artifact = manifest.artifact.model_copy(update={"path": path.absolute()})
    return manifest.model_copy(update={"artifact": artifact})


def find(path: Path, key: str) -> Artifact | None:
    """The artifact at ``path`` if it is what ``key`` asks for and its bytes are unharmed."""
    manifest = read(path)
    if manifest is None or manifest.key != key or not matches(path, manifest):
        return None
    return manifest.artifact


def replaced(path: Path) -> str:
    """What is lost when a new file is written to ``path``; "" where no file is."""
    if not path.exists():
        return ""
    manifest = read(path)
    if manifest is None or not matches(path, manifest):
        return "which is not what its manifest describes: made elsewhere, changed or damaged"
    return "which other versions of the tools made, or with other limits"


def matches(path: Path, manifest: Manifest) -> bool:
    """Whether the bytes of the file are those that the manifest was written for."""
    try:
        return (
            path.stat().st_size == manifest.artifact.size_bytes
            and sha256_file(path) == manifest.artifact.sha256
        )
    except OSError:
        return False
