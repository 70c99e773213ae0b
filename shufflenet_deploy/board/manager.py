"""The boards of this user: started once, found again, switched off without a trace.

Each board is one folder of the state folder: its description, its two keys, its known_hosts, its
console. One lock per name serialises starting and stopping; a board exists while its folder
does, and runs while its process does.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.board.cpio import CpioTree
from shufflenet_deploy.board.initramfs import Image, ImageInfo, image, known_image, newest_image
from shufflenet_deploy.board.lock import exclusive
from shufflenet_deploy.board.process import ProcessIdentity, identity_of, stop
from shufflenet_deploy.board.qemu import DISK, NAME_PATTERN, BoardSettings, qemu_version, start
from shufflenet_deploy.errors import BoardError, UsageError
from shufflenet_deploy.records import Record
from shufflenet_deploy.transport import SharedDisk, SshSettings

DEFAULT_NAME = "default"
USER = "root"
HOST = "127.0.0.1"
STATE_VARIABLE = "SHUFFLENET_DEPLOY_STATE"
CACHE_VARIABLE = "SHUFFLENET_DEPLOY_CACHE"

_APPLICATION = "shufflenet-deploy"
_DESCRIPTION = "board.json"
_BOOT_TIMEOUT_SECS = 180.0
_POLL_SECS = 0.1
_BANNER_TIMEOUT_SECS = 5.0
_CONSOLE_TAIL_LINES = 24
_READY_MARK = "board: starting sshd"


class Board(Record):
    """A board that was started. It may have ended since: see ``running``."""

    settings: BoardSettings
    folder: Path
    port: int
    process: ProcessIdentity
    image: str
    kernel: str
    qemu: str
    started_at: datetime

    @property
    def name(self) -> str:
        """Name given by the user."""
        return self.settings.name

    @property
    def running(self) -> bool:
        """True while its QEMU process is alive."""
        return self.process.alive

    @property
    def key(self) -> Path:
        """The private key that opens it."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The file with its host key, and only that."""
        return self.folder / "known_hosts"

    @property
    def console(self) -> str:
        """Output of its console."""
        try:
            return (self.folder / "console.log").read_text("utf-8", "replace")
        except OSError:
            return ""

    def answers(self) -> bool:
        """True if its sshd sends a banner."""
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1.0) as link:
            link.settimeout(_BANNER_TIMEOUT_SECS)
            return link.recv(64).startswith(b"SSH-2.0")
        return False

    def ssh_settings(self) -> SshSettings:
        """Settings with which the ordinary SSH transport connects to it."""
        return SshSettings(
            hostname=HOST,
            port=self.port,
            user=USER,
            identity_file=self.key,
            known_hosts=self.known_hosts,
            disk=_disk(self.folder),
            # Its sshd would answer in the middle of an inference, on a loaded host in every fifth.
            # Nothing is lost: when a board ends, so does its end of the connection.
            keepalive=not self.settings.deterministic,
        )

    def ssh_argv(self) -> list[str]:
        """OpenSSH's command line to this board; the user's own configuration stays out of it."""
        options = {
            "Port": str(self.port),
            "IdentityFile": f'"{self.key}"',
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self.known_hosts}"',
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
        }
        words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        return ["ssh", "-F", "none", *words, f"{USER}@{HOST}"]


def up(
    settings: BoardSettings,
    *,
    refresh_image: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Board:
    """Start a board and wait until it answers; return the running one when it already does.

    Raises:
        UsageError: a board of this name runs with other settings.
        ArchiveError: the packages it is built from cannot be fetched.
        BoardError: it cannot be built, or did not come up (the message shows its console).
    """
    with _locked(settings.name, on_stage):
        found = _read(_folder(settings.name))
        if found is not None and found.running:
            _check_same(found.settings, settings)
            return _ready(found, on_stage)
        if found is not None:
            on_stage(f"board {settings.name} had ended without `board down`; starting it again")
        _remove(settings.name)
        files = image(cache_folder(), refresh=refresh_image, on_stage=on_stage)
        try:
            return _ready(_start(settings, files, on_stage), on_stage)
        except BaseException:
            _remove(settings.name)
            raise


def down(name: str) -> bool:
    """Switch a board off and remove all it left; False when there was none of this name.

    Raises:
        BoardError: its process would not end.
    """
    if not _folder(name).exists():
        return False
    with _locked(name, lambda _: None):
        _remove(name)
    return True


def find(name: str) -> Board | None:
    """The board of this name, running or ended; None when there is none."""
    return _read(_folder(name))


def boards() -> list[Board]:
    """Every board that was started and not switched off, by name."""
    folders = sorted(_boards_folder().glob("[!.]*"))
    return [board for folder in folders if (board := _read(folder)) is not None]


def names() -> list[str]:
    """Names of all boards, half-started ones included."""
    return sorted(folder.name for folder in _boards_folder().glob("[!.]*"))


def cache_folder(kind: str = "board-images") -> Path:
    """Return the cache folder of built images, or of another ``kind`` of reproducible files."""
    chosen = os.environ.get(CACHE_VARIABLE)
    root = Path(chosen) if chosen else platformdirs.user_cache_path(_APPLICATION)
    return root.absolute() / kind


def image_for(name: str) -> ImageInfo | None:
    """The image that the board of this name runs, or would be started with.

    None when that would have to be built first, or is not kept any more.
    """
    found = find(name)
    if found is not None and found.running:
        return known_image(cache_folder(), found.image)
    return newest_image(cache_folder())


def _boards_folder() -> Path:
    chosen = os.environ.get(STATE_VARIABLE)
    root = Path(chosen) if chosen else platformdirs.user_state_path(_APPLICATION)
    return root.absolute() / "boards"


def _folder(name: str) -> Path:
    # A name from the command line becomes a folder that `down` deletes.
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"'{name}' is not a board's name: use letters, digits, '.', '_' and '-'")
    return _boards_folder() / name


