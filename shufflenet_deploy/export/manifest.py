"""Manifests: the JSON next to each exported file that records what it is and how it was made.

The file is written first and its manifest last, so a manifest whose sha256 matches the file next to
it was written by an export that finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import extras
from shufflenet_deploy.atomic_files import read_bytes, sha256_file, write_whole
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.untrusted import count
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Artifact, Record

if TYPE_CHECKING:
    from shufflenet_deploy.export.request import ExportRequest

_MOST_BYTES = 4 << 20
_SUFFIX = ".manifest.json"

#: Version of ``Manifest``; raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1


class Manifest(Record):
    """An artifact, the key under which it was asked for, and how to use it.

    ``metadata`` is None in manifests of earlier versions.
    """

    schema_version: int = SCHEMA_VERSION
    key: str
    artifact: Artifact
    metadata: Metadata | None = None


def path_for(path: Path) -> Path:
    """Path of the manifest of the exported file ``path``."""
    return path.with_name(path.name + _SUFFIX)


def write(artifact: Artifact, key: str, metadata: Metadata | None = None) -> None:
    """Write the manifest next to the artifact; it names the file only, so the folder may move.

    Raises:
        UsageError: the folder cannot be written.
    """
    portable = artifact.model_copy(update={"path": Path(artifact.path.name)})
    manifest = Manifest(key=key, artifact=portable, metadata=metadata)
    write_whole(path_for(artifact.path), manifest.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Manifest | None:
    """The manifest of the exported file ``path``; None when there is none of this version."""
    try:
        content = read_bytes(path_for(path), what="the manifest", limit_bytes=_MOST_BYTES)
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
    """Description of the file that a new one at ``path`` overwrites; "" where there is none."""
    if not path.exists():
        return ""
    manifest = read(path)
    if manifest is None or not matches(path, manifest):
        return "which is not what its manifest describes: made elsewhere, changed or damaged"
    return "made with other images, limits, labels or versions of the tools"


def made_elsewhere(request: ExportRequest, weights: str) -> Artifact:
    """The file at the path of ``request``, brought here with its manifest from where it was made.

    ``weights`` is the identity of those wanted. Versions of tools are unknown here and are not
    asked for; the network, its weights, the precision and the resolution must be those wanted.

    Raises:
        UsageError: there is none, it is damaged, or it is of another network.
    """
    manifest = read(request.path)
    if manifest is None:
        raise UsageError(
            f"{request.path} is not there with its manifest, and cannot be made here:"
            f" {extras.INSTALL}, or bring both from where they were exported"
        )
    artifact = manifest.artifact
    wanted = (request.model, request.format, request.precision, request.resolution, weights)
    found = (artifact.model, artifact.format, artifact.precision, artifact.resolution)
    if (*found, artifact.weights.sha256) != wanted or not matches(request.path, manifest):
        raise UsageError(
            f"{request.path} is damaged or of other weights than those asked for, and cannot be "
            f"made here: {extras.INSTALL}, or bring the right one"
        )
    return artifact


def matches(path: Path, manifest: Manifest) -> bool:
    """True where the bytes of the file are those that the manifest was written for."""
    try:
        return (
            path.stat().st_size == manifest.artifact.size_bytes
            and sha256_file(path) == manifest.artifact.sha256
        )
    except OSError:
        return False
