"""The footnotes of a table: numbering, and the wording of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from shufflenet_deploy.records import Evaluation, Failure
from shufflenet_deploy.report.table_model import MeasuredError

AS_IS = "a file measured as it is: it was compared with no model"
UNTRAINED = "untrained weights: latency only"
FAILED_VALIDATION = "the file failed validation against the model it came from"
PAPER_IS_FP32 = "the paper's figures are fp32"
_HEAD_POLICIES = {
    "fixed": "AlexNet's fully connected layers see an adaptive 6x6 pool at every resolution "
    "(head=fixed)",
    "dense": "AlexNet's fully connected layers are applied as convolutions at every position "
    "(head=dense)",
}


@dataclass
class Footnotes:
    """Footnotes of a block, each text once, numbered from 1 in order of appearance."""

    texts: list[str] = field(default_factory=list)

    def mark(self, text: str) -> int:
        """The number of this note, which is added when it is new."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


def head_policy(head: str | None) -> str:
    """The note on AlexNet's fully connected layers at other resolutions."""
    return _HEAD_POLICIES.get(head or "", "AlexNet's head policy was not recorded")


def failure_reason(failure: Failure) -> str:
    """The kind of a failure and its message."""
    return f"{failure.kind.value}: {failure.message}"


def evaluation_note(evaluation: Evaluation, error: MeasuredError) -> str:
    """The data set and the interval of a row's measured error."""
    data = evaluation.data
    missing = len(evaluation.unreadable)
    return (
        f"top-1 error of this very file at {error.resolution}: {error.percent:.1f} % "
        f"({error.low:.1f}–{error.high:.1f}) on {error.pictures} images of {data.classes} "
        f"classes in {data.source} (fingerprint {data.fingerprint[:12]})"
        + (f", {missing} more could not be decoded" if missing else "")
    )
