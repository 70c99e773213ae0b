"""Manifests and keys: what is found again, and what is made anew."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportRequest, Tolerances, manifest
from shufflenet_deploy.export.image_set import load_image_set
from shufflenet_deploy.export.request import identity, named, normalised
from shufflenet_deploy.records import (
    Artifact,
    Parity,
    Precision,
    TensorSpec,
    WeightsInfo,
)

KEY = "0" * 64
CHANGES: list[dict[str, Any]] = [
    {"model": "shufflenet-g3-1x"},
    {"head": "dense"},
    {"format": "tflite"},
    {"precision": "fp32"},
    {"resolution": "480x640"},
    {"calibration_method": "entropy"},
    {"remedies": "none"},
    {"tolerances": Tolerances(int8_sqnr_db=20)},
]


def request(**changes: Any) -> ExportRequest:
    asked = {"model": "shufflenet-g3-0.5x", "format": "onnx", "precision": "int8"}
    return ExportRequest.model_validate({**asked, "resolution": "224", **changes})


def artifact(path: Path) -> Artifact:
    path.write_bytes(b"network")
    tensor = TensorSpec(name="input", shape=(1, 3, 224, 224), dtype="float32")
    return Artifact(
        path=path,
        sha256=sha256_file(path),
        size_bytes=7,
        model="m",
        format="onnx",
        precision=Precision.FP32,
        resolution="224x224",
        inputs=(tensor,),
        outputs=(tensor,),
        multiply_adds=1,
        parameters=1,
        weights=WeightsInfo.seeded(0, sha256="0"),
        converter="torch",
        parity=Parity(
            inputs=1, max_abs_diff=0, sqnr_db=100, cosine=1, top1_agreement=1, passed=True
        ),
        created_at=datetime.now(UTC),
    )


def test_finds_what_it_wrote_even_after_a_move(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    made = artifact(tmp_path / "first" / "m.onnx")
    manifest.write(made, KEY)
    assert manifest.find(made.path, KEY) == made
    (tmp_path / "first").rename(tmp_path / "second")
    moved = tmp_path / "second" / "m.onnx"
    assert manifest.find(moved, KEY) == made.model_copy(update={"path": moved})


def test_finds_nothing_after_damage(tmp_path: Path) -> None:
    made = artifact(tmp_path / "m.onnx")
    manifest.write(made, KEY)
    assert manifest.find(made.path, "1" * 64) is None
    made.path.write_bytes(b"netw0rk")
    assert manifest.find(made.path, KEY) is None
    made.path.unlink()
    assert manifest.find(made.path, KEY) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "0"}', "\x00\xff"])
def test_a_broken_manifest_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    made = artifact(tmp_path / "m.onnx")
    manifest.path_for(made.path).write_text(text)
    assert manifest.read(made.path) is None


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_every_option_changes_the_key(change: dict[str, Any]) -> None:
    shipped = load_image_set(None)
    assert identity(request(), "w", shipped) != identity(request(**change), "w", shipped)


def test_the_key_follows_weights_but_not_the_folder() -> None:
    shipped = load_image_set(None)
    key = identity(request(), "w", shipped)
    assert identity(request(), "other", shipped) != key
    assert identity(request(out="/elsewhere"), "w", shipped) == key


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_how_int8_is_made_is_no_concern_of_others(precision: str) -> None:
    shipped = load_image_set(None)
    kind = {"precision": precision, "format": "native", "machine": "cortex-a76"}
    plain = request(**kind)
    other = request(**kind, calibration_method="entropy", remedies="none")
    assert identity(plain, "w", shipped) == identity(other, "w", shipped)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "shufflenet-g3-0.5x-224x224-int8.onnx"),
        ({"model": "ShuffleNet_v1_g3_x0.5"}, "shufflenet-g3-0.5x-224x224-int8.onnx"),
        ({"head": "dense"}, "shufflenet-g3-0.5x-224x224-int8.onnx"),
        ({"model": "alexnet"}, "alexnet-224x224-int8.onnx"),
        ({"model": "alexnet", "head": "dense"}, "alexnet-dense-224x224-int8.onnx"),
        ({"converter": "onnx2tf"}, "shufflenet-g3-0.5x-224x224-int8.onnx"),
        (
            {"converter": "onnx2tf", "format": "tflite"},
            "shufflenet-g3-0.5x-onnx2tf-224x224-int8.tflite",
        ),
        (
            {"format": "native", "machine": "a76", "precision": "fp16"},
            "shufflenet-g3-0.5x-cortex-a76-224x224-fp16.native",
        ),
    ],
)
def test_file_names(changes: dict[str, Any], name: str) -> None:
    asked = request(**changes)
    assert normalised(asked, zoo.architecture(asked.model)).path.name == name


def name_of(identity: str = "0" * 64, *, own_network: bool = False, **changes: Any) -> str:
    asked = request(**changes)
    chosen = load_image_set(asked.calibration)
    return named(asked, identity, chosen, own_network=own_network).path.name


def test_what_a_name_does_not_tell_is_a_digest_in_it(tmp_path: Path) -> None:
    plain = name_of()
    assert plain == "shufflenet-g3-0.5x-224x224-int8.onnx"
    weights = {"weights": "w.pth"}
    trained = name_of("abcdef0123456789", **weights)
    assert trained == "shufflenet-g3-0.5x-abcdef01-224x224-int8.onnx"
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    others = [
        name_of("fedcba9876543210", **weights),
        name_of("00ff00ff00ff00ff", seed=1),
        name_of("11ff00ff00ff00ff", own_network=True),
        name_of(calibration=tmp_path),
        name_of(calibration_method="entropy"),
        name_of(remedies="none"),
        name_of(tolerances=Tolerances(int8_sqnr_db=20)),
        name_of("abcdef0123456789", **weights, calibration=tmp_path),
    ]
    assert len({plain, trained, *others}) == len(others) + 2
    Image.new("RGB", (8, 8), "red").save(tmp_path / "2.png")
    assert name_of(calibration=tmp_path) not in others


def test_how_int8_is_made_is_in_no_other_name(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    assert name_of(precision="fp32", calibration=tmp_path) == name_of(precision="fp32")


def test_what_a_new_file_replaces_is_named(tmp_path: Path) -> None:
    assert manifest.replaced(tmp_path / "m.onnx") == ""
    made = artifact(tmp_path / "m.onnx")
    assert "not what its manifest describes" in manifest.replaced(made.path)
    manifest.write(made, KEY)
    assert "versions of the tools" in manifest.replaced(made.path)
    made.path.write_bytes(b"changed")
    assert "not what its manifest describes" in manifest.replaced(made.path)


def test_the_key_follows_layers_and_preprocessing() -> None:
    shipped = load_image_set(None)
    assert identity(request(), "w", shipped, "a") != identity(request(), "w", shipped, "b")


@pytest.mark.parametrize("changes", [{"format": "onnx"}, {"format": "native", "machine": "a72"}])
def test_fp16_is_refused_before_anything_is_made(changes: dict[str, Any]) -> None:
    asked = request(precision="fp16", **changes)
    with pytest.raises(UsageError, match="fp16"):
        normalised(asked, zoo.architecture(asked.model))
