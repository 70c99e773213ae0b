"""ncnn and MNN: real converters and runtimes in their own environments, and their failures.

One network at one small resolution; the environments are installed where they are missing.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from shufflenet_deploy import export, zoo
from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export import ExportRequest, formats
from shufflenet_deploy.export.classification import classify
from shufflenet_deploy.export.inspection.contents import inspect
from shufflenet_deploy.export.isolated import IsolatedConverter
from shufflenet_deploy.export.mnn.converter import CONVERTER as MNN
from shufflenet_deploy.export.ncnn.converter import CONVERTER as PNNX
from shufflenet_deploy.records import Artifact, Precision, Resolution
from shufflenet_deploy.runtime.agent_file import write_agent

pytestmark = pytest.mark.timeout(900)  # installs an environment where it is missing

MODEL, SIZE = "shufflenet-g3-0.25x", Resolution.parse("32x32")
FILES = [("ncnn", "fp32"), ("ncnn", "fp16"), ("mnn", "fp32"), ("mnn", "fp16")]


def made(folder: Path, name: str, precision: str) -> Artifact:
    return export.export(
        ExportRequest(
            model=MODEL,
            format=name,
            precision=Precision(precision),
            resolution=SIZE,
            out=folder,
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("isolated")


@pytest.mark.parametrize("converter", [PNNX, MNN], ids=lambda one: one.name)
def test_everything_is_pinned_exactly(converter: IsolatedConverter) -> None:
    lines = converter.lock.read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(line.count("==") == 1 for line in pins)


@pytest.mark.parametrize(("name", "precision"), FILES)
def test_a_file_computes_what_the_module_does(folder: Path, name: str, precision: str) -> None:
    artifact = made(folder, name, precision)
    assert artifact.parity.passed
    assert artifact.parity.inputs == 8
    assert artifact.parity.sqnr_db > (100 if precision == "fp32" else 40)
    converter = {"ncnn": "pnnx", "mnn": "MNN"}[name]
    assert artifact.converter == converter
    assert artifact.tools[converter].startswith(PNNX.version()[:4] if name == "ncnn" else "3.6.1+")
    found = inspect(artifact.path)
    assert (found.format, found.precision) == (name, precision)
    counted = zoo.complexity(zoo.load(MODEL).module, SIZE, MODEL)
    assert found.multiply_adds == counted.multiply_adds == artifact.multiply_adds
    # A normalisation is folded into the layer before it.
    assert 0 < counted.parameters - found.parameters < 0.05 * counted.parameters
    assert not [one for one in found.warnings if "untrained" not in one]


def test_mnn_quantises_the_whole_network(folder: Path) -> None:
    """Pools over a border, too: MNN's own would lose all but 3 dB here."""
    artifact = made(folder, "mnn", "int8")
    found = inspect(artifact.path)
    assert found.precision == "int8"
    assert artifact.parity.passed, artifact.parity.reason
    assert artifact.calibration is not None
    assert artifact.calibration.pictures == 16
    assert found.size_bytes < 0.4 * made(folder, "mnn", "fp32").size_bytes


def test_ncnn_computes_every_layer_with_weights_in_int8(folder: Path) -> None:
    """Grouped convolutions, too, whose groups here make 20, 40 and 80 channels."""
    artifact = made(folder, "ncnn", "int8")
    assert artifact.parity.sqnr_db > 15
    assert artifact.parity.cosine > 0.98
    assert artifact.calibration is not None
    assert artifact.attempts == ()
    found, plain = inspect(artifact.path), inspect(made(folder, "ncnn", "fp32").path)
    assert found.precision == "int8"
    assert found.multiply_adds == plain.multiply_adds
    assert found.parameters == plain.parameters
    assert not [one for one in found.warnings if "untrained" not in one]
    assert found.size_bytes < 0.4 * plain.size_bytes


