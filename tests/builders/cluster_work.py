"""Work for clusters under test; workers import it from the folder of this file."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from shufflenet_deploy.errors import ExportError


def hashed(argument, files, on_stage):
    """What the files of a task hold, and who looked."""
    on_stage(f"hashing {argument}")
    found = {}
    for key, path in files.items():
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        found[key] = [
            hashlib.sha256(one.read_bytes()).hexdigest() for one in below if one.is_file()
        ]
    return argument, os.getpid(), found


def slow(argument, files, _):
    """A task that takes a moment, and notes in a folder that it was begun."""
    (Path(argument) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.3)
    return os.getpid()


def deadly(argument, files, _):
    """A task that takes its process with it."""
    os._exit(9)


def failing(argument, files, _):
    """A task with an error of its own."""
    raise ExportError(f"no {argument}")


def broken(argument, files, _):
    """A task with a mistake in it."""
    return argument["absent"]
