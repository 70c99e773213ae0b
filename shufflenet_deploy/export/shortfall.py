"""Why a file failed validation, in one line: which limits it missed, how it predicts, the cure."""

from __future__ import annotations

from shufflenet_deploy.export.calibration import SHIPPED_SOURCE
from shufflenet_deploy.records import Artifact, Parity


def explained(artifact: Artifact) -> str:
    """What a file that failed validation lacks, and what to do about it where that is known."""
    made = artifact.calibration
    trained = artifact.weights.trained
    return reasons(artifact.parity, pictures=made.source if made and trained else None)


def reasons(parity: Parity, *, pictures: str | None) -> str:
    """The same of a bare result; ``pictures`` is what calibrated a trained network in int8."""
    parts = [parity.reason, predicts(parity)]
    # Ranges from other pictures than the network's own fit a network of the user's badly.
    if pictures == SHIPPED_SOURCE:
        parts.append(
            "it was calibrated with the shipped photographs: give --calib a folder of pictures "
            "such as the network was trained on"
        )
    return "; ".join(filter(None, parts))


def predicts(parity: Parity) -> str:
    """How a file predicts, beside its module; "" where it gave no scores to compare."""
    if not gives_scores(parity):
        return ""
    return (
        f"it predicts the same class as PyTorch for {parity.top1_agreement:.0%} of "
        f"{parity.inputs} pictures"
    )


def gives_scores(parity: Parity) -> bool:
    """Whether there were scores to compare."""
    return parity.cosine != 0 or parity.max_abs_diff != 0 or parity.passed
