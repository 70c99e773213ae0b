"""Programs of this machine that are run to their end, within a time limit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from shufflenet_deploy.errors import DeployError


def run_to_end(
    argv: Sequence[str],
    *,
    limit_secs: float,
    late: DeployError,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program without input; its exit status and what it printed, as text.

    A program that takes longer is killed.

    Args:
        argv: the program and its arguments.
        limit_secs: how long it may take, in seconds.
        late: the error to raise then.
        cwd: its working folder; None for the caller's.
        env: its environment; None for the caller's.

    Raises:
        DeployError: ``late``.
        OSError: the program cannot be started.
    """
    try:
        return subprocess.run(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_secs,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise late from error
