"""Pictures: which ones set activation ranges, which ones judge the result, and how they are fed.

The two never mix. Pictures are opened lazily, one at a time, so memory stays bounded however large
the folder or the resolution.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import CalibrationInfo, Resolution

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from shufflenet_deploy.zoo.description import Preprocessing

#: What counts as a picture in a folder; everything else there is passed over.
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})

#: At most this many pixels go through the network to set ranges: seconds even for AlexNet.
_PIXEL_BUDGET = 8_000_000
#: Pixels of a picture once it is scaled, before it is cropped: 300 MB.
_MOST_PIXELS = 100_000_000
#: Rows that are converted at a time.
_BAND_ROWS = 256
_FEWEST, _MOST = 4, 128
_MOST_HELD_OUT = 16
#: At most this many multiply-adds go through a network that an emulator runs: half a minute.
_EMULATED_BUDGET = 3_000_000_000

#: Held back from a user's folder: one picture in this many, once there are enough.
_HOLD_OUT_EVERY = 4
_ENOUGH_TO_HOLD_OUT = 8

_SHIPPED = Path(__file__).parent / "pictures"
_SHIPPED_SOURCE = "shipped photographs"


@dataclass(frozen=True, kw_only=True)
class PictureSet:
    """The pictures of one export. ``fingerprint`` is the sha256 over their names and bytes."""

    source: str
    calibration: tuple[Path, ...]
    held_out: tuple[Path, ...]
    fingerprint: str

    def within_budget(self, resolution: Resolution) -> tuple[Path, ...]:
        """The calibration pictures to use at ``resolution``: fewer where each costs more."""
        affordable = max(_FEWEST, min(_MOST, _PIXEL_BUDGET // resolution.pixels))
        return _spread(self.calibration, affordable)

    def judges(self, resolution: Resolution) -> tuple[Path, ...]:
        """The held-out pictures to use at ``resolution``."""
        affordable = max(_FEWEST, min(_MOST_HELD_OUT, _PIXEL_BUDGET // resolution.pixels))
        return _spread(self.held_out, affordable)

    def emulated_judges(self, resolution: Resolution, multiply_adds: int) -> tuple[Path, ...]:
        """Those of ``judges`` to use where an emulator has to run the network: few of a large one.

        Eight of AlexNet would be a minute, and two in fp16.
        """
        affordable = max(_FEWEST, _EMULATED_BUDGET // multiply_adds)
        return _spread(self.judges(resolution), affordable)


def pictures(folder: Path | None) -> PictureSet:
    """The pictures in ``folder`` (not its subfolders); None for those that ship with the package.

    One in four of a folder with eight or more is held out to judge the result; a smaller folder
    is judged by the shipped held-out pictures.

    Raises:
        UsageError: the folder does not exist, cannot be read, or holds no picture.
    """
    shipped = sorted(_SHIPPED.glob("parity-*.jpg"))
    if folder is None:
        chosen, held_out = sorted(_SHIPPED.glob("calibration-*.jpg")), shipped
        source = _SHIPPED_SOURCE
    else:
        found = _spread(_listed(folder), _MOST + _MOST_HELD_OUT)
        enough = len(found) >= _ENOUGH_TO_HOLD_OUT
        held_out = list(found[::_HOLD_OUT_EVERY][:_MOST_HELD_OUT]) if enough else shipped
        chosen = [path for path in found if path not in held_out]
        source = str(folder)
    return PictureSet(
        source=source,
        calibration=tuple(chosen),
        held_out=tuple(held_out),
        fingerprint=_fingerprint((*chosen, *held_out)),
    )


def again(made: CalibrationInfo) -> PictureSet:
    """The pictures that a file was calibrated with.

    Raises:
        UsageError: they cannot be read, or are others now.
    """
    found = pictures(None if made.source == _SHIPPED_SOURCE else Path(made.source))
    if found.fingerprint != made.fingerprint:
        raise UsageError(
            f"the pictures in {made.source} are not those that the file was calibrated with: "
            "export it again"
        )
    return found


def _listed(folder: Path) -> tuple[Path, ...]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"cannot read the calibration folder {folder}: {error.strerror}; "
            "give --calib a folder of pictures"
        ) from error
    found = tuple(
        entry for entry in entries if entry.suffix.lower() in EXTENSIONS and entry.is_file()
    )
    if not found:
        raise UsageError(
            f"no pictures in {folder}: put {', '.join(sorted(EXTENSIONS)[:4])}, … files there, "
            "or leave --calib out to use the shipped ones"
        )
    return found


def _spread(paths: tuple[Path, ...], most: int) -> tuple[Path, ...]:
    """At most ``most`` of ``paths``, evenly spaced, in their order."""
    if len(paths) <= most:
        return paths
    return tuple(paths[index * len(paths) // most] for index in range(most))


def _fingerprint(paths: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise UsageError(f"cannot read the picture {path}: {error.strerror}") from error
    return digest.hexdigest()


class Batches(Sequence["NDArray[np.float32]"]):
    """Pictures as a model wants them, ``(1, 3, H, W)`` float32, decoded when they are asked for.

    Indexing raises ``UsageError`` when a file is not a picture that can be decoded.
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
        """Name, size and time of each file: equal stamps mean the same pictures."""
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
        picture = read(self._paths[index], self._resolution, crop_share=share)
        return prepare(picture, self._preprocessing)


