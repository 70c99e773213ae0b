"""Runs trials in processes of their own, and says what became of each: a fault never ends the run.

A trial is known by its kind and its seed. It ends ``accepted`` or ``refused`` (one deliberate
error); everything else is a fault: a traceback, a hang, or more than 4 GB.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import kinds

#: Of processor time, as a machine may be busy; no trial takes a tenth of it.
HANG_CPU_SECS = 20
#: For what waits instead of computing.
HANG_SECS = 300
MOST_BYTES = 4 << 30
_BATCH = 100


@dataclass
class Outcome:
    """The outcome of the trials of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def run(names: Sequence[str], trials: int, seed: int) -> dict[str, Outcome]:
    """Spread ``trials`` evenly over the kinds; each batch has a process of its own."""
    found = {name: Outcome() for name in names}
    share = -(-trials // len(names))
    for name in names:
        done = 0
        while done < share:
            some = range(done, min(done + _BATCH, share))
            for trial, (verdict, told) in _batch(name, some, seed):
                done = trial + 1
                found[name].counts[verdict] += 1
                if verdict not in ("accepted", "refused"):
                    found[name].faults.append(f"{name} --seed {seed} --only {trial}: {told}")
    return found


def _batch(name: str, trials: range, seed: int) -> Iterator[tuple[int, tuple[str, str]]]:
    """Results of some trials; after a hang or a death the rest is left to the next batch."""
    ours, theirs = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_work, args=(theirs, name, trials, seed)
    )
    process.start()
    theirs.close()
    try:
        for trial in trials:
            try:
                result = ours.recv() if _ends(ours, process) else ("hang", "it does not end")
            except EOFError:
                process.join()
                result = ("killed", f"the process ended with {process.exitcode}")
            yield trial, result
            if result[0] in ("hang", "killed", "memory"):
                return
    finally:
        process.kill()
        process.join()


def _ends(pipe: Any, process: Any) -> bool:
    """True if the trial in the process ends in time, of which it may compute only a part."""
    deadline, before = time.monotonic() + HANG_SECS, _cpu_secs(process.pid)
    while not pipe.poll(0.5):
        if time.monotonic() > deadline or _cpu_secs(process.pid) - before > HANG_CPU_SECS:
            return False
    return True


def _cpu_secs(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(pipe: Any, name: str, trials: range, seed: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2 * MOST_BYTES, 2 * MOST_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, _no_output():
        kinds.isolate(Path(folder))
        for trial in trials:
            pipe.send(one(name, Random(f"{name} {seed} {trial}"), Path(folder)))


def one(name: str, random: Random, folder: Path) -> tuple[str, str]:
    """Make one trial; its verdict, and a fault in words."""
    try:
        verdict = "accepted" if kinds.KINDS[name](random, folder) else "refused"
    except MemoryError:
        return "memory", traceback.format_exc(limit=-4)
    except BaseException:  # noqa: BLE001 - whatever it is, it is the result
        return "traceback", traceback.format_exc(limit=-6)
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > MOST_BYTES:
        return "memory", "above 4 GB"
    return verdict, ""


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """Nothing that a trial prints reaches the terminal, escape sequences least of all."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    yield
