"""A trained network, its four files, and digits that none of them has seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import digits
import numpy as np
import pytest
import torch

import shufflenet_deploy.export as export
from shufflenet_deploy import zoo
from shufflenet_deploy.accuracy import LabelledImages, ModelSource, Progress, evaluate, labelled
from shufflenet_deploy.errors import EvaluationError, UsageError
from shufflenet_deploy.export import ExportRequest, image_set, inference
from shufflenet_deploy.records import Artifact, Evaluation, Precision, Resolution

SIZE = Resolution(height=32, width=32)
SOURCE = ModelSource(name=str(digits.CARD), weights=None, seed=0, head="fixed")

#: Tolerance of int8: points of top-1, and images on which it predicts another class.
MOST_LOST, LEAST_AGREEMENT = 0.02, 0.97


def exported(
    out: Path, calib: Path, *, card: Path = digits.CARD, fmt: str, precision: str, **more: Any
) -> Artifact:
    fields = {"format": fmt, "precision": precision, "resolution": SIZE, "out": out}
    return export.export(
        ExportRequest.model_validate({"model": str(card), "calibration": calib, **fields, **more})
    )


def holds(evaluation: Evaluation) -> bool:
    """True if a file is as accurate as its module, within the tolerance of int8."""
    file, module = evaluation.file, evaluation.module
    lost = (module.top1 - file.top1) / file.pictures
    return lost <= MOST_LOST and evaluation.pairing.same_class >= LEAST_AGREEMENT * file.pictures


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def calib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.calibration(tmp_path_factory.mktemp("calib"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, calib: Path) -> list[Artifact]:
    out = tmp_path_factory.mktemp("out")
    return [
        exported(out, calib, fmt=fmt, precision=precision)
        for fmt in ("onnx", "tflite")
        for precision in ("fp32", "int8")
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits.pictures(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def images(folder: Path) -> LabelledImages:
    return labelled(folder, classes=10)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory")


@pytest.fixture(scope="module")
def evaluations(files: list[Artifact], images: LabelledImages, memory: Path) -> list[Evaluation]:
    return evaluate(files, images, source=SOURCE, workers=1, memory=memory)


def right_by_torch_alone(folder: Path) -> int:
    """Counted without any of the code under test but the preprocessing."""
    model = zoo.load(str(digits.CARD))
    right = 0
    for path in sorted(folder.glob("*/*.png")):
        pixels = image_set.read(path, SIZE, crop_share=1.0)
        scores = model.module(torch.from_numpy(image_set.prepare(pixels, model.preprocessing)))
        right += int(scores.argmax()) == int(path.parent.name)
    return right


def test_the_module_is_as_good_as_it_was_trained(
    evaluations: list[Evaluation], folder: Path
) -> None:
    for evaluation in evaluations:
        assert evaluation.module.pictures == 320
        assert evaluation.module.top1 == right_by_torch_alone(folder)
        assert evaluation.module.top1 >= 0.98 * 320
        assert evaluation.module.top5 == 320


def test_fp32_files_say_what_pytorch_says(evaluations: list[Evaluation]) -> None:
    exact = [each for each in evaluations if each.artifact.precision is Precision.FP32]
    assert {each.artifact.format for each in exact} == {"onnx", "tflite"}
    for evaluation in exact:
        assert evaluation.pairing.same_class == 320
        assert evaluation.pairing.only_module_right == evaluation.pairing.only_file_right == 0
        assert evaluation.file == evaluation.module


@pytest.mark.timeout(900)  # installs an environment where it is missing
@pytest.mark.parametrize("name", ["ncnn", "mnn"])
def test_int8_of_another_runtime_loses_at_most_one_point(
    name: str, tmp_path: Path, calib: Path, images: LabelledImages, memory: Path
) -> None:
    """MNN's own ranges, which are the first image's, and its max pool on x86 would lose 15."""
    artifact = exported(tmp_path, calib, fmt=name, precision="int8")
    assert artifact.attempts == ()
    (found,) = evaluate([artifact], images, source=SOURCE, workers=1, memory=memory)
    assert found.module.top1 - found.file.top1 <= 0.01 * found.file.pictures
    assert found.pairing.same_class >= LEAST_AGREEMENT * found.file.pictures


def test_a_native_program_says_what_pytorch_says(
    tmp_path: Path, calib: Path, folder: Path, memory: Path
) -> None:
    program, rounded = (
        exported(tmp_path, calib, fmt="native", precision=precision, machine="host")
        for precision in ("fp32", "int8")
    )
    few = labelled(folder, classes=10, limit=40)
    exact, near = evaluate([program, rounded], few, source=SOURCE, workers=1, memory=memory)
    assert exact.file == exact.module
    assert exact.pairing.same_class == 40
    assert holds(near)
    for evaluation in (exact, near):
        assert evaluation.tools["answered on"] == "this processor"
    with pytest.raises(UsageError, match="a native file: it shows no layers"):
        export.compare_layers(program.path, model=str(digits.CARD))


def test_int8_files_cost_little(evaluations: list[Evaluation]) -> None:
    rounded = [each for each in evaluations if each.artifact.precision is Precision.INT8]
    assert len(rounded) == 2
    for evaluation in rounded:
        assert holds(evaluation)


def test_int8_that_this_machine_cannot_run_is_answered_with_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an emulator, portable C of the foreign arithmetic computes it, bit-exact."""
    calib = digits.calibration(tmp_path / "calib")
    foreign = exported(tmp_path, calib, fmt="native", precision="int8", machine="armv7")
    assert foreign.tools["checked on"] == "qemu-arm"
    model = SOURCE.load()
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    emulated = inference.of_file(foreign, model)(image)
    monkeypatch.setattr("shutil.which", lambda _: None)
    np.testing.assert_array_equal(inference.of_file(foreign, model)(image), emulated)
    next(calib.iterdir()).unlink()
    with pytest.raises(UsageError, match="not those that the file was calibrated with"):
        inference.of_file(foreign, model)


