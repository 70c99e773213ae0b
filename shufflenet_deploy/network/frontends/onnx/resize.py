"""Readers of Resize and Upsample: ONNX's rules for pixels, of which the graph's three are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from shufflenet_deploy.network.frontends.file_builder import Value
from shufflenet_deploy.network.frontends.onnx.node import Node, Tensor
from shufflenet_deploy.network.graph import Conv, Resize, ResizeMode, Sampling
from shufflenet_deploy.network.resampling import (
    CUBIC_COEFFICIENT,
    TURNED_BACK,
    Places,
    cubic_weights,
    taps,
    turned_products,
)

Rounding = Callable[[Places], Places]

_MODES = {
    "nearest": ResizeMode.NEAREST,
    "linear": ResizeMode.BILINEAR,
    "bilinear": ResizeMode.BILINEAR,
}
_LARGEST = 1 << 16


def _resize(node: Node) -> Tensor:
    """The graph's rule that takes the same pixels, whatever the file calls it."""
    x = node.map()
    scales, size = _target(node, x.shape[1:])
    word = node.attribute("mode", "nearest")
    if word not in {*_MODES, "cubic"}:
        node.fail(f"resizes by the mode '{word}', and nearest, linear and cubic are known")
    if node.attribute("antialias", 0) and min(scales) < 1:
        node.fail("smooths while it shrinks (antialias), which no layer here does")
    places = [
        _places(node, old, new, scale)
        for old, new, scale in zip(x.shape[1:], size, scales, strict=True)
    ]
    if word == "cubic":
        return _cubic(node, x, places)
    mode = _MODES[word]
    rounding = _rounding(node)
    for sampling in Sampling:
        layer = Resize(name="", inputs=(), output="", size=size, mode=mode, sampling=sampling)
        if all(
            _same(layer, x.shape[1 + axis], size[axis], places[axis], rounding) for axis in (0, 1)
        ):
            made = node.builder.emit(Resize, x, size=size, mode=mode, sampling=sampling)
            return Tensor(made, (1, *made.shape))
    return node.fail(
        f"resizes {x.shape[1]}x{x.shape[2]} to {size[0]}x{size[1]} by "
        f"'{_coordinates(node)}', which takes other pixels than any layer here"
    )


def _cubic(node: Node, x: Value, places: list[Places]) -> Tensor:
    """Two products with the shares of old pixels in new ones."""
    coefficient = float(node.attribute("cubic_coeff_a", CUBIC_COEFFICIENT))
    outside = bool(node.attribute("exclude_outside", 0))
    rows, columns = (
        cubic_weights(old, at, coefficient, exclude_outside=outside)
        for old, at in zip(x.shape[1:], places, strict=True)
    )
    made = x
    for turn, weight in turned_products(rows, columns):
        turned = node.builder.permuted(made, turn)
        bias = np.zeros(len(weight), np.float32)
        made = node.builder.emit(Conv, turned, weight=weight, bias=bias)
    made = node.builder.permuted(made, TURNED_BACK)
    return Tensor(made, (1, *made.shape))


def _target(node: Node, old: tuple[int, ...]) -> tuple[tuple[float, ...], tuple[int, int]]:
    """Scales of height and width, and the new size."""
    stated = node.floats("scales") if node.opset < 9 else None
    index = 2 if node.op == "Resize" and node.opset >= 11 else 1
    if stated is None and node.has(index) and node.constant(index).size:
        stated = tuple(float(one) for one in node.constant(index).reshape(-1)[:4])
    sizes = node.integers(3) if node.op == "Resize" else None
    axes = node.optional_integers("axes") or (0, 1, 2, 3)
    axes = tuple(node.axis(axis, 4) for axis in axes)
    given = stated if stated is not None else sizes
    if given is None or len(given) != len(axes):
        node.fail("does not say the size")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        node.fail("keeps the aspect ratio by a rule of its own: export it with the scales")
    whole = (1, 0, *old)
    named = dict(zip(axes, given, strict=True))
    if stated is not None:
        if any(named.get(axis, 1.0) != 1.0 for axis in (0, 1)) or min(stated) <= 0:
            node.fail(f"resizes by {stated}, and height and width are resized here")
        scales = tuple(float(named.get(axis, 1.0)) for axis in (2, 3))
        if not all(np.isfinite(scales)):
            node.fail("has a scale that is no number")
        # Exactly representable products are meant: 3 * 1.3333334 is 4.
        size = [int(np.floor(np.float32(old[at]) * np.float32(scales[at]))) for at in (0, 1)]
    else:
        size = [int(named.get(axis, whole[axis])) for axis in (2, 3)]
        scales = tuple(new / before for new, before in zip(size, old, strict=True))
    if min(size) < 1 or max(size) > _LARGEST:
        node.fail(f"resizes to {size[0]}x{size[1]}")
    return scales, (size[0], size[1])


def _coordinates(node: Node) -> str:
    if node.op == "Upsample" or node.opset < 11:
        return "asymmetric"
    return str(node.attribute("coordinate_transformation_mode", "half_pixel"))


def _places(node: Node, old: int, new: int, scale: float) -> Places:
    """The place of each new pixel on the old axis."""
    rule, at = _coordinates(node), np.arange(new, dtype=np.float64)
    if rule == "asymmetric":
        return at / scale
    if rule == "align_corners":
        if abs(scale * old - new) > 1e-3:
            node.fail(f"aligns corners at {scale:g} times {old}, which is no whole number")
        return at * (old - 1) / (new - 1) if new > 1 else at * 0
    if rule == "pytorch_half_pixel" and new == 1:
        return at * 0
    if rule in {"half_pixel", "pytorch_half_pixel"}:
        return (at + 0.5) / scale - 0.5
    if rule == "half_pixel_symmetric":
        exact = scale * old
        return old / 2 * (1 - new / exact) + (at + 0.5) / scale - 0.5
    return node.fail(f"resizes by '{rule}', which no layer here does")


def _rounding(node: Node) -> Rounding:
    """The rounding of a place between two pixels to the nearest."""
    rule = node.attribute("nearest_mode", "round_prefer_floor")
    if node.op == "Upsample" or node.opset < 11:
        rule = "floor"
    if rule not in _ROUNDINGS:
        node.fail(f"rounds by '{rule}', which ONNX does not know")
    return _ROUNDINGS[rule]


def _same(layer: Resize, old: int, new: int, places: Places, rounding: Rounding) -> bool:
    """True if the layer makes its pixels along an axis of the same ones."""
    first, second, share = taps(old, new, layer)
    if layer.mode is ResizeMode.NEAREST:
        return bool((np.clip(rounding(places), 0, old - 1) == first).all())
    found = (1 - share) * first + share * second
    return bool(np.allclose(found, np.clip(places, 0, old - 1), atol=1e-4))


_ROUNDINGS: dict[str, Rounding] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}

READERS: dict[str, Callable[[Node], Any]] = {"Resize": _resize, "Upsample": _resize}
