"""The whole export, with real weights, real runtimes and real damage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
import torch

import shufflenet_deploy.export as export
from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportRequest, Tolerances, layer_sqnr, manifest, parity
from shufflenet_deploy.export.image_set import Batches, load_image_set
from shufflenet_deploy.export.onnx.file import OnnxFile
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.export.tflite.file import TfliteFile
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Conv
from shufflenet_deploy.network.quantization.calibration import calibrate
from shufflenet_deploy.records import Artifact, Resolution

NAME = "shufflenet-g3-0.25x"
SIZE = Resolution(height=96, width=128)
FILES = [("onnx", "fp32"), ("onnx", "int8"), ("tflite", "fp32"), ("tflite", "int8")]
LAYER = 12


def request(out: Path, fmt: str = "tflite", precision: str = "fp32", **more: Any) -> ExportRequest:
    fields = {"model": NAME, "format": fmt, "precision": precision, "resolution": SIZE, "out": out}
    return ExportRequest.model_validate({**fields, **more})


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Artifact]:
    out = tmp_path_factory.mktemp("made")
    return {kind: export.export(request(out, *kind)) for kind in FILES}


@pytest.mark.parametrize("kind", FILES)
def test_every_file_passes_and_its_manifest_tells_all(
    made: dict[tuple[str, str], Artifact], kind: tuple[str, str]
) -> None:
    artifact = made[kind]
    assert artifact.parity.passed
    assert artifact.parity.inputs == 8
    assert artifact.parity.sqnr_db > (100 if kind[1] == "fp32" else 10)
    assert artifact.sha256 == sha256_file(artifact.path)
    assert artifact.path.name == f"{NAME}-96x128-{kind[1]}.{kind[0]}"
    assert manifest.path_for(artifact.path).name == f"{artifact.path.name}.manifest.json"
    assert not artifact.weights.trained
    assert set(artifact.inputs[0].shape) == {1, 3, 96, 128}
    assert artifact.outputs[0].shape == (1, 1000)
    assert (artifact.calibration is not None) == (kind[1] == "int8")
    assert {"torch", "numpy", "shufflenet-deploy"} <= set(artifact.tools)
    complexity = zoo.complexity_of(NAME, SIZE)
    assert artifact.multiply_adds == complexity.multiply_adds
    if artifact.calibration:
        assert artifact.calibration.pictures == 16
        assert artifact.calibration.fingerprint == load_image_set(None).fingerprint


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_int8_has_the_same_bytes_whatever_the_number_of_threads(tmp_path: Path, fmt: str) -> None:
    """The ranges are sums, which several threads add up in orders of their own."""

    def made(threads: int) -> bytes:
        options = {"resolution": Resolution(height=32, width=32), "remedies": "none"}
        asked = request(tmp_path / str(threads), fmt, "int8", **options)
        return export.export(asked).path.read_bytes()

    one, two = on_threads(made)
    assert one == two


def test_int8_has_the_same_c_whatever_the_number_of_threads() -> None:
    size = Resolution(height=32, width=32)
    model = zoo.load(NAME)
    images = Batches(load_image_set(None).calibration[:4], model.preprocessing, size)
    graph, core = trace(model.module, size, NAME), codegen.cpu_target_named("cortex-a72")
    one, two = on_threads(lambda _: codegen.generate(graph, core, calibrate(graph, images)))
    assert (one.c, one.weights) == (two.c, two.weights)


def on_threads(make: Callable[[int], Any]) -> list[Any]:
    """What is made on one thread and on two."""
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(make(threads))
    finally:
        torch.set_num_threads(1)
    return made


@pytest.mark.parametrize("kind", FILES)
def test_the_same_again_does_nothing(
    made: dict[tuple[str, str], Artifact], kind: tuple[str, str]
) -> None:
    first = made[kind]
    before = first.path.stat().st_mtime_ns
    stages: list[str] = []
    again = export.export(request(first.path.parent, *kind), on_stage=stages.append)
    assert again == first
    assert stages == [export.UP_TO_DATE]
    assert first.path.stat().st_mtime_ns == before


def test_damage_is_noticed_and_repaired_with_the_same_bytes(tmp_path: Path) -> None:
    first = export.export(request(tmp_path))
    content = bytearray(first.path.read_bytes())
    content[len(content) // 2] ^= 1
    first.path.write_bytes(content)
    stages: list[str] = []
    again = export.export(request(tmp_path), on_stage=stages.append)
    assert stages != [export.UP_TO_DATE]
    assert again.sha256 == first.sha256 == sha256_file(first.path)


def test_a_file_that_fails_is_kept_and_says_where(tmp_path: Path) -> None:
    strict = request(tmp_path, precision="int8", tolerances=Tolerances(untrained_sqnr_db=150))
    artifact = export.export(strict)
    assert not artifact.parity.passed
    assert "SQNR" in artifact.parity.reason
    assert artifact.path.is_file()
    first = trace(zoo.load(NAME).module, SIZE, NAME).layers[0]
    # Rounded weights are off from the first layer on.
    assert artifact.parity.first_diverging == first.name
    # And it stays a failure when it is found instead of made.
    assert export.export(strict) == artifact


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return Batches(load_image_set(None).held_out[:1], zoo.Preprocessing(), SIZE)[0]


def first_diverging(graph, file, image: np.ndarray, floor_db: float) -> str | None:
    return layer_sqnr.first_diverging_layer(layer_sqnr.compare(graph, file, [image]), floor_db)


def test_the_first_wrong_layer_of_a_tflite_file_is_named(tmp_path: Path, image: np.ndarray) -> None:
    graph = trace(zoo.load(NAME).module, SIZE, NAME)
    parts = list(graph.layers)
    index = [i for i, layer in enumerate(parts) if isinstance(layer, Conv)][LAYER]
    broken = cast("Conv", parts[index])
    parts[index] = dataclasses.replace(broken, weight=-broken.weight)
    writer.write(dataclasses.replace(graph, layers=tuple(parts)), tmp_path / "wrong.tflite")
    file = TfliteFile(tmp_path / "wrong.tflite")
    assert first_diverging(graph, file, image, 60.0) == broken.name


def test_the_first_wrong_layer_of_an_onnx_file_is_named(
    made: dict[tuple[str, str], Artifact], tmp_path: Path, image: np.ndarray
) -> None:
    graph = trace(zoo.load(NAME).module, SIZE, NAME)
    model = onnx.load(made["onnx", "fp32"].path)
    node = [node for node in model.graph.node if node.op_type == "Conv"][LAYER]
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    onnx.save(model, tmp_path / "wrong.onnx")
    named = first_diverging(graph, OnnxFile(tmp_path / "wrong.onnx"), image, 60.0)
    assert named is not None
    broken = next(layer for layer in graph.layers if layer.name == named)
    assert isinstance(broken, Conv)
    wanted = onnx.numpy_helper.to_array(weight)
    assert broken.weight.shape == wanted.shape
    np.testing.assert_allclose(np.abs(broken.weight), np.abs(wanted), rtol=1e-4, atol=1e-6)


def test_a_sound_file_has_no_wrong_layer(
    made: dict[tuple[str, str], Artifact], image: np.ndarray
) -> None:
    graph = trace(zoo.load(NAME).module, SIZE, NAME)
    for kind, file in (("onnx", OnnxFile), ("tflite", TfliteFile)):
        path = made[kind, "fp32"].path
        assert first_diverging(graph, file(path), image, 60.0) is None


def test_a_size_the_model_cannot_take(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="16x16 is too small"):
        export.export(request(tmp_path, model="alexnet", resolution="16x16"))
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_done_stays_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parity, "compare_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.export(request(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_alexnets_heads_are_two_files(tmp_path: Path) -> None:
    """Only written down here: AlexNet itself is too large to export in a test."""
    fixed, dense = (
        export.request.normalised(
            request(tmp_path, model="alexnet", head=head), zoo.architecture("alexnet")
        )
        for head in ("fixed", "dense")
    )
    assert (fixed.path.name, dense.path.name) == (
        "alexnet-96x128-fp32.tflite",
        "alexnet-dense-96x128-fp32.tflite",
    )
    assert export.request.options(dense) == {"head": "dense"}
