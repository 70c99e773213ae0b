"""Lowering of layers that move data: joins, slices, borders, resizes, reshapes, permutations."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.layouts import permuted, reshaped
from shufflenet_deploy.export.tflite.program import Array
from shufflenet_deploy.network.graph import (
    Activation,
    Concat,
    Dense,
    Flatten,
    Pad,
    PadMode,
    Permute,
    Reshape,
    Resize,
    ResizeMode,
    Sampling,
    Slice,
)
from shufflenet_deploy.network.resampling import taps


def lower_concat(lowering: GraphLowering, layer: Concat) -> None:
    """Write a concatenation along any axis."""
    if layer.output in lowering.hoisted.values():
        layer = replace(layer, activation=Activation.NONE)
    order = lowering.common_order(layer.inputs)
    inputs = tuple(lowering.in_order(name, order) for name in layer.inputs)
    options = {"axis": 1 + order.index(layer.axis)}
    lowering.emit(layer, "CONCATENATION", inputs, options, order)


def lower_slice(lowering: GraphLowering, layer: Slice) -> None:
    """Write a slice along one axis."""
    order = lowering.common_order(layer.inputs)
    source = lowering.in_order(layer.inputs[0], order)
    axis = 1 + order.index(layer.axis)
    begin = [0] * (1 + len(order))
    begin[axis] = layer.start
    first = lowering.constant(f"begin:{tuple(begin)}", np.array(begin, np.int32))
    sizes = lowering.shape_in(layer.output, order)
    if layer.step == 1:
        size = lowering.constant(f"shape:{sizes}", np.array(sizes, np.int32))
        lowering.emit(layer, "SLICE", (source, first, size), {}, order)
        return
    end, steps = list(lowering.shape_in(layer.inputs[0], order)), [1] * (1 + len(order))
    end[axis], steps[axis] = min(layer.stop, end[axis]), layer.step
    inputs = (
        source,
        first,
        lowering.constant(f"shape:{tuple(end)}", np.array(end, np.int32)),
        lowering.constant(f"steps:{tuple(steps)}", np.array(steps, np.int32)),
    )
    lowering.emit(layer, "STRIDED_SLICE", inputs, {}, order)


def lower_pad(lowering: GraphLowering, layer: Pad) -> None:
    """Write a border of a constant, of the mirrored map, or of the nearest pixels.

    Raises:
        UnsupportedError: the border is negative, which cuts pixels off.
    """
    if min(layer.padding) < 0:
        raise UnsupportedError(f"'{layer.name}' pads by less than nothing; slice the map instead")
    source = lowering.nhwc(layer.inputs[0])
    top, left, bottom, right = layer.padding
    if layer.mode is PadMode.REPLICATE and max(layer.padding) > 1:
        _, height, width = lowering.graph.shapes[layer.inputs[0]]
        rows = np.clip(np.arange(-top, height + bottom), 0, height - 1)
        columns = np.clip(np.arange(-left, width + right), 0, width - 1)
        _gather(lowering, layer, rows, columns)
        return
    amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    name = f"padding:{top},{left},{bottom},{right}"
    inputs = (source, lowering.constant(name, amounts))
    if layer.mode is PadMode.CONSTANT and layer.value == 0:
        lowering.emit(layer, "PAD", inputs, {})
    elif layer.mode is PadMode.CONSTANT:
        border = lowering.constant(f"border:{layer.value!r}", np.array(layer.value, np.float32))
        lowering.emit(layer, "PADV2", (*inputs, border), {})
    else:
        # Mirrored with its border pixel, a border of one pixel is that pixel again.
        mode = "REFLECT" if layer.mode is PadMode.REFLECT else "SYMMETRIC"
        lowering.emit(layer, "MIRROR_PAD", inputs, {"mode": mode})


def lower_resize(lowering: GraphLowering, layer: Resize) -> None:
    """Write a resize; nearest pixels are gathered where TFLite's rounding chooses others."""
    _, height, width = lowering.graph.shapes[layer.inputs[0]]
    pairs = list(zip((height, width), layer.size, strict=True))
    exact = [taps(old, new, layer)[0] for old, new in pairs]
    if layer.mode is ResizeMode.NEAREST and not all(
        np.array_equal(_nearest(old, new, layer.sampling), places)
        for (old, new), places in zip(pairs, exact, strict=True)
    ):
        _gather(lowering, layer, *exact)
        return
    size = lowering.constant(f"shape:{layer.size}", np.array(layer.size, np.int32))
    options = {
        "alignCorners": layer.sampling is Sampling.ALIGN_CORNERS,
        "halfPixelCenters": layer.sampling is Sampling.HALF_PIXEL,
    }
    nearest = layer.mode is ResizeMode.NEAREST
    code = "RESIZE_NEAREST_NEIGHBOR" if nearest else "RESIZE_BILINEAR"
    lowering.emit(layer, code, (lowering.nhwc(layer.inputs[0]), size), options)


