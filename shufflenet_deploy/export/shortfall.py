"""One-line explanation of a failed validation: limits missed, top-1 agreement, and the fix."""

from __future__ import annotations

from shufflenet_deploy.export.image_set import ENOUGH, SHIPPED_SOURCE
from shufflenet_deploy.records import Artifact, Parity


def explained(artifact: Artifact) -> str:
    """Explain a failed validation, and name the fix where one is known."""
    made = artifact.calibration
    if made is None or not artifact.weights.trained:
        return reasons(artifact.parity)
    return reasons(artifact.parity, calibrated=(made.source, made.pictures))


def reasons(parity: Parity, *, calibrated: tuple[str, int] | None = None) -> str:
    """Explain a parity result on its own.

    ``calibrated`` are source and number of the images that a trained network was made int8 with.
    """
    parts = [parity.reason, predicts(parity)]
    if calibrated is not None:
        parts.append(_fix(*calibrated))
    return "; ".join(filter(None, parts))


def _fix(source: str, count: int) -> str:
    """Advice on calibration: ranges from unrelated images, or from few, fit the network badly."""
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
    """Top-1 agreement of a file with its module, as text; "" where it gave no logits to compare."""
    if not gives_logits(parity) or parity.top1_agreement is None:
        return ""
    return (
        f"it predicts the same class as PyTorch for {parity.agreement_text} of "
        f"{parity.inputs} images"
    )


def gives_logits(parity: Parity) -> bool:
    """True where there were logits to compare."""
    return parity.cosine != 0 or parity.max_abs_diff != 0 or parity.passed
