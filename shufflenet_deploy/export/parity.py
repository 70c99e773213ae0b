"""Parity: an exported file is run in its own runtime and compared with the module it came from.

The images are held out: calibration has not seen them. Where a file fails,
``layers`` gives the outputs of its layers, for ``layer_sqnr``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.records import Parity, Precision, TensorSpec

if TYPE_CHECKING:
    from torch import nn


FloatArray = NDArray[np.float32]

#: Axes of logits: batch and classes.
_LOGITS_AXES = 2
#: Stands for "no noise at all"; a record cannot hold infinity.
_EXACT_DB = 200.0


def expected(module: nn.Module, images: Sequence[FloatArray]) -> list[FloatArray]:
    """The module's logits ``(1, classes)`` for each image; several outputs as ``joined``."""
    import torch  # noqa: PLC0415

    from shufflenet_deploy.network.frontends import recording  # noqa: PLC0415

    with torch.inference_mode():
        results = [recording.outputs(module(torch.from_numpy(image))) for image in images]
    return [joined([one.numpy() for one in outputs]) for outputs in results]


def expected_in_float64(
    module: nn.Module, images: Sequence[FloatArray]
) -> list[NDArray[Any]] | None:
    """As ``expected``, computed in float64; None of a module that does not compute in it."""
    import torch  # noqa: PLC0415

    from shufflenet_deploy.network.frontends import recording  # noqa: PLC0415

    exact = copy.deepcopy(module).double()
    try:
        with torch.inference_mode():
            results = [recording.outputs(exact(torch.from_numpy(one).double())) for one in images]
    except Exception:  # noqa: BLE001 - somebody else's code, such as with numbers of float32
        return None
    return [joined([one.numpy() for one in outputs]) for outputs in results]


def joined(outputs: Sequence[FloatArray]) -> FloatArray:
    """One output as it is; several, one behind the other, as ``(1, 1, elements)``."""
    if len(outputs) == 1:
        return outputs[0]
    return np.concatenate([one.ravel() for one in outputs])[None, None]


def compare_logits(
    wanted: Sequence[FloatArray],
    got: Sequence[FloatArray],
    *,
    precision: Precision,
    tolerances: Tolerances,
    trained: bool,
) -> Parity:
    """Compare logits; ``passed`` and ``reason`` follow from ``tolerances``.

    Differences in fp32 are relative to the largest logit.
    """
    pairs = list(zip(wanted, got, strict=True))
    if any(a.size != b.size for a, b in pairs):
        raise ExportError(
            f"the exported file gives {got[0].size} values where the model gives {wanted[0].size}"
        )
    finite = all(bool(np.isfinite(b).all()) for _, b in pairs)
    if not finite:
        return unusable(len(pairs), "the logits are not finite numbers")
    difference = max(float(np.abs(a.ravel() - b.ravel()).max()) for a, b in pairs)
    scale = max(float(np.abs(a).max()) for a, _ in pairs)
    sqnr = min(sqnr_db(a, b) for a, b in pairs)
    cosine = min(_cosine(a, b) for a, b in pairs)
    agreement = None
    if pairs[0][0].ndim == _LOGITS_AXES:
        agreement = sum(int(a.argmax() == b.argmax()) for a, b in pairs) / len(pairs)
    if precision is Precision.FP32:
        relative = difference / (scale or 1.0)
        checks = [("max abs diff / largest logit", relative, tolerances.fp32_relative_diff)]
    else:
        checks = [("cosine", -cosine, -tolerances.cosine(precision, trained=trained))]
        if trained and agreement is not None:
            checks.append(("top-1 agreement", -agreement, -tolerances.top1_agreement(precision)))
    checks.insert(0, ("SQNR", -sqnr, -tolerances.sqnr_db(precision, trained=trained)))
    # Minima are limits of the negated figure.
    missed = [
        f"{name} {-value:.3g}, minimum {-limit:g}"
        if limit < 0
        else f"{name} {value:.3g}, limit {limit:g}"
        for name, value, limit in checks
        if not value <= limit
    ]
    return Parity(
        inputs=len(pairs),
        max_abs_diff=difference,
        sqnr_db=sqnr,
        cosine=cosine,
        top1_agreement=agreement,
        passed=not missed,
        reason="; ".join(missed),
    )


def unusable(inputs: int, reason: str) -> Parity:
    """Failed parity of a file that gives no logits to compare."""
    return Parity(
        inputs=inputs, max_abs_diff=0.0, sqnr_db=-_EXACT_DB, cosine=0.0, top1_agreement=0.0,
        passed=False, reason=reason,
    )  # fmt: skip


def sqnr_db(wanted: NDArray[Any], got: NDArray[Any]) -> float:
    """Signal to noise ratio of ``got`` in dB, at most 200."""
    signal = float(np.square(wanted, dtype=np.float64).sum())
    noise = float(np.square(wanted.ravel() - got.ravel(), dtype=np.float64).sum())
    return decibels(signal, noise)


def decibels(signal: float, noise: float) -> float:
    """The ratio of two sums of squares in dB, between -200 and 200."""
    if noise == 0:
        return _EXACT_DB
    if signal == 0 or not math.isfinite(noise):
        return -_EXACT_DB
    return max(-_EXACT_DB, min(_EXACT_DB, 10 * math.log10(signal / noise)))


def _cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    first, second = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else float(not first.any() and not second.any())


class ExportedFile(Protocol):
    """An exported file loaded in its runtime: its inputs, its outputs, and the logits for an image.

    ``emulated`` is True where an emulator runs it, which takes long.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    emulated: bool

    def run(self, image: FloatArray) -> FloatArray:
        """The logits for one image ``(1, 3, H, W)``."""
        ...


class LayeredFile(ExportedFile, Protocol):
    """A file that also shows the values of its layers."""

    def layers(self, image: FloatArray) -> Iterator[tuple[str, FloatArray]]:
        """Every value computed on the way, by name, in order; maps are ``(C, H, W)``."""
        ...
