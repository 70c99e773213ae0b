"""A file in a runtime of an isolated environment, on this machine: a process that stays.

What runs there is the agent's own engine, so a file is validated by the code that measures it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.isolated import IsolatedConverter, last_line, offline
from shufflenet_deploy.export.parity import FloatArray, joined
from shufflenet_deploy.records import TensorSpec, first_problem

_WORKER = Path(__file__).with_name("isolated_runtime_worker.py")


class IsolatedFile:
    """See ``parity.ExportedFile``. Integer inputs and outputs are converted on the way."""

    emulated = False

    def __init__(
        self,
        path: Path,
        environment: IsolatedConverter,
        runtime: str,
        on_stage: Callable[[str], None] = lambda _: None,
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Start the process and load the file; ``env`` are variables that the engine needs.

        Raises:
            UsageError: there are no wheels for this Python, or the cache cannot be written.
            ExportError: the environment cannot be installed, or the runtime refuses the file.
        """
        prepared = environment.environment()
        environment.install(prepared, on_stage)
        self._runtime = runtime
        self._folder = Path(tempfile.mkdtemp(prefix="shufflenet-deploy-"))
        self._log = self._folder / "log"
        order = {
            "scripts": str(resource("device_scripts")),
            "runtime": runtime,
            "model": str(path.absolute()),
            "input": str(self._folder / "input.npy"),
            "output": str(self._folder / "output.npz"),
        }
        command = [str(prepared.python), "-I", "-B", str(_WORKER), json.dumps(order)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**offline(self._folder), **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                errors="replace",
            )
        weakref.finalize(self, _end, self._process, self._folder)
        answer = self._answer()
        self.inputs = _specs(answer["inputs"])
        self.outputs = _specs(answer["outputs"])

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``; several outputs as ``joined``.

        Raises:
            ExportError: the runtime fails.
        """
        np.save(self._folder / "input.npy", image, allow_pickle=False)
        self._answer("run")
        with np.load(self._folder / "output.npz", allow_pickle=False) as found:
            return joined([found[name].astype(np.float32) for name in found.files])

    def _answer(self, order: str = "") -> dict[str, Any]:
        """The line that answers an order; the first one comes unasked."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            if order:
                self._process.stdin.write(f"{order}\n")
                self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            reason = last_line(self._log.read_text(errors="replace"))
            raise ExportError(f"{self._runtime} ended on this file: {reason}") from error
        if "error" in answer:
            raise ExportError(f"{self._runtime} cannot run the file: {answer['error']}")
        found: dict[str, Any] = answer
        return found


def _specs(tensors: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    """The tensors that an engine states.

    Raises:
        ExportError: they are none.
    """
    try:
        return tuple(
            TensorSpec.model_validate(
                {**one, "shape": [0 if size is None else size for size in one["shape"]]}
            )
            for one in tensors
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"the file's tensors are none: {first_problem(error)}") from error


def _end(process: subprocess.Popen[str], folder: Path) -> None:
    """End the process, which owns nothing but its folder."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    shutil.rmtree(folder, ignore_errors=True)
