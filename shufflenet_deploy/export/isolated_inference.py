"""A file in a runtime that has an environment of its own, in a process that answers images.

The process runs the engine with which the agent measures the file on a target. It ends with the
object, or with this process.
"""

from __future__ import annotations

import io
import json
import os
import select
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.isolated import IsolatedConverter, last_line, offline
from shufflenet_deploy.export.parity import FloatArray, joined
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import TensorSpec

_WORKER = Path(__file__).parent / "isolated_inference_worker.py"
_ANSWER_SECS = 300.0
_LENGTH = struct.Struct("<Q")
_MOST_BYTES = 1 << 30


class IsolatedFile:
    """A file in its runtime, on one thread; see ``parity.ExportedFile``.

    ``runtime`` is the agent's name for it, and ``env`` variables that its engine needs.

    Raises:
        UsageError: the environment cannot be made here.
        ExportError: the runtime refuses the file.
    """

    emulated = False

    def __init__(
        self,
        converter: IsolatedConverter,
        runtime: str,
        path: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        prepared = converter.environment()
        converter.install(prepared, lambda _: None)
        order = {
            "agent": str(resource("device_scripts")),
            "runtime": runtime,
            "model": str(path.resolve()),
        }
        self._what = f"{runtime} in an environment of its own"
        self._folder = tempfile.TemporaryDirectory(prefix="shufflenet-deploy-")
        home = Path(self._folder.name)
        self._complaints = home / "stderr"
        with self._complaints.open("wb") as stderr:
            self._process = subprocess.Popen(
                [str(prepared.python), "-I", "-B", str(_WORKER), json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=home,
                env=offline(home) | dict(env or {}),
                bufsize=0,
            )
        weakref.finalize(self, _end, self._process, self._folder)
        about = json.loads(self._answer())
        if "error" in about:
            raise ExportError(
                f"{runtime} cannot load the file: {first_line(str(about['error']), 300)}"
            )
        self.inputs = tuple(TensorSpec.model_validate(one) for one in about["inputs"])
        self.outputs = tuple(TensorSpec.model_validate(one) for one in about["outputs"])

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as ``joined``."""
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(image), allow_pickle=False)
        try:
            _stream(self._process.stdin).write(_LENGTH.pack(len(content.getvalue())))
            _stream(self._process.stdin).write(content.getvalue())
        except BrokenPipeError as error:
            raise self._ended() from error
        found = [np.load(io.BytesIO(self._answer()), allow_pickle=False) for _ in self.outputs]
        return joined([one.astype(np.float32) for one in found])

    def _answer(self) -> bytes:
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > _MOST_BYTES:
            raise ExportError(f"{self._what} gives {length} bytes, which no network does")
        return self._read(length)

    def _read(self, length: int) -> bytes:
        source = _stream(self._process.stdout).fileno()
        content = b""
        while len(content) < length:
            if not select.select([source], [], [], _ANSWER_SECS)[0]:
                raise ExportError(f"{self._what} did not answer within {_ANSWER_SECS:.0f} s")
            part = os.read(source, length - len(content))
            if not part:
                raise self._ended()
            content += part
        return content

    def _ended(self) -> ExportError:
        self._process.wait()
        said = last_line(self._complaints.read_text(encoding="utf-8", errors="replace"))
        return ExportError(f"{self._what} ended: {first_line(said, 300)}")


def _stream(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _end(process: subprocess.Popen[bytes], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        _stream(pipe).close()
    folder.cleanup()
