"""File cache in the tool's one folder on a target, and statistics of transfers."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import TargetError, UsageError
from shufflenet_deploy.target import bundle, remote_root
from shufflenet_deploy.transport import Progress, Transport

ROOT_VARIABLE = "SHUFFLENET_DEPLOY_ROOT"

#: Disk space that must stay free on the target after a push.
_RESERVE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class TransferStats:
    """Bytes sent to the target in this session, and bytes found there already."""

    files_pushed: int = 0
    bytes_pushed: int = 0
    files_present: int = 0


class FileCache:
    """Our folder on one target. It is made when something is first put there.

    ``root_of`` returns its path; calling it may take a round trip.
    """

    def __init__(self, transport: Transport, root_of: Callable[[], str]) -> None:
        self.transport = transport
        self.traffic = TransferStats()
        self._root_of = root_of
        self._prepared = False
        self._starts_programs = True
        self._installed: dict[str, str] = {}

    @property
    def root(self) -> str:
        """Path of the folder, which may not exist yet."""
        return self._root_of()

    @property
    def prepared_root(self) -> str:
        """Path of the folder, created and marked.

        Raises:
            TargetError: it cannot be made, or holds files that are not ours.
        """
        if not self._prepared:
            self._starts_programs = remote_root.prepare(self.transport, self.root)
            self._prepared = True
        return self.root

    def require_programs(self, what: str) -> None:
        """Refuse early what has to be started, or mapped as code, from our folder.

        Raises:
            TargetError: it cannot be made, or its file system is mounted noexec.
        """
        root = self.prepared_root
        if not self._starts_programs:
            raise remote_root.refuse_programs(self.transport, root, what)

    def forget(self) -> None:
        """The folder was removed: nothing is known about it any more."""
        self._installed.clear()
        self._prepared = False

    def install(self, path: Path, *, on_progress: Progress | None = None) -> str:
        """Bring a file to the target, unless it is there already; see ``Target.install``."""
        try:
            digest, size_bytes = sha256_file(path), path.stat().st_size
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if _is_program(path):
            self.require_programs(path.name)
        remote = f"{self.prepared_root}/objects/{digest}/{path.name}"
        if self._installed.get(remote) != digest:
            found = remote_root.look_for(self.transport, remote)
            self._installed[remote] = digest
            if found.sha256 != digest:
                del self._installed[remote]
                self._push(path, remote, size_bytes, found.free_bytes, on_progress)
                self._installed[remote] = digest
                return remote
        self.count_present()
        return remote

    def push_bundle(
        self, path: Path, *, unpacked_bytes: int, on_progress: Progress | None = None
    ) -> str:
        """Push a bundle that is going to be unpacked; return its temporary path on the target.

        Raises:
            TargetError: there is no room for it and for what is in it.
            TransferError: it did not arrive whole.
        """
        way = nullcontext(path) if self.transport.compressing else bundle.uncompressed(path)
        with way as sent:
            name = f"{sha256_file(sent)}{''.join(sent.suffixes)}"
            remote = f"{self.prepared_root}/incoming/{name}"
            self._push(
                sent,
                remote,
                sent.stat().st_size,
                remote_root.look_for(self.transport, remote).free_bytes,
                on_progress,
                unpacked_bytes=unpacked_bytes,
            )
        return remote

    def count_present(self) -> None:
        """Note that something had not to travel."""
        self.traffic = replace(self.traffic, files_present=self.traffic.files_present + 1)

    def _push(
        self,
        path: Path,
        remote: str,
        size_bytes: int,
        free_bytes: int | None,
        on_progress: Progress | None,
        *,
        unpacked_bytes: int = 0,
    ) -> None:
        host = self.transport.host
        need_bytes = size_bytes + unpacked_bytes + _RESERVE_BYTES
        if free_bytes is not None and size_bytes > 0 and free_bytes < need_bytes:
            raise TargetError(
                f"the disk of {host} has {free_bytes / 1e6:.0f} MB free at {self.root}, but "
                f"{path.name} needs {need_bytes / 1e6:.0f} MB: free some space, or set "
                f"{ROOT_VARIABLE} to a folder on another disk"
            )
        self.transport.push(
            path, remote, executable=os.access(path, os.X_OK), on_progress=on_progress
        )
        self.traffic = replace(
            self.traffic,
            files_pushed=self.traffic.files_pushed + 1,
            bytes_pushed=self.traffic.bytes_pushed + size_bytes,
        )


def _is_program(path: Path) -> bool:
    """Return True if the kernel starts the file itself; scripts are read by their interpreter."""
    with path.open("rb") as stream:
        return os.access(path, os.X_OK) and stream.read(4) == b"\x7fELF"
