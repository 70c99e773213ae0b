"""Networks without a head, and newer networks of the zoo, as files of every format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import shufflenet_deploy.export as export
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.export.classification import classify
from shufflenet_deploy.export.metadata import class_names
from shufflenet_deploy.records import Artifact

FORMATS = ("onnx", "tflite", "native")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def made(out: Path, model: str, fmt: str, precision: str = "fp32", head: str = "none") -> Artifact:
    return export.export(
        ExportRequest.model_validate(
            {
                "model": model,
                "format": fmt,
                "precision": precision,
                "resolution": "64x96",
                "head": head,
                "machine": "host",
                "out": out,
            }
        )
    )


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_network_without_a_head_ends_in_its_features(
    fmt: str, precision: str, tmp_path: Path
) -> None:
    artifact = made(tmp_path, "shufflenet-g3-0.25x", fmt, precision)
    assert artifact.parity.passed, artifact.parity.reason
    assert artifact.parity.top1_agreement is None
    assert artifact.options["head"] == "none"
    assert "-none-" in artifact.path.name
    expected = (1, 2, 3, 240) if fmt == "tflite" else (1, 240, 2, 3)
    assert artifact.outputs[0].shape == expected
    assert artifact.attempts == ()
    assert (artifact.outputs[0].name == "feature_map") == (fmt == "onnx")
    assert artifact.multiply_adds < 3e6


def test_a_feature_map_tells_no_classes(tmp_path: Path) -> None:
    artifact = made(tmp_path, "shufflenet-g3-0.25x", "onnx")
    with pytest.raises(UsageError, match="tells no classes"):
        classify(artifact.path, Path("any.jpg"))
    with pytest.raises(UsageError, match="--labels names classes"):
        class_names(Path("names.txt"), 1000, "none")
    assert class_names(None, 1000, "none") == ()


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("model", ["shufflenet-v2-0.5x", "mobilenet-v3-small"])
def test_newer_networks_come_in_every_format(model: str, fmt: str, tmp_path: Path) -> None:
    artifact = made(tmp_path, model, fmt, head="fixed")
    assert artifact.parity.passed, artifact.parity.reason
    assert artifact.outputs[0].shape == (1, 1000)
