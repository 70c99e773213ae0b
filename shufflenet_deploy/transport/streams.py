"""Bounded capture of a program's output: a board that never stops printing fills no memory."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import Any

from shufflenet_deploy.errors import TargetError

#: Per stream; an hour of sustained samples takes a fifth of it.
MAX_OUTPUT_BYTES = 128 << 20
_CHUNK_BYTES = 1 << 16


class TooMuchOutput(TargetError):
    """A program printed more than any of ours does; ``stderr`` is what it had complained of."""

    stderr: bytes = b""


class Bounded:
    """Bytes of one stream of a program on ``host``."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.content = bytearray()

    def extend(self, chunk: bytes) -> None:
        """Keep a chunk.

        Raises:
            TooMuchOutput: it is more than any program of ours prints.
        """
        if len(self.content) + len(chunk) > MAX_OUTPUT_BYTES:
            raise TooMuchOutput(
                f"a program on {self._host} printed more than {MAX_OUTPUT_BYTES >> 20} MiB and "
                "was stopped: look at what runs there"
            )
        self.content += chunk


def communicate(
    process: subprocess.Popen[bytes], stdin: bytes | None, timeout_secs: float, *, host: str
) -> tuple[bytes, bytes]:
    """As ``Popen.communicate``, up to a limit; all streams that are used must be pipes.

    Raises:
        TimeoutExpired: the time passed first; holds what was printed by then.
        TooMuchOutput: it printed more than any program of ours does.
    """
    deadline = time.monotonic() + timeout_secs
    outputs = {process.stdout: Bounded(host), process.stderr: Bounded(host)}
    try:
        return _exchanged(process, stdin, deadline, outputs)
    except TooMuchOutput as error:
        error.stderr = bytes(outputs[process.stderr].content)
        raise


def _exchanged(
    process: subprocess.Popen[bytes],
    stdin: bytes | None,
    deadline: float,
    outputs: dict[Any, Bounded],
) -> tuple[bytes, bytes]:
    left = memoryview(stdin or b"")
    with selectors.DefaultSelector() as selector:
        for stream in outputs:
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ)
        if process.stdin is not None:
            if left:
                os.set_blocking(process.stdin.fileno(), False)
                selector.register(process.stdin, selectors.EVENT_WRITE)
            else:
                _close_input(process)
        while selector.get_map():
            for key, _ in selector.select(_left_secs(deadline, process, outputs)):
                if key.fileobj is process.stdin:
                    left = _written(process, left)
                    if not left:
                        selector.unregister(key.fileobj)
                        _close_input(process)
                    continue
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if chunk:
                    outputs[key.fileobj].extend(chunk)
                else:
                    selector.unregister(key.fileobj)
    process.wait(_left_secs(deadline, process, outputs))
    stdout, stderr = (bytes(one.content) for one in outputs.values())
    return stdout, stderr


def _left_secs(
    deadline: float, process: subprocess.Popen[bytes], outputs: dict[Any, Bounded]
) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        stdout, stderr = (bytes(one.content) for one in outputs.values())
        raise subprocess.TimeoutExpired(process.args, 0, output=stdout, stderr=stderr)
    return left


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    # ``Popen.communicate``, which reaps a program that was killed, would flush it once more.
    process.stdin = None


def _written(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    """Write input; return the rest, which is empty once the program reads no more."""
    assert process.stdin is not None
    try:
        return left[os.write(process.stdin.fileno(), left[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[:0]
