"""``inspect`` in a process of its own: what parses a hostile file may crash, or take all memory.

The process is forked, so that nothing is imported twice. It answers in JSON, of which nothing is
executed, whatever became of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.inspection.contents import Inspection, inspect
from shufflenet_deploy.export.untrusted import damaged

#: Memory above what this process has; the largest file that is read has 2 GiB.
_MEMORY_BYTES = 6 << 30
_CPU_SECS = 300


def inspect_contained(path: Path) -> Inspection:
    """As ``inspect``; a reader that crashes or takes too much is an error of the file.

    Raises:
        UsageError: as there, or the reader came to its end.
        ModuleNotFoundError: the packages that read such files are not installed.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, path), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = json.loads(ours.recv_bytes())
    except EOFError as error:
        process.join()
        raise _refusal(path, f"its reader {_end(process.exitcode)}") from error
    finally:
        process.kill()
        process.join()
        ours.close()
    if "missing" in answer:
        raise ModuleNotFoundError(answer["refused"], name=answer["missing"])
    if "refused" in answer:
        raise UsageError(answer["refused"])
    if "fault" in answer:
        raise RuntimeError(answer["fault"])
    return Inspection.model_validate_json(answer["found"])


def _work(answers: Connection, path: Path) -> None:
    """Read the file and send one JSON object."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent hears it, too, and ends this.
    _limit(resource.RLIMIT_AS, _taken_bytes() + _MEMORY_BYTES)
    _limit(resource.RLIMIT_CPU, _CPU_SECS)
    _limit(resource.RLIMIT_CORE, 0)
    try:
        answer = {"found": inspect(path).model_dump_json()}
    except UsageError as error:
        answer = {"refused": str(error)}
    except ModuleNotFoundError as error:
        answer = {"refused": str(error), "missing": error.name or ""}
    except MemoryError:
        answer = {"refused": str(_refusal(path, "its reader took all memory that it may"))}
    except Exception:  # noqa: BLE001 - for the handler of the process that reports faults
        answer = {"fault": traceback.format_exc()}
    answers.send_bytes(json.dumps(answer).encode())


def _refusal(path: Path, why: str) -> UsageError:
    return damaged(path, formats.kind_of(path).title, why)


def _limit(kind: int, most: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, hard))


def _taken_bytes() -> int:
    """The address space of this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _end(code: int | None) -> str:
    """The end of a process: its signal, or its exit code."""
    try:
        return f"was ended by {signal.Signals(-(code or 0)).name}"
    except ValueError:
        return f"ended with {code}"
