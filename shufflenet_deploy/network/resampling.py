"""Source pixels of a resized map's pixels: one rule for all formats and the C code."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import FloatArray, Resize, ResizeMode, Sampling

Indices = NDArray[np.int64]
Places = NDArray[np.float64]

#: The coefficient of cubic interpolation that PyTorch has, and ONNX where a file states none.
CUBIC_COEFFICIENT = -0.75


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


def cubic_weights(
    old: int,
    places: Places,
    coefficient: float = CUBIC_COEFFICIENT,
    *,
    exclude_outside: bool = False,
) -> NDArray[np.float32]:
    """The share of each of ``old`` pixels in the new ones at ``places``: ``(new, old)``.

    Four neighbours are interpolated (Keys 1981). One outside is the pixel at the edge, or with
    ``exclude_outside`` left out, and the others share its part.
    """
    a, new = coefficient, np.arange(len(places))
    first = np.floor(places)
    found = np.zeros((len(places), old))
    for step in (-1, 0, 1, 2):
        apart = np.abs(places - first - step)
        near = ((a + 2) * apart - (a + 3)) * apart**2 + 1
        far = ((apart - 5) * apart + 8) * apart * a - 4 * a
        share = np.where(apart <= 1, near, far)
        at = first.astype(np.int64) + step
        if exclude_outside:
            share = np.where((at >= 0) & (at < old), share, 0.0)
        np.add.at(found, (new, np.clip(at, 0, old - 1)), share)
    weights: NDArray[np.float32] = (found / found.sum(1, keepdims=True)).astype(np.float32)
    return weights


#: The order of axes that is a map again after both ``turned_products``.
TURNED_BACK = (2, 0, 1)


def turned_products(
    rows: FloatArray, columns: FloatArray
) -> Iterator[tuple[tuple[int, int, int], FloatArray]]:
    """A resize by the shares (new, old) of ``rows`` and ``columns`` as two 1x1 convolutions.

    Each is an order of axes, which makes channels of columns and then of rows, and the weight
    (out, in, 1, 1) behind it; ``TURNED_BACK`` follows.
    """
    yield (2, 1, 0), columns[:, :, None, None]
    yield (1, 0, 2), rows[:, :, None, None]
