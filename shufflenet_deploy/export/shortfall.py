"""Why a file failed validation, in one line: which limits it missed, how it predicts, the cure."""

from __future__ import annotations

from shufflenet_deploy.export.image_set import ENOUGH, SHIPPED_SOURCE
from shufflenet_deploy.records import Artifact, Parity


def explained(artifact: Artifact) -> str:
    """What a file that failed validation lacks, and what to do about it where that is known."""
    made = artifact.calibration
    if made is None or not artifact.weights.trained:
        return reasons(artifact.parity)
    return reasons(artifact.parity, calibrated=(made.source, made.pictures))


def reasons(parity: Parity, *, calibrated: tuple[str, int] | None = None) -> str:
    """The same of a bare result.

    ``calibrated`` are source and number of the images that a trained network was made int8 with.
    """
    parts = [parity.reason, predicts(parity)]
    if calibrated is not None:
        parts.append(_cure(*calibrated))
    return "; ".join(filter(None, parts))


def _cure(source: str, count: int) -> str:
    """Ranges from other images than the network's own, or from few, fit it badly."""
    if source == SHIPPED_SOURCE:
        made = "the shipped photographs"
    elif count < ENOUGH:
        made = f"{count} image{'s' if count > 1 else ''}"
    else:
        return ""
    return (
        f"it was calibrated with {made}: give --calib a folder of 100 images such as the "
        "network was trained on"
    )


def predicts(parity: Parity) -> str:
    """How a file predicts, beside its module; "" where it gave no scores to compare."""
    if not gives_scores(parity):
        return ""
    return (
        f"it predicts the same class as PyTorch for {parity.top1_agreement:.0%} of "
        f"{parity.inputs} images"
    )


def gives_scores(parity: Parity) -> bool:
    """Whether there were scores to compare."""
    return parity.cosine != 0 or parity.max_abs_diff != 0 or parity.passed
