"""The isolated converters, real in their own environments, and their failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import shufflenet_deploy.export as export
from shufflenet_deploy import zoo
from shufflenet_deploy.errors import ExportError, UnsupportedError, UsageError
from shufflenet_deploy.export import ExportRequest, ExportSession
from shufflenet_deploy.export.executorch import converter as executorch
from shufflenet_deploy.export.isolated import Environment, IsolatedConverter
from shufflenet_deploy.export.openvino import converter as openvino
from shufflenet_deploy.export.tflite import litert_torch, onnx2tf
from shufflenet_deploy.records import Artifact, Precision, Resolution

CONVERTERS = [
    onnx2tf.CONVERTER,
    litert_torch.CONVERTER,
    executorch.CONVERTER,
    openvino.CONVERTER,
]


def silent(_: str) -> None:
    """No stage is of interest."""


@pytest.mark.parametrize("converter", CONVERTERS, ids=lambda one: one.name)
def test_everything_is_pinned_exactly(converter: IsolatedConverter) -> None:
    lines = converter.lock.read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)
    names = {line.partition("==")[0].lower().replace("-", "_") for line in pins}
    expected = {
        "onnx2tf": {"tensorflow", "tf_keras", "onnx_graphsurgeon", "sng4onnx", "psutil"},
        "executorch": {"torchao", "flatbuffers", "pandas"},
        "openvino": {"nncf", "scikit_learn", "openvino_telemetry"},
        "litert-torch": {"litert_converter", "ai_edge_quantizer", "torchao", "jax"},
    }
    assert expected[converter.name] <= names
    assert "torch" not in names
    version = {
        "onnx2tf": "1.29.24+",
        "litert-torch": "0.10.0+",
        "executorch": "1.5.1+",
        "openvino": "2026.4.1+",
    }[converter.name]
    assert converter.version().startswith(version)


def test_the_sample_file_is_what_onnx2tf_would_download(tmp_path: Path) -> None:
    onnx2tf._write_sample(tmp_path / "sample.npy")
    sample = np.load(tmp_path / "sample.npy")
    assert (sample.shape, sample.dtype) == ((20, 128, 128, 3), np.float32)
    assert 0 <= sample.min() < 0.1
    assert 0.9 < sample.max() <= 1


def interpreter_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that counts as complete and has no converter in it."""
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    empty = Environment(folder=folder, version="0")
    empty.complete.touch()
    monkeypatch.setattr(IsolatedConverter, "environment", lambda _: empty)


