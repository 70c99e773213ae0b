"""Image sets: calibration and validation images, and their preprocessing.

The two sets are disjoint. Images are opened lazily, one at a time, so memory stays bounded however
large the folder or the resolution.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import CalibrationInfo, Resolution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from shufflenet_deploy.zoo.config import Preprocessing

#: Suffixes of images in a folder; everything else there is passed over.
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

#: At most this many pixels go through the network to set ranges: seconds even for AlexNet.
_PIXEL_BUDGET = 8_000_000
_FEWEST, _MOST = 4, 128
_MOST_HELD_OUT = 16
#: At most this many multiply-adds go through a network that an emulator runs: half a minute.
_EMULATED_BUDGET = 3_000_000_000

#: Held back from a user's folder: one image in this many, once there are enough.
_HOLD_OUT_EVERY = 4
#: Fewer of a user's own images are worth a warning.
ENOUGH = 8

#: An image is read whole; nothing that a camera makes is larger.
_MOST_BYTES = 256 << 20
#: Largest aspect ratio of the part of an image that is scaled to be cropped.
_LONGEST_ASPECT = 16
#: Shares of red, green and blue in the luminance of a pixel (ITU-R BT.601, as in Pillow).
_LUMINANCE = (0.299, 0.587, 0.114)
#: Rows of grey levels that are scaled at once.
_ROWS = 256

_SHIPPED = Path(__file__).parent / "images"
#: The source of a calibration with the images of this package.
SHIPPED_SOURCE = "shipped photographs"


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The images of one export. ``fingerprint`` is the sha256 over their names and bytes.

    ``remark`` is a warning to the user: that there are few.
    """

    source: str
    calibration: tuple[Path, ...]
    held_out: tuple[Path, ...]
    fingerprint: str
    remark: str = ""

    def within_budget(self, resolution: Resolution) -> tuple[Path, ...]:
        """The calibration images to use at ``resolution``: fewer where each costs more."""
        affordable = max(_FEWEST, min(_MOST, _PIXEL_BUDGET // resolution.pixels))
        return _spread(self.calibration, affordable)

    def validation_set(self, resolution: Resolution) -> tuple[Path, ...]:
        """The held-out images to use at ``resolution``."""
        affordable = max(_FEWEST, min(_MOST_HELD_OUT, _PIXEL_BUDGET // resolution.pixels))
        return _spread(self.held_out, affordable)

    def emulated_validation_set(
        self, resolution: Resolution, multiply_adds: int
    ) -> tuple[Path, ...]:
        """Subset of ``validation_set`` for an emulated network: few of a large one.

        Eight of AlexNet would be a minute, and two in fp16.
        """
        affordable = max(_FEWEST, _EMULATED_BUDGET // max(1, multiply_adds))
        return _spread(self.validation_set(resolution), affordable)


def load_image_set(
    folder: Path | None, *, most: int = _MOST, most_held_out: int = _MOST_HELD_OUT
) -> ImageSet:
    """The images below ``folder``, in class folders or not; None for those of the package.

    Hidden files and folders are passed over. One in four of eight or more images is held out for
    validation; with fewer, the shipped held-out images validate the file. Of many images ``most``
    to calibrate with and ``most_held_out`` are taken, spread evenly.

    Raises:
        UsageError: the folder does not exist, cannot be read, or holds no image.
    """
    shipped = sorted(_SHIPPED.glob("parity-*.jpg"))
    if folder is None:
        chosen, held_out = sorted(_SHIPPED.glob("calibration-*.jpg")), shipped
        return ImageSet(
            source=SHIPPED_SOURCE,
            calibration=tuple(chosen),
            held_out=tuple(held_out),
            fingerprint=_fingerprint((*chosen, *held_out), _SHIPPED),
        )
    found = _spread(_listed(folder), most + most_held_out)
    enough = len(found) >= ENOUGH
    held_out = list(_spread(found[::_HOLD_OUT_EVERY], most_held_out)) if enough else shipped
    kept = set(held_out)
    chosen = [path for path in found if path not in kept]
    return ImageSet(
        source=str(folder),
        calibration=tuple(chosen),
        held_out=tuple(held_out),
        fingerprint=_fingerprint((*chosen, *held_out), folder),
        remark="" if enough else _few(folder, len(found)),
    )


def _few(folder: Path, count: int) -> str:
    counted = "1 image" if count == 1 else f"{count} images"
    return (
        f"{folder} holds {counted}: too few to set the ranges of int8 well, and the shipped "
        f"photographs validate the file; give {ENOUGH} or more, better 100, as the "
        "network will see them"
    )


def reload(made: CalibrationInfo) -> ImageSet:
    """The images that a file was calibrated with.

    Raises:
        UsageError: they cannot be read, or are others now.
    """
    found = load_image_set(None if made.source == SHIPPED_SOURCE else Path(made.source))
    if found.fingerprint != made.fingerprint:
        raise UsageError(
            f"the images in {made.source} are not those that the file was calibrated with: "
            "export it again"
        )
    return found


def _listed(folder: Path) -> tuple[Path, ...]:
    """Every image below a folder that is not hidden, by its path."""
    try:
        found = tuple(sorted(_below(folder, {folder.resolve()})))
    except OSError as error:
        raise UsageError(
            f"cannot read the calibration folder {error.filename or folder}: {error.strerror}; "
            "give --calib a folder of images"
        ) from error
    if not found:
        raise UsageError(
            f"no images in {folder}: put {', '.join(sorted(EXTENSIONS)[:4])}, … files there or "
            "in class folders, or leave --calib out to use the shipped ones"
        )
    return found


def _below(folder: Path, entered: set[Path]) -> Iterator[Path]:
    """The images below a folder; linked folders are entered too, each folder once."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if entry.is_dir():
                real = path.resolve()
                if real not in entered:
                    entered.add(real)
                    yield from _below(path, entered)
            elif path.suffix.lower() in EXTENSIONS and entry.is_file():
                yield path


def _spread(paths: tuple[Path, ...], most: int) -> tuple[Path, ...]:
    """At most ``most`` of ``paths``, evenly spaced, in their order."""
    if len(paths) <= most:
        return paths
    return tuple(paths[index * len(paths) // most] for index in range(most))


def _fingerprint(paths: tuple[Path, ...], folder: Path) -> str:
    """Over the bytes of images and their names: the path below ``folder``, or the file's own."""
    digest = hashlib.sha256()
    for path in paths:
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
        digest.update(name.as_posix().encode(errors="surrogateescape") + b"\0")
        try:
            _check_size(path)
            digest.update(bytes.fromhex(sha256_file(path)))
        except OSError as error:
            raise UsageError(f"cannot read the image {path}: {error.strerror}") from error
    return digest.hexdigest()


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise UsageError(
            f"cannot read the image {path}: it has {size >> 20} MB, more than "
            f"{_MOST_BYTES >> 20} MB; remove it or replace it"
        )


class Batches(Sequence["NDArray[np.float32]"]):
    """Images as a model wants them, ``(1, C, H, W)`` float32, decoded when they are asked for.

    Indexing raises ``UsageError`` when a file is not an image that can be decoded.
    """

    def __init__(
        self, paths: Sequence[Path], preprocessing: Preprocessing, resolution: Resolution
    ) -> None:
        self._paths = tuple(paths)
        self._preprocessing = preprocessing
        self._resolution = resolution

    def __len__(self) -> int:
        return len(self._paths)

    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of each file: equal stamps mean the same images."""
        found = [(path, path.stat()) for path in self._paths]
        return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found)

    @overload
    def __getitem__(self, index: int) -> NDArray[np.float32]: ...

    @overload
    def __getitem__(self, index: slice) -> Batches: ...

    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | Batches:
        if isinstance(index, slice):
            return Batches(self._paths[index], self._preprocessing, self._resolution)
        share = self._preprocessing.crop / self._preprocessing.resize
        image = read(self._paths[index], self._resolution, crop_share=share)
        return prepare(image, self._preprocessing)


def read(path: Path, resolution: Resolution, *, crop_share: float = 224 / 256) -> NDArray[np.uint8]:
    """An image of any colour mode as ``(H, W, 3)`` RGB bytes.

    It is turned upright by its EXIF orientation, laid over white where transparent, scaled so that
    the centre crop of ``resolution`` takes ``crop_share`` of its tighter side (224 of 256 is what
    ImageNet models are evaluated with), and cropped.

    Raises:
        UsageError: the file is not an image that can be decoded.
    """
    import struct  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415
    from PIL import Image, ImageOps  # noqa: PLC0415

    try:
        _check_size(path)
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")
            upright = ImageOps.exif_transpose(opened)
            image = _limited_aspect(_as_rgb(upright))
    except (
        OSError, ValueError, SyntaxError, EOFError, MemoryError, OverflowError, struct.error,
        Image.DecompressionBombError,
    ) as error:  # fmt: skip
        raise UsageError(
            f"cannot decode the image {path}: {_reason(error)}; remove it or replace it"
        ) from error
    height, width = resolution.height, resolution.width
    scale = max(height / image.height, width / image.width) / crop_share
    size = (max(width, round(image.width * scale)), max(height, round(image.height * scale)))
    enlarged = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (enlarged.width - width) // 2, (enlarged.height - height) // 2
    return np.asarray(enlarged.crop((left, top, left + width, top + height)), dtype=np.uint8)


def prepare(image: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """RGB bytes ``(H, W, 3)`` as the network's input ``(1, C, H, W)`` float32."""
    import numpy as np  # noqa: PLC0415

    low, high = preprocessing.value_range
    if preprocessing.channel_order == "L":
        grey = image.astype(np.float32) @ np.asarray(_LUMINANCE, dtype=np.float32)
        values = np.broadcast_to(grey[..., None], (*grey.shape, preprocessing.channels))
    else:
        ordered = image[..., ::-1] if preprocessing.channel_order == "BGR" else image
        values = ordered.astype(np.float32)
    scaled = values * np.float32((high - low) / 255) + np.float32(low)
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    planes = ((scaled - mean) / std).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes, dtype=np.float32)


def _limited_aspect(image: Image.Image) -> Image.Image:
    """Centre crop to the largest aspect ratio; the network's crop takes a part of it anyway.

    Scaled whole, one row of 60,000 pixels would be four billion.
    """
    width = min(image.width, _LONGEST_ASPECT * image.height)
    height = min(image.height, _LONGEST_ASPECT * image.width)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _as_rgb(image: Image.Image) -> Image.Image:
    """Eight-bit RGB from any mode: 16-bit grey is scaled, what is transparent becomes white."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    if image.mode.startswith(("I", "F")):
        grey = np.asarray(image)
        full = 65535.0 if image.mode.startswith("I") else max(float(grey.max()), 1.0)
        scaled = np.empty(grey.shape, dtype=np.uint8)
        # Row by row, as eight bytes for each pixel of a large image would be gigabytes.
        for top in range(0, len(grey), _ROWS):
            rows = grey[top : top + _ROWS].astype(np.float64)
            scaled[top : top + _ROWS] = np.clip(np.nan_to_num(rows / full * 255), 0, 255)
        return Image.fromarray(scaled).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0] if str(error) else type(error).__name__