@pytest.mark.parametrize("fmt", ["onnx", "tflite", "native"])
def test_int8_of_uneven_channels_fails_until_it_is_remedied(
    tmp_path: Path, calib: Path, images: LabelledImages, fmt: str
) -> None:
    """The same network, with outliers: minmax ruins it, equal channels bring all of it back."""
    card = digits.rewritten(tmp_path / "card", digits.with_outliers_inside)
    source = ModelSource(name=str(card), weights=None, seed=0, head="fixed")
    kind = {"card": card, "fmt": fmt, "precision": "int8", "machine": "host"}
    ruined = exported(tmp_path / "ruined", calib, remedies="none", **kind)
    assert not ruined.parity.passed
    assert ruined.attempts == ()
    saved = exported(tmp_path / "saved", calib, **kind)
    assert saved.parity.passed
    assert saved.recipe is not None
    assert saved.recipe.equalised
    assert saved.recipe.float_layers == ()
    tried = [str(attempt.recipe) for attempt in saved.attempts]
    assert tried == [
        "minmax calibration",
        "percentile calibration",
        "entropy calibration",
        "minmax calibration, equalised channels",
    ]
    assert [attempt.parity.passed for attempt in saved.attempts] == [False, False, False, True]
    first, second = evaluate(
        [ruined, saved], images, source=source, workers=1, memory=tmp_path / "memory"
    )
    assert not holds(first)
    assert first.file.top1 < 0.8 * 320
    assert holds(second)


@pytest.mark.parametrize("fmt", ["onnx", "tflite"])
def test_int8_of_an_uneven_trunk_needs_some_layers_in_float(
    tmp_path: Path, calib: Path, fmt: str
) -> None:
    """An outlier that is added up and joined cannot be scaled away where it arises."""
    card = digits.rewritten(tmp_path / "card", digits.with_an_outlier_in_the_trunk)
    kind = {"card": card, "fmt": fmt, "precision": "int8"}
    saved = exported(tmp_path, calib, **kind)
    assert saved.parity.passed
    assert saved.recipe is not None
    assert 2 < len(saved.recipe.float_layers) < 12
    assert {"stage4.0.expand", "stage4.0.concat", "classifier"} <= {*saved.recipe.float_layers}
    assert not any(attempt.parity.passed for attempt in saved.attempts[:-1])
    found = export.compare_layers(saved.path, model=str(card))
    assert found.collapse is None
    rows = {row.layer: row for row in found.layers}
    assert rows["stage4.1.add"].channels_db > 10
    assert exported(tmp_path, calib, **kind) == saved
    # LiteRT does not even load what minmax makes of it.
    left = exported(tmp_path / "left", calib, remedies="none", calibration_method="entropy", **kind)
    lost = export.compare_layers(left.path, model=str(card))
    # In TFLite all that is joined shares one scale, so the shortcut suffers as well.
    culprit = max(lost.layers, key=lambda row: row.drop_db or 0).layer
    assert culprit in ("stage4.0.expand", "stage4.0.concat", "stage4.0.shortcut")
    assert lost.collapse is not None
    assert lost.collapse.startswith("stage4")


def test_an_int8_program_keeps_what_it_must_in_float(
    tmp_path: Path, calib: Path, images: LabelledImages, memory: Path
) -> None:
    """What int8 alone cannot compute is as good as its module with some layers in float."""
    card = digits.rewritten(tmp_path / "card", digits.with_an_outlier_in_the_trunk)
    saved = exported(tmp_path, calib, card=card, fmt="native", precision="int8", machine="host")
    assert saved.parity.passed
    assert saved.recipe is not None
    assert 2 < len(saved.recipe.float_layers) < 20
    assert "stage4.0.concat" in saved.recipe.float_layers
    assert not any(attempt.parity.passed for attempt in saved.attempts[:-1])
    source = ModelSource(name=str(card), weights=None, seed=0, head="fixed")
    (evaluation,) = evaluate([saved], images, source=source, workers=1, memory=memory)
    assert holds(evaluation)


