"""The virtual ARM board: QEMU, Debian's arm64 packages, sshd. In one command, without root.

    up(BoardSettings.choose(name="default")) -> Board    # starts it, or finds it running
    find(name), boards(), down(name)

A board is reached like any other machine, over SSH: ``Board.ssh_settings()`` returns the settings.
"""

from shufflenet_deploy.board.initramfs import ImageInfo
from shufflenet_deploy.board.manager import (
    DEFAULT_NAME,
    Board,
    boards,
    cache_folder,
    down,
    find,
    image_for,
    names,
    up,
)
from shufflenet_deploy.board.qemu import CPUS, BoardSettings, qemu_version

__all__ = [
    "CPUS",
    "DEFAULT_NAME",
    "Board",
    "BoardSettings",
    "ImageInfo",
    "boards",
    "cache_folder",
    "down",
    "find",
    "image_for",
    "names",
    "qemu_version",
    "up",
]
