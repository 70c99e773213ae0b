"""Base class of records, and the small values they share: precision, format, resolution."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from shufflenet_deploy.bounded import Name
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line


class Record(BaseModel):
    """A frozen value with a stable JSON form; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


#: Identifiers of a run, a suite, a file's bytes; no longer than the journal's columns.
RunId = Annotated[Name, StringConstraints(min_length=1, max_length=64)]
SuiteId = Annotated[Name, StringConstraints(min_length=1, max_length=128)]
Sha256 = Annotated[Name, StringConstraints(max_length=64)]


def first_problem(error: Exception) -> str:
    """One line for the first problem that pydantic found: ``threads: must be 1 or more``.

    Of any other error it is the first line, or the error's type.
    """
    if not isinstance(error, ValidationError):
        return first_line(str(error), 300) or type(error).__name__
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = first_line(".".join(str(part) for part in first["loc"]), 80)
    what = first_line(str(first["msg"]).removeprefix("Value error, "))
    return f"{where}: {what}" if where else what


class Precision(StrEnum):
    """The arithmetic of an exported model, in the order of tables."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def place(self) -> int:
        """Position in the display order, which is not the alphabetical one."""
        return tuple(Precision).index(self)

    @property
    def lanes(self) -> int | None:
        """Multiply-adds of one vector instruction of AArch64; None in int8, where cores differ."""
        return {Precision.FP32: 4, Precision.FP16: 8}.get(self)


#: Stands for every precision that there is, in a format, on a core.
ALL: Literal["all"] = "all"


def _known_precision(value: object) -> object:
    words = (*Precision, ALL)
    if isinstance(value, str) and value not in words:
        raise ValueError(f"'{value}' is not a precision: choose from {', '.join(words)}")
    return value


#: Precisions as a user asks for them; ``export.precisions`` resolves them.
AskedPrecisions = Annotated[
    tuple[Annotated[Precision | Literal["all"], BeforeValidator(_known_precision)], ...],
    Field(min_length=1),
]


#: The name of a file format, which is also the ending of its files. Which there are, and what each
#: can store, ``export.formats`` knows: a stored record may be of one that this version has not.
Format = Annotated[Name, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,15}$")]


class Metric(StrEnum):
    """Quantity of one sample: wall time, or instructions executed by a virtual CPU."""

    LATENCY = "latency"
    INSTRUCTIONS = "instructions"

    @property
    def unit(self) -> str:
        """The unit of one raw sample."""
        return "ns" if self is Metric.LATENCY else "instructions"


@dataclass(frozen=True, kw_only=True)
class RuntimeSpec:
    """A runtime, and the version that it is pinned to, written ``NAME`` or ``NAME==VERSION``.

    Records store the text; ``runtime.get`` validates both parts.
    """

    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split at the first ``==``. Every text parses: a stored one may be a stranger's."""
        name, pinned, version = text.partition("==")
        return cls(name=name, version=version if pinned else None)

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}=={self.version}"


#: The largest input, 4096x4096: the activations of anything larger fill the memory of a host.
MAX_PIXELS = 4096 * 4096


class Resolution(Record):
    """An input size in pixels, written ``HEIGHTxWIDTH`` as in the paper's Table 8."""

    height: int = Field(gt=0, le=99_999)
    width: int = Field(gt=0, le=99_999)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"480x640"`` (height x width) or ``"224"`` (square).

        Raises:
            UsageError: ``text`` is not a resolution.
        """
        match = re.fullmatch(r"\s*([0-9]{1,5})(?:\s*[xX×]\s*([0-9]{1,5}))?\s*", text)
        if match is None or int(match[1]) == 0 or (match[2] is not None and int(match[2]) == 0):
            raise UsageError(f"'{text}' is not a resolution: write HEIGHTxWIDTH, such as 480x640")
        found = cls(height=int(match[1]), width=int(match[2] or match[1]))
        if found.pixels > MAX_PIXELS:
            raise UsageError(
                f"'{text}' has {found.pixels / 1e6:.0f} million pixels: "
                f"{MAX_PIXELS / 1e6:.0f} million at most"
            )
        return found

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def _parse_resolution(value: object) -> object:
    return Resolution.parse(value) if isinstance(value, str) else value


#: A resolution that is stored as its ``"HxW"`` text.
ResolutionText = Annotated[
    Resolution, BeforeValidator(_parse_resolution), PlainSerializer(str, return_type=str)
]
