"""Lowering of layer, group and instance norms."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.ir import map_ops as ir
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner
from shufflenet_deploy.codegen.lower.fp.strides import (
    Shape,
    broadcast,
    row_major,
    strides_of,
)
from shufflenet_deploy.network.graph import Activation, FloatArray, Normalize


def normalize(layer: Normalize, assigner: PlanarAssigner) -> None:
    """Lower a norm: the axes of sets first, then those that a set goes over."""
    shape = assigner.graph.shapes[layer.output]
    source = assigner.read(layer.inputs[0])
    target, activation = assigner.target(layer.output, Activation.NONE)
    kept = [axis for axis in range(len(shape)) if axis not in layer.axes]
    order, reduced = [*kept, *layer.axes], len(layer.axes)

    def walked(strides: Shape) -> Shape:
        """Strides in the order of the loops; groups divide the first axis, in which all lie."""
        if layer.groups == 1:
            return tuple(strides[axis] for axis in order)
        return (strides[0] * (shape[0] // layer.groups), *strides)

    extents = tuple(shape[axis] for axis in order)
    if layer.groups > 1:
        extents = (layer.groups, shape[0] // layer.groups, *shape[1:])
    assigner.emit(
        ir.Normalize(
            name=layer.name,
            sources=(source,),
            target=target,
            epsilon=layer.epsilon,
            extents=extents,
            reduced=reduced,
            source_strides=walked(strides_of(source, shape)),
            target_strides=walked(strides_of(target, shape)),
            scale=np.ascontiguousarray(layer.scale).ravel(),
            shift=np.ascontiguousarray(layer.shift).ravel(),
            scale_strides=walked(_strides(layer.scale, shape)),
            shift_strides=walked(_strides(layer.shift, shape)),
        )
    )
    assigner.emit_epilogue(layer.name, target, target, activation)


def _strides(array: FloatArray, shape: Shape) -> Shape:
    return broadcast(row_major(array.shape), array.shape, shape)
