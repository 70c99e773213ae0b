"""A process for each network, with limits of time and memory; another where one was lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from model_coverage.findings import BUILT, Finding
from model_coverage.networks import Network
from model_coverage.stages import examine

#: For a process that has sent everything to clean up.
_GRACE_SECS = 10

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["model_coverage.stages"])


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one stage: seconds, and bytes of address space; ``side`` is of the images."""

    side: int
    timeout_secs: float
    memory_bytes: int


def findings(network: Network, stages: Sequence[str], limits: Limits) -> Iterator[Finding]:
    """A finding of each stage, as it comes; one of ``BUILT`` alone for a network not counted."""
    left = list(stages)
    while left:
        for finding in _one_process(network, left, limits):
            yield finding
            if finding.stage == BUILT:
                return
            left.remove(finding.stage)


def _one_process(network: Network, stages: Sequence[str], limits: Limits) -> Iterator[Finding]:
    """Findings of one process; the last one says why it ended early, if it did."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_run, args=(network, stages, limits, sender))
    process.start()
    sender.close()
    try:
        for stage in ("", *stages):
            started = time.perf_counter()
            reason = f"took more than {limits.timeout_secs:.0f} s"
            try:
                if receiver.poll(limits.timeout_secs):
                    finding = receiver.recv()
                    if finding is not None:
                        yield finding
                        if finding.stage == BUILT:
                            return
                    continue
            except EOFError:
                process.join(_GRACE_SECS)
                reason = f"its process ended without an answer: {ending(process.exitcode)}"
            yield Finding(
                source=network.source,
                name=network.name,
                classifier=network.classifier,
                stage=stage or stages[0],
                passed=False,
                reason=reason,
                secs=round(time.perf_counter() - started, 1),
            )
            return
        process.join(_GRACE_SECS)
    finally:
        receiver.close()
        _end(process)


def ending(code: int | None) -> str:
    """How a process ended, in words; without memory torch and Python end it with a status."""
    if code is not None and code < 0:
        return f"by {signal.Signals(-code).name}"
    return f"with status {code}, as without memory"


def _end(process: BaseProcess) -> None:
    """End a process with what it has started, such as compilers."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _run(network: Network, stages: Sequence[str], limits: Limits, sender: Connection) -> None:
    os.setsid()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    with contextlib.suppress(BrokenPipeError):  # Nobody is waiting any more.
        examine(network, stages, limits.side, sender.send)
