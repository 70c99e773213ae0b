"""Lowering of layer, group and instance norms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir import element_ops as ir
from shufflenet_deploy.codegen.lower import walks
from shufflenet_deploy.codegen.lower.fp.axes import axis_steps
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner
from shufflenet_deploy.codegen.lower.walks import Shape, Steps
from shufflenet_deploy.network.graph import Activation, FloatArray, Normalize


def normalize(layer: Normalize, assigner: PlanarAssigner) -> None:
    """Lower a norm: the axes of sets first, then those that a set goes over."""
    shape = assigner.graph.shapes[layer.output]
    source = assigner.read(layer.inputs[0])
    target, activation = assigner.target(layer.output, Activation.NONE)
    steps = axis_steps(shape)
    constants = (_steps(layer.scale, shape), _steps(layer.shift, shape))
    kept = [axis for axis in range(len(shape)) if axis not in layer.axes]
    order = [*kept, *layer.axes]

    def walked(one: Steps) -> Steps:
        """Steps in the order of the loops; groups divide the first axis, in which all lie."""
        if layer.groups == 1:
            return tuple(one[axis] for axis in order)
        return (walks.times(one[0], shape[0] // layer.groups), *one)

    counts = tuple(shape[axis] for axis in order)
    if layer.groups > 1:
        counts = (layer.groups, shape[0] // layer.groups, *shape[1:])
    whole = walks.walk(counts, *map(walked, (steps, *constants, steps)))
    sets = len(counts) - len(layer.axes)
    assigner.emit(
        ir.Normalize(
            name=layer.name,
            sources=(source,),
            target=target,
            walk=replace(whole, loops=whole.loops[:sets]),
            over=whole.loops[sets:],
            epsilon=layer.epsilon,
            scale=np.ascontiguousarray(layer.scale).ravel(),
            shift=np.ascontiguousarray(layer.shift).ravel(),
            epilogue=None,
        )
    )
    assigner.emit_epilogue(layer.name, target, target, activation)


def _steps(array: FloatArray, shape: Shape) -> Steps:
    return walks.broadcast(walks.row_major(array.shape, walks.CHANNEL), array.shape, shape)
