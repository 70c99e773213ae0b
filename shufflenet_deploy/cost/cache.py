"""Counts that were made before, on this machine, of the same file under the same circumstances.

A count is a function of the file, the runtime that runs it, the board's image, its CPU, QEMU and
the way of counting: what agrees in all of these need not be counted again. One small file for each,
named by the sha256 of those circumstances.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.cost.baseline import Count
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.records import Record


class Circumstances(Record):
    """All that decides a count.

    ``artifact`` is the sha256 of the file, ``runtime`` the pinned distributions that run it (or the
    word for programs that need none), ``agent`` the sha256 of the device script, empty where none
    runs, ``image`` the board's packages, and ``protocol`` the way of counting.
    """

    artifact: str
    runtime: tuple[str, ...]
    agent: str
    image: str
    cpu: str
    qemu: str
    protocol: str

    @property
    def digest(self) -> str:
        """Hex sha256 of all of them."""
        fields = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(fields.encode()).hexdigest()


class _Entry(Record):
    circumstances: Circumstances
    count: Count


class CountCache:
    """Counts in a folder. What cannot be read there was never counted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, under: Circumstances) -> Count | None:
        """The count that was made under these circumstances; None when there is none."""
        try:
            entry = _Entry.model_validate_json(self._path(under).read_bytes())
        except (OSError, ValidationError):
            return None
        return entry.count if entry.circumstances == under else None

    def put(self, under: Circumstances, count: Count) -> None:
        """Keep a count. A folder that cannot be written only makes the next time slower."""
        entry = _Entry(circumstances=under, count=count)
        try:
            write_whole(self._path(under), entry.model_dump_json(indent=2) + "\n")
        except (DeployError, OSError):
            return

    def _path(self, under: Circumstances) -> Path:
        return self._folder / f"{under.digest}.json"