def test_a_converter_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker really runs, in an interpreter that has no onnx2tf."""
    interpreter_alone(tmp_path, monkeypatch)
    with pytest.raises(ExportError, match=r"onnx2tf failed: ModuleNotFoundError") as caught:
        onnx2tf.convert(tmp_path / "m.onnx", tmp_path / "m.tflite", None, silent)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.tflite").exists()


def test_modules_that_torch_cannot_export_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    interpreter_alone(tmp_path, monkeypatch)
    with pytest.raises(ExportError, match=r"torch\.export cannot read the module: \w+: ") as caught:
        litert_torch.convert(Undecided(), (3, 4, 4), tmp_path / "m.tflite", None, silent)
    assert "\n" not in str(caught.value)
    with pytest.raises(ExportError, match=r"litert-torch failed: ModuleNotFoundError"):
        litert_torch.convert(nn.ReLU(), (3, 4, 4), tmp_path / "m.tflite", None, silent)
    assert not (tmp_path / "m.tflite").exists()


def test_an_installation_that_fails_is_one_line_and_counts_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("onnx2tf==0.0.0.dev404\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    broken = Environment(folder=tmp_path / "env", version="0")
    with pytest.raises(ExportError, match=r"cannot install onnx2tf: .*dev404.*--converter direct"):
        replace(onnx2tf.CONVERTER, lock=lock).install(broken, silent)
    assert not broken.complete.exists()


def test_pythons_without_wheels_are_told(tmp_path: Path) -> None:
    old = replace(onnx2tf.CONVERTER, pythons=((3, 7), (3, 8)))
    with pytest.raises(UsageError, match=r"no wheels for Python 3.*--converter direct"):
        old.install(Environment(folder=tmp_path / "env", version="0"), silent)


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
    python = onnx2tf.CONVERTER.environment().python
    answer = subprocess.run(
        [python, "-I", "-c", "import numpy, sys; print(numpy.__version__, sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split()[0] == "1.26.4"
    assert answer.stdout.split()[1] != sys.prefix


class Foreign(nn.Module):
    """A module that no graph of ours holds: a cumulative sum along the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.last = nn.Linear(8, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last((self.stem(x).relu().cumsum(2) / 8).mean((2, 3)))


def foreign(
    folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch, heard: list[str]
) -> Artifact:
    """A whole export of that module, under the name of a network of the zoo."""
    torch.manual_seed(0)
    model = replace(zoo.load("shufflenet-g3-0.25x"), module=Foreign().eval())
    monkeypatch.setattr(ExportSession, "model", lambda *_, **__: model)
    return export.export(
        ExportRequest(
            model="shufflenet-g3-0.25x",
            format="tflite",
            precision=precision,
            resolution=Resolution(height=32, width=48),
            out=folder,
        ),
        on_stage=heard.append,
    )


@pytest.mark.onnx2tf
@pytest.mark.timeout(900)  # installs the environment where it is missing
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_litert_torch_converts_what_no_graph_holds(
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    heard: list[str] = []
    artifact = foreign(tmp_path, precision, monkeypatch, heard)
    assert any("; litert-torch converts it instead" in line for line in heard)
    assert artifact.parity.passed
    assert artifact.converter == "litert-torch"
    assert artifact.tools["litert-torch"].startswith("0.10.0+")
    assert "lowering" not in artifact.options
    assert artifact.inputs[0].shape == (1, 32, 48, 3)
    assert artifact.inputs[0].dtype == {"fp32": "float32", "int8": "int8"}[precision]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_litert_torch_cannot_convert_either_names_the_reason_and_the_way_on(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "env").mkdir()
    interpreter_alone(tmp_path / "env", monkeypatch)
    expected = r"cumsum.*, and by litert-torch: .*; try --converter onnx2tf$"
    with pytest.raises(UnsupportedError, match=expected):
        foreign(tmp_path / "out", precision, monkeypatch, [])
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


@pytest.mark.onnx2tf
@pytest.mark.timeout(900)  # installs the environment where it is missing
@pytest.mark.parametrize(
    ("fmt", "precision", "sqnr_db"), [("executorch", "int8", 10), ("openvino", "int8", 10)]
)
def test_a_delegates_file_is_what_the_module_computes(
    fmt: str, precision: str, sqnr_db: float, tmp_path: Path
) -> None:
    artifact = export.export(
        ExportRequest(
            model="shufflenet-g3-0.25x",
            format=fmt,
            precision=precision,
            resolution=Resolution(height=32, width=32),
            out=tmp_path,
        )
    )
    assert artifact.parity.passed, artifact.parity
    assert artifact.parity.sqnr_db > sqnr_db
    assert fmt in artifact.tools
    found = export.inspect(artifact.path)
    assert found.precision == precision
    assert found.multiply_adds == pytest.approx(artifact.multiply_adds, rel=0.01)
    assert found.metadata is not None
    assert found.metadata.model == "shufflenet-g3-0.25x"
    if fmt == "executorch":
        assert found.delegation is not None
        assert found.delegation.left == {"avg_pool2d.out": 3}
        # The same program by torch's own bindings, which targets do without.
        assert _by_bindings(artifact.path) == pytest.approx(
            executorch.load(artifact.path).run(_PICTURE).ravel(), abs=1e-5
        )


@pytest.mark.onnx2tf
@pytest.mark.timeout(900)  # installs the environment where it is missing
@pytest.mark.parametrize("fmt", ["openvino", "executorch"])
def test_int8_files_are_equal_by_one_thread_and_by_two(fmt: str, tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    assert len(cores) > 1, "two threads need two cores"
    contents = []
    for threads in (1, 2):
        # Converters start as many threads as there are cores for them, which a process inherits.
        os.sched_setaffinity(0, sorted(cores)[:threads])
        try:
            artifact = export.export(
                ExportRequest(
                    model="shufflenet-g3-0.25x",
                    format=fmt,
                    precision=Precision.INT8,
                    resolution=Resolution(height=32, width=32),
                    remedies="none",
                    out=tmp_path / str(threads),
                )
            )
        finally:
            os.sched_setaffinity(0, cores)
        contents.append(artifact.path.read_bytes())
    assert contents[0] == contents[1]


_PICTURE = np.linspace(-1, 1, 3 * 32 * 32, dtype=np.float32).reshape(1, 3, 32, 32)


def _by_bindings(path: Path) -> list[float]:
    program = (
        "import json, sys; sys.path.append(sys.argv[1])\n"
        "import numpy, torch\n"
        "from executorch.runtime import Runtime\n"
        "picture = numpy.linspace(-1, 1, 3072, dtype='float32').reshape(1, 3, 32, 32)\n"
        "method = Runtime.get().load_program(sys.argv[2]).load_method('forward')\n"
        "print(json.dumps(method.execute([torch.from_numpy(picture)])[0].ravel().tolist()))\n"
    )
    python = executorch.CONVERTER.environment().python
    home = str(Path(torch.__file__).parents[1])
    done = subprocess.run(
        [python, "-I", "-W", "ignore", "-c", program, home, path],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found