def _nearest(old: int, new: int, sampling: Sampling) -> Array:
    """The old pixels that TFLite takes, which computes places in single precision."""
    aligned = sampling is Sampling.ALIGN_CORNERS
    spans = (old - 1, new - 1) if aligned and new > 1 else (old, new)
    scale = np.float32(spans[0]) / np.float32(spans[1])
    offset = np.float32(0.5 if sampling is Sampling.HALF_PIXEL else 0)
    places = (np.arange(new, dtype=np.float32) + offset) * scale
    # Halves are rounded away from zero, and no place is below it.
    whole = np.floor(places.astype(np.float64) + 0.5) if aligned else np.floor(places)
    return np.minimum(whole.astype(np.int64), old - 1)


def _gather(lowering: GraphLowering, layer: Pad | Resize, rows: Array, columns: Array) -> None:
    """Write a map of chosen rows and columns of another, repeated or left out."""
    source = layer.inputs[0]
    channels, _, width = lowering.graph.shapes[source]
    chosen = f"{layer.output}:rows"
    lowering.write(
        "GATHER",
        (
            lowering.nhwc(source),
            lowering.constant(f"{layer.name}:row-places", rows.astype(np.int32)),
        ),
        chosen,
        (1, len(rows), width, channels),
        {"axis": 1},
        rearranges=lowering.calibrated(layer.output),
    )
    places = lowering.constant(f"{layer.name}:column-places", columns.astype(np.int32))
    lowering.emit(layer, "GATHER", (chosen, places), {"axis": 2})


def lower_permute(lowering: GraphLowering, layer: Permute) -> None:
    """A permuted value is the same tensor, read in another order of its axes."""
    source = layer.inputs[0]
    for order in lowering.orders(source):
        tensor = lowering.in_order(source, order)
        lowering.place(layer.output, tensor, permuted(order, layer.order))


def lower_reshape(lowering: GraphLowering, layer: Reshape) -> None:
    """Write a reshape, of a tensor whose elements lie in a fitting order if there is one."""
    source = layer.inputs[0]
    old, new = lowering.graph.shapes[source], layer.shape
    if len(new) == 1:
        _lower_to_vector(lowering, source, layer.output)
        return
    orders = (*lowering.orders(source), tuple(range(len(old))))
    order, fitting = next(
        (order, found) for order in orders if (found := reshaped(old, new, order)) is not None
    )
    target = lowering.name_in(layer.output, fitting)
    shape = lowering.shape_in(layer.output, fitting)
    tensor = lowering.in_order(source, order)
    lowering.reshape(tensor, target, shape, rearranges=lowering.calibrated(layer.output))
    lowering.place(layer.output, target, fitting)


def lower_flatten(lowering: GraphLowering, layer: Flatten) -> None:
    """Write a map as a vector; the layers that read it may take the order in which pixels lie."""
    _lower_to_vector(lowering, layer.inputs[0], layer.output)


def _lower_to_vector(lowering: GraphLowering, source: str, output: str) -> None:
    sizes = lowering.graph.shapes[source]
    size = math.prod(sizes)
    free = [order for order in lowering.orders(source) if reshaped(sizes, (size,), order)]
    if source in lowering.planes:
        lowering.reshape(lowering.planes[source], output, (1, size))
    elif free:
        lowering.reshape(lowering.in_order(source, free[0]), output, (1, size))
    elif all(isinstance(reader, Dense) for reader in lowering.readers(output)):
        # Leave the elements as they lie; the layers that read them reorder their weights.
        order = lowering.orders(source)[0]
        lowering.reshape(lowering.in_order(source, order), f"{output}:nhwc", (1, size))
        lowering.place(output, f"{output}:nhwc")
        places = np.arange(size).reshape(sizes).transpose(order)
        lowering.element_order[output] = places.ravel()
        return
    else:
        own = tuple(range(len(sizes)))
        lowering.reshape(lowering.in_order(source, own), output, (1, size))
    lowering.place(output, output)
