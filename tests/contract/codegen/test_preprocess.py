"""``net_preprocess`` gives the bytes that Pillow gives, and the numbers that files are fed with."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.codegen import OPTIMIZATION, preprocess
from shufflenet_deploy.export import image_set
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo import Preprocessing

GUARD = 64
SIZES = [(32, 32), (45, 100), (224, 224)]
#: Bytes as they are, so that each of them can be compared.
PLAIN = Preprocessing(value_range=(0, 255), mean=(0, 0, 0), std=(1, 1, 1))


class Program:
    """The C of one network's preprocessing, compiled and called."""

    def __init__(self, folder: Path, size, preprocessing=PLAIN, flags=OPTIMIZATION) -> None:
        self.height, self.width = size
        self.planes = len(preprocessing.mean)
        metadata = Metadata(
            model="x",
            trained=False,
            input_layout="NCHW",
            input_height=self.height,
            input_width=self.width,
            channel_order=preprocessing.channel_order,
            value_range=preprocessing.value_range,
            mean=preprocessing.mean,
            std=preprocessing.std,
            crop_fraction=preprocessing.crop / preprocessing.resize,
        )
        (folder / preprocess.FILE_NAME).write_text(preprocess.source(metadata))
        (folder / "net.h").write_text("")
        library = folder / "preprocess.so"
        warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-missing-prototypes")
        command = ["gcc", "-std=gnu11", *flags, *warnings, "-shared", "-fPIC", preprocess.FILE_NAME]
        subprocess.run([*command, "-o", library], cwd=folder, check=True)
        self._code = ctypes.CDLL(str(library))
        self._code.net_preprocess_bytes.restype = ctypes.c_size_t

    def scratch_bytes(self, height, width):
        return self._code.net_preprocess_bytes(height, width)

    def __call__(self, rgb):
        """The input (1, C, H, W) of an image (H, W, 3); nothing beside its memory is written."""
        height, width, _ = rgb.shape
        need = self.scratch_bytes(height, width)
        scratch = np.full(need + GUARD, 0xA5, np.uint8)
        found = np.full(self.planes * self.height * self.width + GUARD, np.nan, np.float32)
        image = np.ascontiguousarray(rgb)
        code = self._code.net_preprocess(
            *(image.ctypes.data_as(ctypes.c_void_p), height, width),
            *(found.ctypes.data_as(ctypes.c_void_p), scratch.ctypes.data_as(ctypes.c_void_p)),
        )
        assert code == 0
        assert (scratch[need:] == 0xA5).all()
        assert np.isnan(found[-GUARD:]).all()
        return found[:-GUARD].reshape(1, self.planes, self.height, self.width)


def images(count, seed=0):
    """Random images of random sizes, smaller and larger than any network's input."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        height, width = (int(2 ** generator.uniform(0, 9.5)) for _ in range(2))
        yield generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def wanted(rgb, size, preprocessing, folder):
    path = folder / "image.png"
    Image.fromarray(rgb).save(path)
    share = preprocessing.crop / preprocessing.resize
    read = image_set.read(path, Resolution(height=size[0], width=size[1]), crop_share=share)
    return image_set.prepare(read, preprocessing)


@pytest.fixture
def by_rows(monkeypatch):
    """``image_set.read`` scales along rows first."""
    resize = Image.Image.resize

    def in_order(image, size, resample):
        halfway = resize(image, (size[0], image.height), resample)
        return resize(halfway, size, resample)

    monkeypatch.setattr(Image.Image, "resize", in_order)


@pytest.mark.parametrize("size", SIZES)
def test_every_byte_is_pillow_s(size, tmp_path, by_rows):
    program = Program(tmp_path, size)
    for rgb in images(40, seed=size[1]):
        np.testing.assert_array_equal(program(rgb), wanted(rgb, size, PLAIN, tmp_path))


@pytest.mark.parametrize("size", SIZES)
def test_where_pillow_goes_along_columns_first_a_byte_differs_by_one_at_most(size, tmp_path):
    program = Program(tmp_path, size)
    apart = [program(rgb) - wanted(rgb, size, PLAIN, tmp_path) for rgb in images(60, seed=1)]
    assert max(np.abs(one).max() for one in apart) <= 1
    assert sum(not one.any() for one in apart) > 40


def test_photographs(tmp_path):
    program = Program(tmp_path, (224, 224))
    for path in sorted(resource("export", "images").glob("*.jpg"))[:4]:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(program(rgb), wanted(rgb, (224, 224), PLAIN, tmp_path))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(),
        Preprocessing(resize=256, crop=227, channel_order="BGR", value_range=(0, 255)),
        Preprocessing(channel_order="L", mean=(0.5,), std=(0.25,), resize=32, crop=32),
        Preprocessing(value_range=(-1, 1), mean=(0, 0, 0), std=(1, 1, 1), resize=299, crop=255),
    ],
    ids=lambda one: f"{one.channel_order}{one.crop}",
)
def test_the_input_is_what_files_are_validated_with(preprocessing, tmp_path, by_rows):
    program = Program(tmp_path, (48, 40), preprocessing)
    for rgb in images(10):
        expected = wanted(rgb, (48, 40), preprocessing, tmp_path)
        # The same bytes; a product and a sum may be one instruction here.
        scale = np.abs(expected).max()
        np.testing.assert_allclose(program(rgb), expected, rtol=0, atol=2e-6 * scale)


def test_under_the_sanitizer_of_undefined_behaviour(tmp_path, by_rows):
    flags = ("-O1", "-fsanitize=undefined", "-fno-sanitize-recover=all", "-static-libubsan")
    program = Program(tmp_path, (33, 65), flags=flags)
    for rgb in (*images(10), np.full((1, 900, 3), 255, np.uint8), np.zeros((900, 1, 3), np.uint8)):
        np.testing.assert_array_equal(program(rgb), wanted(rgb, (33, 65), PLAIN, tmp_path))


def test_what_is_no_image(tmp_path):
    program = Program(tmp_path, (32, 32))
    for size in ((0, 5), (5, 0), (-1, 5), (1 << 20, 1 << 20)):
        assert program.scratch_bytes(*size) == 0


def test_the_limits_are_those_of_the_reader():
    assert preprocess.LONGEST_ASPECT == image_set._LONGEST_ASPECT
