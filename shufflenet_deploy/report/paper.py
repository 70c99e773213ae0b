"""The paper's published figures per model, shown next to measured ones (``paper.toml``)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from pydantic import Field

from shufflenet_deploy.records import Record, Resolution

#: The paper's errors and complexities are of ImageNet's classes, at this size.
CLASSES, RESOLUTION = 1000, Resolution(height=224, width=224)
#: The paper rounds complexities, to two digits at worst, and one of its networks is a guess.
_COMPLEXITY_TOLERANCE = 0.1


class PaperFigures(Record):
    """One model in the paper: milliseconds of Table 8 and mAP of Table 7, each by ``HxW``."""

    title: str
    table: str
    top1_error_percent: float | None = None
    mega_multiply_adds: float | None = None
    latency_ms: dict[str, float] = Field(default_factory=dict)
    map_percent: dict[str, float] = Field(default_factory=dict)

    def latency_at(self, resolution: Resolution) -> float | None:
        """Milliseconds at this input size; None where the paper has no such cell."""
        return self.latency_ms.get(str(resolution))

    def map_at(self, resolution: Resolution) -> float | None:
        """Percent of mAP on images of this size; None where the paper has no such cell."""
        return self.map_percent.get(str(resolution))


class Claim(Record):
    """The sentence that the paper is quoted for: how much faster its model is, and could be."""

    model: str
    baseline: str
    speedup: float
    theoretical_speedup: float


class Paper(Record):
    """All figures taken from the paper, and what they were measured on."""

    device: str
    source: str
    claim: Claim
    models: dict[str, PaperFigures]


@cache
def paper() -> Paper:
    """The paper's figures, read once."""
    text = files(__package__).joinpath("paper.toml").read_text(encoding="utf-8")
    return Paper.model_validate(tomllib.loads(text))


def is_papers(
    mega_multiply_adds: float | None, *, classes: int | None, multiply_adds_at_224: int | None
) -> bool:
    """Compare a network with the paper's of that name: equal classes, similar multiply-adds.

    An unknown value (None) counts as a match.
    """
    if classes not in (None, CLASSES):
        return False
    if multiply_adds_at_224 is None or mega_multiply_adds is None:
        return True
    difference = abs(multiply_adds_at_224 / 1e6 - mega_multiply_adds)
    return difference <= _COMPLEXITY_TOLERANCE * mega_multiply_adds


def figures(model: str) -> PaperFigures | None:
    """The paper's figures of a model of the zoo; None for a model the paper does not report."""
    return paper().models.get(model)


def speedup(model: str, baseline: str, resolution: Resolution) -> float | None:
    """The paper's measured speedup over ``baseline`` at this input size (Table 8)."""
    ours, theirs = figures(model), figures(baseline)
    if ours is None or theirs is None:
        return None
    latency, reference = ours.latency_at(resolution), theirs.latency_at(resolution)
    return reference / latency if latency and reference else None
