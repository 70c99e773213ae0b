"""Accuracy thresholds: percentages below which an evaluation fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Evaluation

_FIGURES = ("top1", "top5", "agreement")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """At least ``percent`` of the images; ``figure`` is top1, top5 or agreement."""

    figure: str
    percent: float

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Read ``top1=55`` or ``top1=55%``.

        Raises:
            UsageError: it is no threshold, or seems to be a share instead of percent.
        """
        figure, equals, value = (part.strip() for part in text.partition("="))
        try:
            percent = float(value.removesuffix("%"))
        except ValueError:
            percent = math.nan
        if figure not in _FIGURES or not equals or not 0 <= percent <= 100:
            raise UsageError(
                f"'{text}' is no threshold: write FIGURE=PERCENT, such as top1=55; "
                f"the figures are {', '.join(_FIGURES)}"
            )
        if 0 < percent <= 1 and not value.endswith("%"):
            raise UsageError(
                f"--floor {text}: thresholds are percent; write {figure}={percent * 100:g}, "
                f"or {figure}={value}% if you mean it"
            )
        return cls(figure=figure, percent=percent)

    def missed(self, evaluation: Evaluation) -> str:
        """The line that states a missed threshold; empty when the file reaches it."""
        file = evaluation.file
        counts = {
            "top1": file.top1,
            "top5": file.top5,
            "agreement": evaluation.pairing.same_class,
        }
        # Compared as counts, so that 55 % of 20 images is 11, not 11.000000000000002.
        if counts[self.figure] * 100 >= self.percent * file.pictures - 1e-9:
            return ""
        reached = 100 * counts[self.figure] / file.pictures
        return f"{self.figure} {reached:.2f} %, floor {self.percent:g} %"


def missed(evaluation: Evaluation, thresholds: Sequence[Threshold]) -> str:
    """All missed thresholds of a file as one text; empty when there are none."""
    return "; ".join(filter(None, (one.missed(evaluation) for one in thresholds)))
