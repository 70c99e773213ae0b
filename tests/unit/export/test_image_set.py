"""Images: any colour mode in, the model's own preprocessing out, and the sets kept apart."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.image_set import Batches, load_image_set, prepare, read
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo import Preprocessing

SQUARE = Resolution(height=32, width=32)
RED, WHITE = (255, 0, 0), (255, 255, 255)


def folder_of(path: Path, count: int) -> Path:
    path.mkdir()
    for index in range(count):
        Image.new("RGB", (40, 40), (index, 0, 0)).save(path / f"{index:02}.png")
    return path


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGB", ".jpg"), ("CMYK", ".jpg"), ("L", ".jpg"), ("L", ".png"), ("1", ".png"),
        ("LA", ".png"), ("RGBA", ".png"), ("P", ".gif"), ("I;16", ".png"), ("RGBA", ".webp"),
        ("YCbCr", ".tif"), ("F", ".tif"),
    ],
)  # fmt: skip
def test_reads_every_colour_mode_as_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    levels = np.tile(np.linspace(0, 255, 64), (48, 1)).astype(np.uint8)
    grey = Image.fromarray(levels)
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(levels.astype(np.float32) * 3)
    else:
        image = (
            grey.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else grey.convert(mode)
        )
    path = tmp_path / f"image{suffix}"
    image.save(path)
    pixels = read(path, SQUARE)
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)
    # The ramp survives: dark on the left, light on the right.
    assert pixels[:, :4].mean() < 90
    assert pixels[:, -4:].mean() > 165


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read(tmp_path / "clear.png", SQUARE) == 255).all()


def test_turns_images_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 60), WHITE)
    image.paste(RED, (0, 0, 60, 30))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    pixels = read(tmp_path / "turned.png", SQUARE)
    assert tuple(pixels[2, 16]) == WHITE
    assert tuple(pixels[-3, 16]) == RED


@pytest.mark.parametrize(
    "size", [Resolution(height=224, width=224), Resolution(height=48, width=64)]
)
def test_the_crop_keeps_224_of_256(tmp_path: Path, size: Resolution) -> None:
    """A border of just under 1/16 of the tighter side is cut away, and no more."""
    width, height = 16 * size.width, 16 * size.height
    image = Image.new("RGB", (width, height), RED)
    border = (width // 16 - 16, height // 16 - 16)
    image.paste(WHITE, (*border, width - border[0], height - border[1]))
    image.save(tmp_path / "border.png")
    assert (read(tmp_path / "border.png", size) >= 250).all()
    image.paste(RED, (0, 0, width, height // 16 + 64))
    image.save(tmp_path / "border.png")
    assert (read(tmp_path / "border.png", size)[0, :, 1] < 250).all()


def test_a_wide_image_is_cropped_at_its_sides(tmp_path: Path) -> None:
    image = Image.new("RGB", (300, 100), RED)
    image.paste(WHITE, (100, 0, 200, 100))
    image.save(tmp_path / "wide.png")
    assert (read(tmp_path / "wide.png", SQUARE) > 250).all()


def test_each_models_own_preprocessing() -> None:
    image = np.array([[[10, 20, 30]]], dtype=np.uint8)
    imagenet = prepare(image, Preprocessing())
    wanted = (np.array([10, 20, 30]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(imagenet[0, :, 0, 0], wanted, rtol=1e-6)
    megvii = Preprocessing(channel_order="BGR", value_range=(0, 255), mean=(0, 0, 0), std=(1, 1, 1))
    np.testing.assert_array_equal(prepare(image, megvii)[0, :, 0, 0], [30, 20, 10])
    signed = Preprocessing(value_range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1))
    np.testing.assert_allclose(
        prepare(image, signed)[0, :, 0, 0], np.array([10, 20, 30]) / 127.5 - 1, rtol=1e-6
    )


def test_batches_are_decoded_when_asked_for(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), WHITE).save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("not an image")
    batches = Batches((tmp_path / "good.png", tmp_path / "text.jpg"), Preprocessing(), SQUARE)
    assert len(batches) == 2
    assert batches[0].shape == (1, 3, 32, 32)
    with pytest.raises(UsageError, match=r"text\.jpg: it is not an image"):
        batches[1]


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    whole = next(path for path in load_image_set(None).calibration).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"cut\.jpg.*truncated"):
        read(tmp_path / "cut.jpg", SQUARE)


def test_folders_that_hold_no_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="no images in"):
        load_image_set(tmp_path)
    with pytest.raises(UsageError, match="cannot read the calibration folder"):
        load_image_set(tmp_path / "missing")
    with pytest.raises(UsageError, match="Not a directory"):
        load_image_set(tmp_path / "notes.txt")


def test_a_large_folder_is_split_and_a_small_one_judged_by_the_shipped(tmp_path: Path) -> None:
    large = load_image_set(folder_of(tmp_path / "large", 12))
    assert len(large.held_out) == 3
    assert len(large.calibration) == 9
    assert not set(large.held_out) & set(large.calibration)
    small = load_image_set(folder_of(tmp_path / "small", 3))
    assert len(small.calibration) == 3
    assert small.held_out == load_image_set(None).held_out


def test_a_huge_folder_is_sampled_evenly(tmp_path: Path) -> None:
    chosen = load_image_set(folder_of(tmp_path / "huge", 80), most=6, most_held_out=2)
    numbers = sorted(int(path.stem) for path in (*chosen.calibration, *chosen.held_out))
    assert numbers == [0, 10, 20, 30, 40, 50, 60, 70]


def test_the_fingerprint_follows_names_and_bytes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "first", 9)
    before = load_image_set(folder).fingerprint
    shutil.copytree(folder, tmp_path / "second")
    assert load_image_set(tmp_path / "second").fingerprint == before
    (folder / "08.png").rename(folder / "99.png")
    renamed = load_image_set(folder).fingerprint
    Image.new("RGB", (40, 40), WHITE).save(folder / "03.png")
    assert len({before, renamed, load_image_set(folder).fingerprint}) == 3


def test_fewer_images_at_large_resolutions() -> None:
    shipped = load_image_set(None)
    assert len(shipped.within_budget(Resolution(height=224, width=224))) == 16
    assert 4 <= len(shipped.within_budget(Resolution(height=720, width=1280))) <= 8


def test_the_shipped_photographs_are_small_free_and_apart() -> None:
    shipped = load_image_set(None)
    every = (*shipped.calibration, *shipped.held_out)
    assert (len(shipped.calibration), len(shipped.held_out)) == (16, 8)
    assert sum(path.stat().st_size for path in every) < 1_000_000
    licences = (every[0].parent / "LICENSES.md").read_text()
    for path in every:
        subject = path.stem.split("-", 2)[2]
        assert subject in licences, f"{path.name} has no licence"


def test_an_emulator_runs_a_large_network_on_few_images() -> None:
    size, shipped = Resolution(height=224, width=224), load_image_set(None)
    validation = shipped.validation_set(size)
    small, large, huge = (
        shipped.emulated_validation_set(size, adds)
        for adds in (38_000_000, 714_000_000, 15_500_000_000)
    )
    assert small == validation
    assert (len(validation), len(large), len(huge)) == (8, 4, 4)
    assert set(large) < set(validation)


def test_class_folders_are_entered_and_hidden_files_passed_over(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/1.jpg", "dog/puppies/2.PNG", "loose.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    for name in ("._loose.png", ".DS_Store", "cat/._1.jpg", ".thumbs/3.jpg", "cat/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\26\7 no image")
    (tmp_path / "dog" / "again").symlink_to(tmp_path)  # a folder within itself
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    chosen = load_image_set(tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in chosen.calibration]
    assert names == ["cat/1.jpg", "dog/1.jpg", "dog/puppies/2.PNG", "loose.png"]


def test_equal_names_in_other_class_folders_are_other_images(tmp_path: Path) -> None:
    for first, second in (("a", "b"), ("a", "c")):
        for name in (first, second):
            (tmp_path / f"{first}{second}" / name).mkdir(parents=True)
            Image.new("RGB", (9, 9)).save(tmp_path / f"{first}{second}" / name / "1.png")
    assert (
        load_image_set(tmp_path / "ab").fingerprint != load_image_set(tmp_path / "ac").fingerprint
    )


def test_images_of_every_class_judge(tmp_path: Path) -> None:
    for name in range(40):
        folder_of(tmp_path / f"{name:02}", 4)
    classes = sorted(int(path.parent.name) for path in load_image_set(tmp_path).held_out)
    assert len(classes) == 16
    assert classes[-1] >= 36


def test_few_images_are_worth_a_word(tmp_path: Path) -> None:
    assert "holds 1 image: too few" in load_image_set(folder_of(tmp_path / "one", 1)).remark
    assert "holds 7 images" in load_image_set(folder_of(tmp_path / "seven", 7)).remark
    assert load_image_set(folder_of(tmp_path / "eight", 8)).remark == ""
    assert load_image_set(None).remark == ""


@pytest.mark.parametrize("size", [(60000, 1), (1, 60000), (30000, 3), (1, 1)])
def test_thin_images_are_read(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "thin.png"
    Image.new("RGB", size, RED).save(path)
    pixels = read(path, Resolution(height=224, width=224))
    assert pixels.shape == (224, 224, 3)
    assert (pixels == RED).all()


def test_a_thin_image_is_scaled_to_few_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def asked(image: Image.Image, size: tuple[int, int], *options: Any) -> Image.Image:
        sizes.append(size)
        return resize(image, size, *options)

    monkeypatch.setattr(Image.Image, "resize", asked)
    Image.new("RGB", (60000, 1)).save(tmp_path / "thin.png")
    read(tmp_path / "thin.png", Resolution(height=224, width=224))
    assert sizes[0][0] * sizes[0][1] <= 16 * 256 * 256


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(100 << 30)
    with pytest.raises(UsageError, match=r"huge.png: it has 102400 MB, more than 256 MB"):
        load_image_set(tmp_path)


@pytest.mark.parametrize(("mode", "value", "grey"), [("I;16", 65535, 255), ("F", 0.5, 127)])
def test_an_image_of_wide_pixels_is_converted_in_bands(tmp_path, mode, value, grey):
    path = tmp_path / "wide.tiff"
    Image.new(mode, (300, 700), value).save(path)
    found = read(path, Resolution.parse("64"))
    assert found.shape == (64, 64, 3)
    assert set(found.ravel().tolist()) == {grey}