@pytest.mark.parametrize("name", ["ncnn", "mnn"])
def test_equal_requests_are_equal_bytes(folder: Path, tmp_path: Path, name: str) -> None:
    assert made(folder, name, "fp32").sha256 == made(tmp_path, name, "fp32").sha256


@pytest.mark.parametrize("name", ["ncnn", "mnn"])
def test_a_file_alone_says_how_it_is_fed(folder: Path, tmp_path: Path, name: str) -> None:
    """Without its manifest: it is classified by what stands in it."""
    alone = tmp_path / f"alone.{name}"
    alone.write_bytes(made(folder, name, "fp32").path.read_bytes())
    images = Path(export.__file__).parent / "images"
    picture = next(iter(sorted(images.glob("parity-*.jpg"))))
    of_module = made(folder, "onnx", "fp32").path
    assert (
        classify(alone, picture).classes[0].index == classify(of_module, picture).classes[0].index
    )


@pytest.mark.parametrize(("name", "environment"), [("ncnn", PNNX), ("mnn", MNN)])
def test_the_comparison_of_runtimes_times_what_the_agent_does(
    folder: Path, tmp_path: Path, name: str, environment: IsolatedConverter
) -> None:
    """Its worker, as it is started: scores of two pictures, then two turns."""
    file = made(folder, name, "fp32").path
    pictures = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "pictures.npy", pictures)
    worker = Path(__file__).parents[3] / "benchmarks" / "compare_runtimes" / "worker.py"
    python = environment.environment().python
    argv = [python, worker, write_agent(tmp_path), name, file, tmp_path / "pictures.npy"]
    done = subprocess.run(
        [*map(str, argv)], input="1\n4\n", capture_output=True, text=True, check=True
    )
    told, *turns = [json.loads(line) for line in done.stdout.splitlines()]
    loaded = formats.get(name).load(file)
    for picture, scores in zip(pictures, told["scores"], strict=True):
        np.testing.assert_allclose(scores, loaded.run(picture[None]).ravel(), atol=1e-5)
    assert [len(turn["samples"]) for turn in turns] == [1, 4]


def test_a_file_that_mnn_does_not_load_is_called_one(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mnn"
    cut.write_bytes(made(folder, "mnn", "fp32").path.read_bytes()[:-1])
    with pytest.raises(UsageError) as caught:
        inspect(cut)
    wanted = "is not an undamaged MNN file (MNN does not load it); export it again"
    assert str(caught.value) == f"{cut} {wanted}"
    assert re.fullmatch(r"MNN \d+\.\d+\.\d+", inspect(made(folder, "mnn", "fp32").path).version)


@pytest.mark.parametrize("name", ["ncnn", "mnn"])
def test_a_damaged_file_is_one_line(folder: Path, tmp_path: Path, name: str) -> None:
    content = made(folder, name, "fp32").path.read_bytes()
    half = tmp_path / f"half.{name}"
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises((ExportError, UsageError)) as caught:
        formats.get(name).load(half).run(np.zeros((1, 3, 32, 32), np.float32))
    assert "\n" not in str(caught.value)


def test_what_such_files_do_not_come_in_is_a_mistake(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"fp16 is for --fmt mnn, .*: executorch has none"):
        made(folder, "executorch", "fp16")
    with pytest.raises(UsageError, match="leave no choice"):
        export.export(
            ExportRequest(model=MODEL, format="mnn", lowering="paper", resolution=SIZE, out=folder)
        )


def test_an_int8_file_of_mnn_answers_alike_in_every_session(folder: Path, tmp_path: Path) -> None:
    """Copies under names of many lengths, each loaded anew, stand for sessions."""
    content = made(folder, "mnn", "int8").path.read_bytes()
    picture = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    answers = []
    for length in (1, 5, 20, 60, 120):
        copy = tmp_path / f"{'n' * length}.mnn"
        copy.write_bytes(content)
        answers.append(formats.get("mnn").load(copy).run(picture))
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])
