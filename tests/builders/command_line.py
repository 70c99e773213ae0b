"""The command line as it is typed, run in this process: a new one imports for seconds."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

from shufflenet_deploy import cli


def typed(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run ``shufflenet-deploy`` with ``words`` in ``cwd``; ``env`` comes over the environment.

    Returns:
        The exit code and what was written, as by ``subprocess.run``.
    """
    argv = ["shufflenet-deploy", *map(str, words)]
    status = 0
    with (
        contextlib.chdir(cwd),
        mock.patch.dict(os.environ, dict(env or {})),
        mock.patch.object(sys, "argv", argv),
        open(os.devnull) as nothing,  # noqa: PTH123 - a device
        mock.patch.object(sys, "stdin", nothing),
        _caught(1, "stdout") as out,
        _caught(2, "stderr") as err,
    ):
        try:
            cli.main()
        except SystemExit as left:
            status = int(left.code or 0)
    return CompletedProcess(argv, status, "".join(out), "".join(err))


@contextlib.contextmanager
def _caught(number: int, name: str) -> Iterator[list[str]]:
    """Text written to a stream here, and to its descriptor by whatever is started."""
    text: list[str] = []
    kept = os.dup(number)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), number)
        try:
            with (
                open(number, "w", encoding="utf-8", closefd=False) as stream,
                mock.patch.object(sys, name, stream),
            ):
                yield text
        finally:
            os.dup2(kept, number)
            os.close(kept)
            file.seek(0)
            text.append(file.read().decode())
