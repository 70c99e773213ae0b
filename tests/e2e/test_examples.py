"""examples/ as a reader runs them: each in a process of its own, with a small network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import shufflenet_deploy as sd

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = "shufflenet-g3-0.25x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the module, so that a file is exported once."""
    return tmp_path_factory.mktemp("examples")


def done(argv: list[str | Path], folder: Path, **more) -> subprocess.CompletedProcess:
    own = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
        "MAKEFLAGS": "",
    }
    result = subprocess.run(
        [str(word) for word in argv], cwd=folder, env={**os.environ, **own},
        capture_output=True, timeout=240, check=False, **more,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result


def test_own_weights(folder: Path) -> None:
    module = sd.load(MODEL, seed=3).module
    torch.save(module.state_dict(), folder / "own.pth")
    argv = [sys.executable, EXAMPLES / "own_weights.py", "own.pth", MODEL, "32x32", "artifacts"]
    said = done(argv, folder, text=True).stdout
    suffixes = sorted(path.suffix for path in (folder / "artifacts").glob(f"{MODEL}*32x32-*"))
    assert (suffixes.count(".onnx"), suffixes.count(".tflite")) == (1, 2)
    assert (said.count("-fp32."), said.count("-int8.")) == (2, 1)
    assert "own.pth" in said.splitlines()[0]
    for line in said.splitlines():
        assert "-fp32." not in line or line.endswith("parity passed")


def test_own_network(folder: Path) -> None:
    argv = [
        sys.executable,
        EXAMPLES / "own_network.py",
        "local",
        "32x32",
        "own.sqlite",
        "artifacts",
    ]
    said = done(argv, folder, text=True).stdout
    assert said.splitlines()[0].endswith("parity passed")
    assert "| TinyNet" in said


def test_measure_a_host_then_read_the_journal(folder: Path) -> None:
    argv = [sys.executable, EXAMPLES / "measure_host.py", "local", "journal.sqlite", "artifacts"]
    said = done(argv, folder, text=True).stdout
    assert "4 runs, 0 failed" in said.splitlines()[0]
    assert "| Model |" in said
    suite = said.splitlines()[0].split()[1].rstrip(":")
    argv = [sys.executable, EXAMPLES / "read_journal.py", "journal.sqlite"]
    read = done(argv, folder, text=True).stdout
    assert read.startswith(f"{suite} on local: 4 measurements, 0 failures")
    assert "litert fp32 32x32 x1" in read
    assert read.count(" ms, 10 samples") == 2
    assert read.count("x (") == 1


def test_c_in_a_program_of_ones_own(folder: Path) -> None:
    done(["make", "-C", EXAMPLES / "embed_c", f"OUT={folder}/c", "CC=gcc"], folder)
    image = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    result = done([folder / "c" / "infer", folder / "c" / "net.weights"], folder,
                  input=image.tobytes())  # fmt: skip
    logits = np.frombuffer(result.stdout, np.float32)
    expected = sd.load(MODEL).module(torch.from_numpy(image)).numpy()[0]
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    assert MODEL.encode() in result.stderr
