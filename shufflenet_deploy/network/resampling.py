"""Source pixels of a resized map's pixels: one rule for all formats and the C code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import Resize, ResizeMode, Sampling

Indices = NDArray[np.int64]


def taps(old: int, new: int, layer: Resize) -> tuple[Indices, Indices, NDArray[np.float32]]:
    """For each of ``new`` pixels along an axis of ``old``: two indices and the second's weight.

    All weights are zero for nearest neighbours.
    """
    at = np.arange(new, dtype=np.float64)
    if layer.sampling is Sampling.ALIGN_CORNERS:
        place = at * (old - 1) / max(new - 1, 1)
    elif layer.sampling is Sampling.ASYMMETRIC:
        place = at * old / new
    else:
        place = (at + 0.5) * old / new - 0.5
    if layer.mode is ResizeMode.NEAREST:
        half = layer.sampling is not Sampling.ASYMMETRIC
        first = np.clip(np.floor(place + (0.5 if half else 0)), 0, old - 1).astype(np.int64)
        return first, first, np.zeros(new, np.float32)
    place = np.clip(place, 0, old - 1)
    first = np.floor(place).astype(np.int64)
    second = np.minimum(first + 1, old - 1)
    return first, second, (place - first).astype(np.float32)
