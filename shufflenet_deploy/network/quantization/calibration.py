"""Calibration: the ranges of a network's activations over images.

``minmax`` keeps the extremes; percentile, MSE and entropy (Kullback-Leibler) calibration cut
outliers off. Independent of any file format.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import FloatArray, Graph
from shufflenet_deploy.network.one_thread import one_thread
from shufflenet_deploy.network.quantization.ranges import LEVELS, Ranges, Span, activation_scale

if TYPE_CHECKING:
    import torch
Method = Literal["minmax", "percentile", "mse", "entropy"]

#: The calibration methods; ``minmax`` needs one pass over the images, the others two.
METHODS: tuple[str, ...] = get_args(Method)

#: Bins of a histogram over a value's span.
BINS = 2048
_PERCENTILE = 99.99


@one_thread()
def calibrate(graph: Graph, batches: Iterable[NDArray[Any]], method: Method = "minmax") -> Ranges:
    """Run preprocessed images, ``(N, C, H, W)`` or ``(C, H, W)`` each, and keep the ranges.

    ``percentile`` leaves 0.01% of a value's elements outside; ``mse`` and ``entropy`` choose the
    range with the least squared error or Kullback-Leibler divergence after quantisation. The
    ranges are the same however many threads there are.

    Raises:
        UsageError: no images, images of another shape, or an unknown method.
    """
    if method not in METHODS:
        raise UsageError(f"'{method}' is no calibration method: choose one of {', '.join(METHODS)}")
    images = [batch if batch.ndim == 4 else batch[None] for batch in batches]
    count = sum(len(batch) for batch in images)
    if count == 0:
        raise UsageError("calibration needs at least one image")
    spans, means = _observe(graph, images, count)
    if method != "minmax":
        histograms = _histograms(graph, images, spans)
        spans = {name: narrowed(histograms[name], span, method) for name, span in spans.items()}
    return Ranges(method=method, pictures=count, spans=spans, means=means)


def narrowed(histogram: NDArray[np.float64], span: Span, method: Method) -> Span:
    """The part of a value's span that a method keeps, by a histogram over it in ``BINS`` bins."""
    if method == "minmax":
        return span
    choose = _percentile if method == "percentile" else _SEARCHES[method]
    kept: Span = choose(histogram, span)
    return kept


def _observe(
    graph: Graph, batches: Sequence[NDArray[Any]], count: int
) -> tuple[dict[str, Span], dict[str, FloatArray]]:
    import torch  # noqa: PLC0415

    spans: dict[str, Span] = {}
    sums: dict[str, torch.Tensor] = {}
    for batch in batches:
        for name, value in interpreter.execute(graph, batch):
            low, high = (float(bound) for bound in torch.aminmax(value))
            if not np.isfinite([low, high]).all():
                raise UsageError(
                    f"'{name}' is not finite for a calibration image: check the weights"
                )
            known = spans.get(name, (low, high))
            spans[name] = (min(known[0], low), max(known[1], high))
            others = tuple(axis for axis in range(value.ndim) if axis != 1)
            pixels = math.prod(value.shape[2:])
            per_channel = value.double().sum(others) / pixels
            sums[name] = sums[name] + per_channel if name in sums else per_channel
    means = {name: (total / count).float().numpy() for name, total in sums.items()}
    return spans, means


def _histograms(
    graph: Graph, batches: Sequence[NDArray[Any]], spans: Mapping[str, Span]
) -> dict[str, NDArray[np.float64]]:
    """Histogram of each value over its span, in equal bins.

    Zeros are left out: they are exact whatever the range, and ReLU makes half of all values so.
    """
    import torch  # noqa: PLC0415

    histograms = {name: np.zeros(BINS) for name in spans}
    for batch in batches:
        for name, value in interpreter.execute(graph, batch):
            low, high = spans[name]
            if high > low:
                counts = torch.histc(value[value != 0], bins=BINS, min=low, max=high)
                histograms[name] += counts.double().numpy()
    return histograms


def _percentile(histogram: NDArray[np.float64], span: Span) -> Span:
    total = histogram.sum()
    if total == 0:
        return span
    share = np.cumsum(histogram) / total
    outside = 1 - _PERCENTILE / 100
    edges = np.linspace(*span, BINS + 1)
    # A side that ends at zero, as after a ReLU, has no outliers to cut.
    low = edges[np.searchsorted(share, outside)] if span[0] < 0 else span[0]
    high = edges[1 + np.searchsorted(share, 1 - outside)] if span[1] > 0 else span[1]
    return float(low), float(high)


def _searched(error: Any) -> Any:
    """Span search: the one that minimises ``error(histogram, centres, span)``."""

    def choose(histogram: NDArray[np.float64], span: Span) -> Span:
        if histogram.sum() == 0:
            return span
        edges = np.linspace(*span, BINS + 1)
        centres = (edges[:-1] + edges[1:]) / 2
        factors = np.linspace(0.3, 1.0, 36)
        lows = [span[0] * factor for factor in factors] if span[0] < 0 else [span[0]]
        best = span
        # One side at a time: the two hardly influence each other.
        highs = [best[1] * factor for factor in factors] if best[1] > 0 else [best[1]]
        best = min(((best[0], high) for high in highs), key=lambda s: error(histogram, centres, s))
        return min(((low, best[1]) for low in lows), key=lambda s: error(histogram, centres, s))

    return choose


def _squared_error(
    histogram: NDArray[np.float64], centres: NDArray[np.float64], span: Span
) -> float:
    scale, zero_point = activation_scale(span)
    stored = np.clip(np.round(centres / scale) + zero_point, -128, 127)
    return float((histogram * ((stored - zero_point) * scale - centres) ** 2).sum())


def _divergence(histogram: NDArray[np.float64], centres: NDArray[np.float64], span: Span) -> float:
    """Kullback-Leibler divergence from a distribution to its quantized version, in nats."""
    inside = (histogram > 0) & (centres >= span[0]) & (centres <= span[1])
    if not inside.any():
        return float(np.inf)
    # What lies outside moves to the outermost bin that is inside.
    first, last = np.flatnonzero(inside)[[0, -1]]
    clipped = np.where(inside, histogram, 0.0)
    clipped[first] += histogram[:first].sum()
    clipped[last] += histogram[last + 1 :].sum()
    # Each level spreads what it holds evenly over its bins.
    scale, zero_point = activation_scale(span)
    level = np.clip(np.round(centres[inside] / scale) + zero_point, -128, 127).astype(int) + 128
    held = np.bincount(level, histogram[inside], LEVELS) / np.maximum(
        np.bincount(level, minlength=LEVELS), 1
    )
    p, q = clipped[inside] / clipped.sum(), held[level] / histogram[inside].sum()
    return float((p * np.log(p / q)).sum())


_SEARCHES = {"mse": _searched(_squared_error), "entropy": _searched(_divergence)}
