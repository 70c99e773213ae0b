"""The isolated converter, real in its own environment, and its failures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shufflenet_deploy import export
from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.export.tflite import onnx2tf
from shufflenet_deploy.export.tflite.onnx2tf import Environment
from shufflenet_deploy.records import Resolution


def silent(_: str) -> None:
    """No stage is of interest."""


def test_everything_is_pinned_exactly() -> None:
    lines = (Path(onnx2tf.__file__).parent / "onnx2tf.lock.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    names = {line.partition("==")[0].lower().replace("-", "_") for line in pins}
    assert {"onnx2tf", "tensorflow", "tf_keras", "onnx_graphsurgeon", "sng4onnx", "psutil"} <= names
    assert onnx2tf.version().startswith("1.29.24+")


def test_the_sample_file_is_what_onnx2tf_would_download(tmp_path: Path) -> None:
    onnx2tf._write_sample(tmp_path / "sample.npy")
    sample = np.load(tmp_path / "sample.npy")
    assert (sample.shape, sample.dtype) == ((20, 128, 128, 3), np.float32)
    assert 0 <= sample.min() < 0.1
    assert 0.9 < sample.max() <= 1


def test_a_converter_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker really runs, in an interpreter that has no onnx2tf."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    empty = Environment(folder=tmp_path, version="0")
    empty.complete.touch()
    monkeypatch.setattr(onnx2tf, "environment", lambda: empty)
    with pytest.raises(ExportError, match=r"onnx2tf failed: ModuleNotFoundError") as caught:
        onnx2tf.convert(tmp_path / "m.onnx", tmp_path / "m.tflite", None, silent)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.tflite").exists()


def test_an_installation_that_fails_is_one_line_and_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("onnx2tf==0.0.0.dev404\n")
    monkeypatch.setattr(onnx2tf, "_LOCK", lock)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    broken = Environment(folder=tmp_path / "env", version="0")
    with pytest.raises(ExportError, match=r"cannot install onnx2tf: .*dev404.*--converter direct"):
        onnx2tf._install(broken, silent)
    assert not broken.complete.exists()


def test_pythons_without_tensorflow_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx2tf, "_PYTHONS", ((3, 7), (3, 8)))
    with pytest.raises(UsageError, match=r"no wheels for Python 3.*--converter direct"):
        onnx2tf._install(Environment(folder=tmp_path / "env", version="0"), silent)


@pytest.mark.onnx2tf
@pytest.mark.timeout(900)  # installs the environment where it is missing
def test_converts_without_network_or_traces(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = set(Path.cwd().iterdir())
    artifact = export.export(
        ExportRequest(
            model="shufflenet-g3-0.25x",
            format="tflite",
            precision="int8",
            resolution=Resolution(height=64, width=64),
            converter="onnx2tf",
            out=tmp_path,
        )
    )
    assert artifact.parity.passed
    assert artifact.converter == "onnx2tf"
    assert artifact.inputs[0].dtype == "int8"
    found = export.inspect(artifact.path)
    assert found.precision == "int8"
    # Two layout changes around each of the 16 shuffles.
    assert "32 TRANSPOSE between NHWC and NCHW, which no shuffle needs" in found.warnings
    assert capfd.readouterr() == ("", "")
    assert set(Path.cwd().iterdir()) == before


@pytest.mark.onnx2tf
def test_its_environment_is_its_own() -> None:
    python = onnx2tf.environment().python
    answer = subprocess.run(
        [python, "-I", "-c", "import numpy, sys; print(numpy.__version__, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split()[0] == "1.26.4"
    assert answer.stdout.split()[1] != sys.prefix