def _read(folder: Path) -> Board | None:
    try:
        return Board.model_validate_json((folder / _DESCRIPTION).read_bytes())
    except (OSError, ValidationError):
        return None


def _check_same(running: BoardSettings, wanted: BoardSettings) -> None:
    differences = [
        f"{field} {getattr(running, field)}, not {getattr(wanted, field)}"
        for field in ("cpu", "smp", "memory_mb", "deterministic")
        if getattr(running, field) != getattr(wanted, field)
    ]
    if differences:
        raise UsageError(
            f"board {running.name} runs with {'; '.join(differences)}: switch it off first with"
            f" `shufflenet-deploy board down --name {running.name}`, or choose another --name"
        )


def _start(settings: BoardSettings, files: Image, on_stage: Callable[[str], None]) -> Board:
    folder = _folder(settings.name)
    folder.mkdir(parents=True, mode=0o700)
    host_key = _new_key(folder / "host_key")
    client_key = _new_key(folder / "id_ed25519")
    initrd = folder / "initrd"
    _write_initrd(initrd, files, settings, folder / "host_key", client_key)
    _disk(folder).make()
    on_stage(f"starting {settings.title}")
    process, port = start(settings, files, initrd=initrd, folder=folder)
    # QEMU has read it; the board's private host key need not stay on this side either.
    initrd.unlink()
    (folder / "host_key").unlink()
    write_whole(folder / "known_hosts", f"[{HOST}]:{port} {host_key}\n")
    board = Board(
        settings=settings,
        folder=folder,
        port=port,
        process=process,
        image=files.info.id,
        kernel=files.info.kernel,
        qemu=qemu_version(),
        started_at=datetime.now(UTC),
    )
    write_whole(folder / _DESCRIPTION, board.model_dump_json(indent=2) + "\n")
    return board


def _ready(board: Board, on_stage: Callable[[str], None]) -> Board:
    """Wait until the board's sshd greets.

    Raises:
        BoardError: it ended, or did not answer in time.
    """
    deadline = time.monotonic() + _BOOT_TIMEOUT_SECS
    on_stage("waiting for its sshd")
    while time.monotonic() < deadline:
        if not board.running:
            raise BoardError(f"board {board.name} ended while booting; {_console_tail(board)}")
        # Asking before sshd listens would only leave connections hanging in the network stack.
        if _READY_MARK in board.console and board.answers():
            return board
        time.sleep(_POLL_SECS)
    raise BoardError(
        f"board {board.name} did not answer over SSH within {_BOOT_TIMEOUT_SECS:.0f} s;"
        f" {_console_tail(board)}"
    )


def _console_tail(board: Board) -> str:
    lines = [line.strip() for line in board.console.splitlines() if line.strip()]
    if not lines:
        return "its console is empty"
    return "the end of its console:\n" + "\n".join(
        f"    {line}" for line in lines[-_CONSOLE_TAIL_LINES:]
    )


def _new_key(path: Path) -> str:
    """Write a new private key; return the public one as a line."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - slow to import
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(private)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()


def _write_initrd(
    path: Path, files: Image, settings: BoardSettings, host_key: Path, client_key: str
) -> None:
    """The shared image followed by a second archive with what is this board's alone."""
    own = CpioTree()
    own.file("etc/hostname", f"{settings.name}\n")
    own.file("etc/board/model", settings.title)
    own.file("etc/board/lifetime", str(settings.lifetime_secs or ""))
    own.file("etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600)
    own.file("etc/ssh/authorized_keys", f"{client_key}\n", 0o600)
    with path.open("xb") as stream:
        path.chmod(0o600)
        with files.initrd.open("rb") as shared:
            shutil.copyfileobj(shared, stream)
        stream.writelines(own.archive())


def _disk(folder: Path) -> SharedDisk:
    return SharedDisk(folder / DISK, "/dev/vda")


def _remove(name: str) -> None:
    """End a board's process, however far it came, and delete its folder."""
    folder = _folder(name)
    board = _read(folder)
    process = board.process if board is not None else _half_started(folder)
    if process is not None and not stop(process) and process.alive:
        raise BoardError(f"process {process.pid} of board {name} does not end; end it yourself")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise BoardError(f"cannot delete {folder}; delete it yourself")


def _half_started(folder: Path) -> ProcessIdentity | None:
    """The process of a start that was cut off before it was written down.

    Known by its own command line, which names this very folder.
    """
    try:
        pid = int((folder / "qemu.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return identity_of(pid) if os.fsencode(folder / "qemu.pid") in words else None


def _locked(name: str, on_stage: Callable[[str], None]) -> AbstractContextManager[None]:
    return exclusive(
        _boards_folder() / f".{name}.lock",
        on_wait=lambda: on_stage(f"waiting for another command that starts or stops {name}"),
    )
