"""onnx2tf as an isolated converter: a virtual environment of its own, installed on first use.

It pins old versions of numpy, onnx and protobuf, so it cannot share this package's environment. The
first use creates a virtual environment in the user's cache from a lock file; every use runs
``onnx2tf_worker.py`` there. Apart from that one installation nothing is fetched: the sample file
that onnx2tf would download is made from the shipped photographs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export.image_set import load_image_set, read
from shufflenet_deploy.records import Resolution

_HERE = Path(__file__).parent
_LOCK = _HERE / "onnx2tf.lock.txt"
_WORKER = _HERE / "onnx2tf_worker.py"

#: TensorFlow 2.19 has wheels for these only.
_PYTHONS = ((3, 10), (3, 12))

_INSTALL_SECS = 1800
_CONVERT_SECS = 1200

#: What onnx2tf looks for in its working folder before it goes to the network.
_SAMPLE = "calibration_image_sample_data_20x128x128x3_float32.npy"
_SAMPLE_COUNT, _SAMPLE_SIZE = 20, Resolution(height=128, width=128)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment for one converter; ``version`` is the converter's own."""

    folder: Path
    version: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def complete(self) -> Path:
        """A file that exists once everything is installed."""
        return self.folder / ".complete"


def version() -> str:
    """The pinned version of onnx2tf and a digest of everything pinned with it."""
    lock = _LOCK.read_text()
    pinned = next(line for line in lock.splitlines() if line.startswith("onnx2tf=="))
    return f"{pinned.partition('==')[2]}+{hashlib.sha256(lock.encode()).hexdigest()[:8]}"


def environment() -> Environment:
    """Path of the virtual environment, made or not: one per lock file and Python version."""
    import platformdirs  # noqa: PLC0415

    python = f"py{sys.version_info.major}.{sys.version_info.minor}"
    cache = platformdirs.user_cache_path("shufflenet-deploy") / "converters"
    return Environment(folder=cache / f"onnx2tf-{version()}-{python}", version=version())


def convert(
    source: Path,
    path: Path,
    calibration: Sequence[NDArray[np.float32]] | None,
    on_stage: Callable[[str], None],
) -> None:
    """Convert the ONNX file ``source`` to a TFLite file at ``path``.

    With ``calibration`` inputs ``(1, 3, H, W)`` the file is full-integer int8, else fp32.

    Raises:
        UsageError: TensorFlow does not exist for this Python, or the cache cannot be written.
        ExportError: the environment cannot be installed, or onnx2tf fails.
    """
    prepared = environment()
    _install(prepared, on_stage)
    on_stage("converting with onnx2tf")
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as name:
        folder = Path(name)
        _write_sample(folder / _SAMPLE)
        order = {"onnx": str(source), "out": str(folder / "out"), "calibration": None}
        if calibration is not None:
            planes = np.concatenate([image.transpose(0, 2, 3, 1) for image in calibration])
            np.save(folder / "calibration.npy", planes)
            order["calibration"] = str(folder / "calibration.npy")
        converted = _run_worker(prepared, order, folder)
        shutil.copyfile(converted, path)


def _run_worker(prepared: Environment, order: dict[str, str | None], folder: Path) -> Path:
    try:
        done = subprocess.run(
            [str(prepared.python), "-I", "-B", str(_WORKER), json.dumps(order)],
            cwd=folder,
            env=_offline(folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_CONVERT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"onnx2tf did not finish within {_CONVERT_SECS} s; use --converter direct"
        ) from error
    made = folder / "out" / "converted.tflite"
    if done.returncode != 0 or not made.is_file():
        raise ExportError(f"onnx2tf failed: {_last_line(done.stderr or done.stdout)}")
    return made


def _install(prepared: Environment, on_stage: Callable[[str], None]) -> None:
    if prepared.complete.is_file():
        return
    if not _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        running = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise UsageError(
            f"onnx2tf's TensorFlow has no wheels for Python {running}; use --converter direct"
        )
    with _alone(prepared.folder):
        if prepared.complete.is_file():
            return
        on_stage("installing onnx2tf and TensorFlow (once, about 2 GB)")
        shutil.rmtree(prepared.folder, ignore_errors=True)
        try:
            venv.create(prepared.folder, with_pip=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ExportError(f"cannot create {prepared.folder}: {error}") from error
        _pip_install(prepared)
        prepared.complete.touch()


def _pip_install(prepared: Environment) -> None:
    command = [
        *(str(prepared.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "-r", str(_LOCK)),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_INSTALL_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"installing onnx2tf took more than {_INSTALL_SECS} s; check the network and try again"
        ) from error
    if done.returncode != 0:
        raise ExportError(
            f"cannot install onnx2tf: {_last_line(done.stderr)}; use --converter direct"
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process install while others wait for it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(folder.name + ".lock").open("w")
    except OSError as error:
        raise UsageError(f"cannot write to {folder.parent}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_sample(path: Path) -> None:
    """(20, 128, 128, 3) float32 in 0..1: what onnx2tf compares its own steps on."""
    shipped = load_image_set(None).calibration
    chosen = [shipped[index % len(shipped)] for index in range(_SAMPLE_COUNT)]
    np.save(path, np.stack([read(one, _SAMPLE_SIZE) for one in chosen]).astype(np.float32) / 255)


def _offline(folder: Path) -> dict[str, str]:
    """Variables for the worker: no network, no GPU, no chatter, no traces in the user's home."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere),
    }


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