def test_what_was_answered_is_not_asked_again(
    files: list[Artifact],
    images: LabelledImages,
    memory: Path,
    evaluations: list[Evaluation],
    tmp_path: Path,
) -> None:
    def interrupt(now: Progress) -> None:
        if now.answered >= 64:
            raise KeyboardInterrupt

    own = tmp_path / "own"
    with pytest.raises(KeyboardInterrupt):
        evaluate(files, images, source=SOURCE, workers=1, memory=own, on_progress=interrupt)
    seen: list[Progress] = []
    again = evaluate(files, images, source=SOURCE, workers=1, memory=own, on_progress=seen.append)
    assert seen[0] == Progress(answered=64, remembered=64, total=320)
    assert seen[-1] == Progress(answered=320, remembered=64, total=320)
    assert [each.id for each in again] == [each.id for each in evaluations]
    seen.clear()
    evaluate(files, images, source=SOURCE, memory=memory, on_progress=seen.append)
    assert seen == [Progress(answered=320, remembered=320, total=320)]


def test_several_processes_count_the_same(
    files: list[Artifact],
    images: LabelledImages,
    evaluations: list[Evaluation],
    tmp_path: Path,
) -> None:
    together = evaluate(files, images, source=SOURCE, workers=2, memory=tmp_path)
    assert [each.id for each in together] == [each.id for each in evaluations]


def test_a_smaller_choice_is_a_part_of_a_larger_one(
    files: list[Artifact], folder: Path, images: LabelledImages, memory: Path
) -> None:
    small, middle = (labelled(folder, classes=10, limit=limit) for limit in (50, 100))
    assert small.images == middle.images[:50] == images.images[:50]
    assert (small.about.pictures, small.about.found) == (50, 320)
    assert small.about.fingerprint != middle.about.fingerprint
    assert labelled(folder, classes=10, limit=999).about == images.about
    assert len({image.label for image in small.images}) > 5
    seen: list[Progress] = []
    evaluate(files[:1], small, source=SOURCE, memory=memory, on_progress=seen.append)
    assert seen == [Progress(answered=50, remembered=50, total=50)]


def test_images_that_cannot_be_decoded_are_named(
    files: list[Artifact], folder: Path, memory: Path, tmp_path: Path
) -> None:
    chosen = _some(folder, tmp_path / "some", 40)
    whole = next(chosen.glob("3/*.png"))
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    (chosen / "3" / "text.jpg").write_text("no image")
    (chosen / "3" / "empty.png").touch()
    (chosen / "7" / "gone.png").symlink_to("nowhere")
    (chosen / "3" / "readme.txt").write_text("passed over")
    found = labelled(chosen, classes=10)
    assert found.remarks == (
        "1 files are passed over: not images by their ending, or not in a class folder",
    )
    (evaluation,) = evaluate(files[:1], found, source=SOURCE, workers=1, memory=memory)
    torn = whole.relative_to(chosen).as_posix()
    assert evaluation.unreadable == tuple(sorted(["3/empty.png", "3/text.jpg", "7/gone.png", torn]))
    assert evaluation.data.pictures == 43
    assert evaluation.file.pictures == 39


def test_nothing_to_decode_is_an_error(files: list[Artifact], tmp_path: Path) -> None:
    for label in range(10):
        (tmp_path / str(label)).mkdir()
    (tmp_path / "1" / "text.jpg").write_text("no image")
    with pytest.raises(EvaluationError, match="none of 1 images"):
        evaluate(
            files[:1],
            labelled(tmp_path, classes=10),
            source=SOURCE,
            workers=1,
            memory=tmp_path / "memory",
        )


def test_files_of_other_weights_are_refused(
    files: list[Artifact], images: LabelledImages, tmp_path: Path
) -> None:
    card = digits.rewritten(tmp_path / "card", digits.with_outliers_inside)
    other = ModelSource(name=str(card), weights=None, seed=0, head="fixed")
    with pytest.raises(UsageError, match="made from other weights"):
        evaluate(files, images, source=other, memory=tmp_path)


def test_folders_that_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the folder"):
        labelled(tmp_path / "missing", classes=10)
    with pytest.raises(UsageError, match="holds no class folders"):
        labelled(tmp_path, classes=10)
    (tmp_path / "cat").mkdir()
    with pytest.raises(UsageError, match="no images in the class folders"):
        labelled(tmp_path, classes=10)


def test_images_without_class_folders_are_looked_up(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    lines = []
    for path in sorted(folder.glob("*/*.png"))[::40]:
        (flat / path.name).write_bytes(path.read_bytes())
        lines.append(f"{path.name} {path.parent.name}")
    (tmp_path / "val_map.txt").write_text("\n".join(lines))
    found = labelled(flat, classes=10, labels=str(tmp_path / "val_map.txt"))
    assert {f"{each.path.name} {each.label}" for each in found.images} == set(lines)


def _some(folder: Path, out: Path, count: int) -> Path:
    paths: Sequence[Path] = sorted(folder.glob("*/*.png"))
    for index in np.linspace(0, len(paths) - 1, count).astype(int):
        copy = out / paths[index].relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(paths[index].read_bytes())
    return out
