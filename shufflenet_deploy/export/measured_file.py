"""Files of anybody's making that are measured as they are: no module, and so no parity.

What a cell and a record state of such a file is read from its bytes: precision, inputs, outputs,
multiply-adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.inspection.contents import Inspection, inspect
from shufflenet_deploy.records import (
    Artifact,
    InputShape,
    MeasuredFile,
    Parity,
    Precision,
    Resolution,
    TensorSpec,
    WeightsInfo,
)


def endings() -> tuple[str, ...]:
    """The endings of files that can be measured so."""
    return tuple(f".{one.ending}" for one in formats.every() if one.is_measured_as_is)


#: Sizes of the axis that holds the colours of an image.
_COLOURS = (1, 3, 4)
_MOST_PIXELS_A_SIDE = 99_999


class MeasuredFiles:
    """Describes files; each is inspected once as long as its bytes stay the same."""

    def __init__(self) -> None:
        self._inspections: dict[tuple[Path, str, tuple[InputShape, ...]], Inspection] = {}

    def describe(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> MeasuredFile:
        """The facts by which a file is measured; ``shapes`` are those of open inputs, by name.

        Raises:
            UsageError: it is no file of such a format, or an input's shape is open and not stated.
        """
        formats.refuse_part(path)
        if path.suffix not in endings():
            raise UsageError(
                f"--file {path}: measured as they are, files end in {', '.join(sorted(endings()))}"
            )
        wanted = tuple(sorted(shapes.items()))
        found = self._inspected(path, wanted)
        if formats.get(found.format).ending != path.suffix.removeprefix("."):
            raise UsageError(f"--file {path} holds {found.format}, whatever its name ends in")
        for spec in found.inputs:
            if 0 in spec.shape:
                shown = "x".join(str(size) if size else "?" for size in spec.shape)
                raise UsageError(
                    f"the input {spec.name} of {path} is {shown}: state its shape, such as "
                    f"--shape {spec.name}={shown.replace('?', '1')}"
                )
        return MeasuredFile(
            path=str(path.absolute()),
            sha256=found.sha256,
            format=found.format,
            precision=_precision(found),
            resolution=_resolution(found),
            shapes=wanted,
        )

    def input_names(self, path: Path) -> tuple[str, ...]:
        """The names of a file's inputs.

        Raises:
            UsageError: it cannot be read.
        """
        return tuple(spec.name for spec in self._inspected(path, ()).inputs)

    def artifact(self, file: MeasuredFile, model: str) -> Artifact:
        """The record of a file that is measured as ``model``; it claims no parity.

        Raises:
            UsageError: it cannot be read, or is another than was described.
        """
        path = Path(file.path)
        found = self._inspected(path, file.shapes)
        if found.sha256 != file.sha256:
            raise UsageError(f"{path} has changed since it was chosen: measure it anew")
        return Artifact(
            path=path,
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            model=model,
            format=found.format,
            precision=file.precision,
            resolution=file.resolution,
            inputs=found.inputs,
            outputs=found.outputs,
            multiply_adds=found.multiply_adds,
            parameters=found.parameters,
            weights=WeightsInfo.within(path.name, sha256=found.sha256, layout="file"),
            converter="unknown",
            parity=Parity.unclaimed(),
            created_at=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        )

    def _inspected(self, path: Path, shapes: tuple[InputShape, ...]) -> Inspection:
        """The contents of a file."""
        try:
            key = (path, sha256_file(path), shapes)
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
        if key not in self._inspections:
            self._inspections[key] = inspect(path, shapes=dict(shapes))
        return self._inspections[key]


def _precision(found: Inspection) -> Precision:
    if found.precision in ("int8", "mixed"):
        return Precision.INT8
    half = any(spec.dtype == "float16" for spec in (*found.inputs, *found.outputs))
    return Precision.FP16 if half else Precision.FP32


def _resolution(found: Inspection) -> Resolution:
    """Height and width of the first image among the inputs, or the last two axes of the first."""
    images = [spec for spec in found.inputs if len(spec.shape) == 4]
    height, width = (
        _sides(images[0], formats.get(found.format).layout) if images else _last_two(found.inputs)
    )
    return Resolution(
        height=min(height, _MOST_PIXELS_A_SIDE), width=min(width, _MOST_PIXELS_A_SIDE)
    )


def _sides(image: TensorSpec, layout: str) -> tuple[int, int]:
    _, first, second, third = image.shape
    planar = first in _COLOURS and third not in _COLOURS
    if planar or (layout == "NCHW" and not (third in _COLOURS and first not in _COLOURS)):
        return second, third
    return first, second


def _last_two(inputs: Sequence[TensorSpec]) -> tuple[int, int]:
    sizes = (1, 1, *(inputs[0].shape if inputs else ()))
    return max(1, sizes[-2]), max(1, sizes[-1])
