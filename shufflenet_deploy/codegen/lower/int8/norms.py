"""Lowering of layer, group and instance norms to int8."""

from __future__ import annotations

import math

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.int8.activation_functions import Float64Array
from shufflenet_deploy.codegen.lower.int8.axes import axis_steps, flat_steps
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner
from shufflenet_deploy.codegen.lower.walks import Shape
from shufflenet_deploy.network.graph import Activation, Normalize

#: Elements of a set beyond which the products of its sums would not fit 64 bits.
_MOST_ELEMENTS = 1 << 22
#: Bits of the largest factor of a normalised element, and fraction bits that it may have.
_FACTOR_BITS = 22
_MOST_BITS = 32
_INT64_MAX = 2.0**62


def normalize(layer: Normalize, assigner: NhwcAssigner) -> None:
    """Lower a norm; its statistics are exact, whatever the scale of its input."""
    source, shape = assigner.read(layer), assigner.graph.shapes[layer.inputs[0]]
    to = assigner.target(layer, Activation.NONE)
    whole = np.broadcast_shapes(layer.scale.shape, layer.shift.shape)
    steps = axis_steps(shape)
    constants = walks.broadcast(flat_steps(whole), whole, shape)
    counts = list(shape)
    kept = [axis for axis in range(len(shape)) if axis not in layer.axes]
    over = sorted(layer.axes)
    if layer.groups > 1:
        # The first axis as two: of groups, and of what is in each.
        size = shape[0] // layer.groups
        counts = [layer.groups, size, *shape[1:]]
        steps = (walks.times(steps[0], size), *steps)
        constants = (walks.times(constants[0], size), *constants)
        kept, over = [0], list(range(1, len(counts)))
    count = math.prod(counts[axis] for axis in over)
    if count > _MOST_ELEMENTS:
        raise assigner.unsupported(layer, f"a norm over {count} elements")
    scale, shift, bits = _constants(layer, whole, to.view)
    op = ir.Normalize(
        name=layer.name,
        sources=(source,),
        target=to.view,
        walk=walks.walk(
            [counts[axis] for axis in kept],
            *([each[axis] for axis in kept] for each in (steps, constants, constants, steps)),
        ),
        over=tuple(
            ir.Loop(
                count=counts[axis],
                steps=(steps[axis], constants[axis], constants[axis], steps[axis]),
            )
            for axis in over
        ),
        epsilon=max(1.0, layer.epsilon * (count / source.scale) ** 2),
        scale=scale,
        shift=shift,
        epilogue=bits,
    )
    assigner.emit(op)
    assigner.emit_epilogue(layer.name, to)


def _constants(
    layer: Normalize, shape: Shape, view: PixelView
) -> tuple[ir.Int64Array, ir.Int64Array, int]:
    """Factors of normalised elements and what is added to them, of this shape; fraction bits."""
    scale, shift = (
        np.broadcast_to(one.astype(np.float64) / view.scale, shape).ravel()
        for one in (layer.scale, layer.shift)
    )
    bits = _bits(scale)
    rounded = (shift + view.zero_point) * 2.0**bits + 2.0 ** (bits - 1)
    return (
        np.rint(scale * 2.0 ** (bits - ir.NORMAL_BITS)).astype(np.int64),
        np.rint(np.clip(rounded, -_INT64_MAX, _INT64_MAX)).astype(np.int64),
        bits,
    )


def _bits(scale: Float64Array) -> int:
    """Fraction bits of a result, with which the largest factor has ``_FACTOR_BITS`` bits."""
    largest = float(np.abs(scale).max(initial=0.0)) or 1.0
    exact = _FACTOR_BITS + ir.NORMAL_BITS - math.ceil(math.log2(largest))
    return max(ir.NORMAL_BITS, min(_MOST_BITS, exact))
