"""A native program as a process on this machine, under an emulator where that is needed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.native import inspection
from shufflenet_deploy.network.graph import FloatArray

_TIMEOUT_SECS = 600
#: The emulator for a program's processor, by the number of it in the head of an ELF file.
_EMULATORS = {0x28: "qemu-arm", 0x3E: "qemu-x86_64", 0xB7: "qemu-aarch64"}
_MACHINE_AT = 18


class Program:
    """See ``parity.ExportedFile``; each inference is a process."""

    emulated = False

    def __init__(self, path: Path) -> None:
        self._path = path
        contents = inspection.read(path)
        self.inputs, self.outputs = contents.inputs, contents.outputs

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``.

        Raises:
            ExportError: the program is for another processor, and no emulator is there.
        """
        return _run_program(self._path, image)


def _run_program(path: Path, tensor: FloatArray) -> FloatArray:
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source, output = Path(folder, "input.npy"), Path(folder, "output.npy")
        np.save(source, tensor, allow_pickle=False)
        asked = ["--once", "--input", str(source), "--output", str(output)]
        done = _run_process([str(path.absolute())], asked)
        emulator = shutil.which(_emulator(path))
        if (done is None or done.returncode) and emulator is not None:
            done = _run_process([emulator, "-cpu", "max", str(path.absolute())], asked)
        if done is None or done.returncode:
            reason = "" if done is None else (done.stdout or done.stderr).strip()[:200]
            raise ExportError(
                f"{path} cannot be run here: {reason or 'it is for another processor'}; on its own"
                f" it can, and here with {_emulator(path)} (apt-get install qemu-user)"
            )
        logits: FloatArray = np.load(output, allow_pickle=False)
        return logits


def _run_process(command: list[str], asked: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a program to its end; None where the kernel cannot start it."""
    try:
        return subprocess.run(
            [*command, *asked],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{command[-1]} ran for more than {_TIMEOUT_SECS} s") from error
    except OSError:
        return None


def _emulator(path: Path) -> str:
    head = path.read_bytes()[_MACHINE_AT : _MACHINE_AT + 2]
    return _EMULATORS.get(int.from_bytes(head, "little"), "qemu-aarch64")
