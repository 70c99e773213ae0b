"""Exported files: weights, calibration, quantization recipe, numerical parity."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shufflenet_deploy.bounded import Count, Int, Moment, Name, Size, Text
from shufflenet_deploy.records.basics import Format, Precision, Record, ResolutionText, Sha256


class TensorSpec(Record):
    """One input or output of an exported model. ``scale``/``zero_point`` when it is quantised."""

    name: Text
    shape: tuple[Int, ...]
    dtype: Text
    scale: float | None = None
    zero_point: Int | None = None


class Delegation(Record):
    """How many operators of a file a delegate or provider took, and those that it left.

    ``taken`` operators, as the delegate counts them, lie in ``parts`` that it runs one at a time;
    ``left`` are the others by name, which the runtime computes by itself.
    """

    name: Text
    parts: Count
    taken: Count
    left: dict[Text, Count] = Field(default_factory=dict)

    @property
    def left_count(self) -> int:
        """How many operators it left."""
        return sum(self.left.values())

    @property
    def text(self) -> str:
        """Such as ``XNNPACK took 176 operators in 4 parts and left 3 (3 avg_pool2d.out)``."""
        parts = "" if self.parts == 1 else f" in {self.parts} parts"
        took = f"{self.name} took {self.taken} operators{parts}"
        if not self.left:
            return f"{took} and left none"
        names = ", ".join(f"{count} {name}" for name, count in self.left.items())
        return f"{took} and left {self.left_count} ({names})"


class WeightsKind(StrEnum):
    """Origin of weights."""

    SEEDED = "seeded"
    CHECKPOINT = "checkpoint"
    #: Brought by the network itself: in its file, or read by the code that builds it.
    WITHIN = "within"


#: ``source`` of seeded weights, from which records without ``seed`` are read.
_SEEDED = re.compile(r"untrained \(seed (-?[0-9]{1,18})\)")


class WeightsInfo(Record):
    """Origin of a model's weights. ``trained`` is False for a seeded initialisation.

    The origin is stored as fields, and once more in ``source`` as the text for display.
    """

    source: Text
    sha256: Name
    layout: Text
    trained: bool
    kind: WeightsKind
    seed: Int | None = None
    path: Text | None = None

    @classmethod
    def seeded(cls, seed: int, *, sha256: str) -> Self:
        """Weights drawn from ``seed``."""
        return cls(
            source=f"untrained (seed {seed}): latency only",
            sha256=sha256,
            layout="none",
            trained=False,
            kind=WeightsKind.SEEDED,
            seed=seed,
        )

    @classmethod
    def checkpoint(cls, path: str, *, sha256: str, layout: str) -> Self:
        """Trained weights of a file."""
        return cls(
            source=path,
            sha256=sha256,
            layout=layout,
            trained=True,
            kind=WeightsKind.CHECKPOINT,
            path=path,
        )

    @classmethod
    def within(cls, source: str, *, sha256: str, layout: str) -> Self:
        """Trained weights that a network's own file or code brings."""
        return cls(
            source=source, sha256=sha256, layout=layout, trained=True, kind=WeightsKind.WITHIN
        )

    @model_validator(mode="before")
    @classmethod
    def _with_origin(cls, fields: object) -> object:
        """Derive the origin of records that were stored with its display text alone."""
        if not isinstance(fields, dict) or "kind" in fields:
            return fields
        source = fields.get("source")
        if fields.get("trained"):
            return {**fields, "kind": WeightsKind.CHECKPOINT, "path": source}
        match = _SEEDED.match(source) if isinstance(source, str) else None
        return {**fields, "kind": WeightsKind.SEEDED, "seed": int(match[1]) if match else None}


class CalibrationInfo(Record):
    """Calibration images of the activation ranges; ``fingerprint`` hashes their names and bytes."""

    source: Text
    pictures: Size
    fingerprint: Text
    method: Text


class Parity(Record):
    """Numerical parity of an exported file with the module it came from, on held-out inputs.

    ``sqnr_db`` is signal to quantisation-noise ratio in dB over the output, the minimum over the
    inputs; ``top1_agreement`` the share of inputs whose best class is the same, None where the
    output is a feature map. ``float32_sqnr_db`` is that of the module's own float32 against
    float64, where the module rounds so much that it lowered the minimum of an fp32 file.
    """

    inputs: Size
    max_abs_diff: float
    sqnr_db: float
    cosine: float
    top1_agreement: float | None
    passed: bool
    reason: Text = ""
    first_diverging: Text | None = None
    float32_sqnr_db: float | None = None

    @classmethod
    def unclaimed(cls) -> Self:
        """That of a file whose module nobody knows: nothing was compared, and nothing failed."""
        return cls(
            inputs=0, max_abs_diff=0.0, sqnr_db=0.0, cosine=0.0, top1_agreement=0.0, passed=True,
            reason=AS_IS,
        )  # fmt: skip

    @property
    def claimed(self) -> bool:
        """True if the file was compared with its module."""
        return self.inputs > 0

    @property
    def agreement_text(self) -> str:
        """``top1_agreement`` in percent; empty where there is none."""
        return "" if self.top1_agreement is None else f"{self.top1_agreement:.0%}"


#: Why the parity of a file that was measured as it is claims nothing.
AS_IS = "measured as it is, compared with nothing"

#: Method that derives activation ranges from the calibration images.
CalibrationMethod = Literal["minmax", "percentile", "entropy"]


class Recipe(Record):
    """Quantization recipe of an int8 file.

    ``method`` calibrated the activation ranges; with ``equalised``, cross-layer equalization came
    first; ``float_layers`` stay in floating point.
    """

    method: CalibrationMethod
    equalised: bool = False
    float_layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.method} calibration"]
        if self.equalised:
            parts.append("equalised channels")
        if count := len(self.float_layers):
            parts.append(f"{count} layer{'s' if count > 1 else ''} in float")
        return ", ".join(parts)


#: Name of an input, and its shape: of files that leave theirs open.
InputShape = tuple[Name, tuple[Annotated[int, Field(gt=0, le=1 << 24)], ...]]


class MeasuredFile(Record):
    """A file of anybody's making that is measured as it is, and what a cell states of it.

    ``resolution`` is that of its first input that is an image, or the sizes of its last two axes.
    ``shapes`` are those of inputs that the file leaves open.
    """

    path: Text
    sha256: Sha256
    format: Format
    precision: Precision
    resolution: ResolutionText
    shapes: tuple[InputShape, ...] = ()


class Attempt(Record):
    """One recipe tried after an earlier one missed its tolerances, with the resulting parity."""

    recipe: Recipe
    parity: Parity


class Artifact(Record):
    """One exported file and everything needed to know what it is. ``path`` is absolute.

    ``recipe`` is how an int8 file was made. ``attempts`` are all that were tried, in order, where
    the requested recipe missed its tolerances; else there are none.
    """

    path: Path
    sha256: Sha256
    size_bytes: Size
    model: Name
    format: Format
    precision: Precision
    resolution: ResolutionText
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    multiply_adds: Size
    parameters: Size
    options: dict[Name, Text] = Field(default_factory=dict)
    weights: WeightsInfo
    converter: Text
    calibration: CalibrationInfo | None = None
    recipe: Recipe | None = None
    attempts: tuple[Attempt, ...] = ()
    parity: Parity
    tools: dict[Name, Text] = Field(default_factory=dict)
    created_at: Moment