def read(path: Path, resolution: Resolution, *, crop_share: float = 224 / 256) -> NDArray[np.uint8]:
    """A picture of any colour mode as ``(H, W, 3)`` RGB bytes.

    It is turned upright by its EXIF orientation, laid over white where transparent, scaled so that
    the centre crop of ``resolution`` takes ``crop_share`` of its tighter side (224 of 256 is what
    ImageNet models are evaluated with), and cropped.

    Raises:
        UsageError: the file is not a picture that can be decoded.
    """
    import warnings  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415
    from PIL import Image, ImageOps  # noqa: PLC0415

    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")
            upright = ImageOps.exif_transpose(opened)
            picture = _as_rgb(upright)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"cannot decode the picture {path}: {_reason(error)}; remove it or replace it"
        ) from error
    height, width = resolution.height, resolution.width
    scale = max(height / picture.height, width / picture.width) / crop_share
    size = (max(width, round(picture.width * scale)), max(height, round(picture.height * scale)))
    if size[0] * size[1] > _MOST_PIXELS:
        raise UsageError(
            f"the picture {path} of {picture.width}x{picture.height} pixels is too thin for "
            f"{resolution}: remove it or replace it"
        )
    enlarged = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (enlarged.width - width) // 2, (enlarged.height - height) // 2
    return np.asarray(enlarged.crop((left, top, left + width, top + height)), dtype=np.uint8)


def prepare(picture: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """RGB bytes ``(H, W, 3)`` as the network's input ``(1, 3, H, W)`` float32."""
    import numpy as np  # noqa: PLC0415

    low, high = preprocessing.value_range
    channels = picture[..., ::-1] if preprocessing.channel_order == "BGR" else picture
    scaled = channels.astype(np.float32) * ((high - low) / 255) + low
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    planes = ((scaled - mean) / std).transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes, dtype=np.float32)


def _as_rgb(picture: Image.Image) -> Image.Image:
    """Eight-bit RGB from any mode: 16-bit grey is scaled, what is transparent becomes white."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    if picture.mode.startswith(("I", "F")):
        grey = np.asarray(picture)
        full = 65535.0 if picture.mode.startswith("I") else max(float(grey.max()), 1.0)
        scaled = np.empty(grey.shape, dtype=np.uint8)
        for top in range(0, len(grey), _BAND_ROWS):
            band = grey[top : top + _BAND_ROWS].astype(np.float64) / full * 255
            scaled[top : top + _BAND_ROWS] = np.clip(np.nan_to_num(band), 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _reason(error: BaseException) -> str:
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is not an image"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
