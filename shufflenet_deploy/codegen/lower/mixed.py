"""Lowering of int8 programs with float segments: two layouts, one program and one arena."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.border_ops import Dequantize, Quantize
from shufflenet_deploy.codegen.ir.int8 import Int8Program, PixelView, Requantization
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import PlanarProgram, PlanarView
from shufflenet_deploy.codegen.lower import fp, int8
from shufflenet_deploy.codegen.lower.fp import axes as fp_axes
from shufflenet_deploy.codegen.lower.fp.buffer_assignment import PlanarAssigner
from shufflenet_deploy.codegen.lower.int8 import axes as int8_axes
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NhwcAssigner
from shufflenet_deploy.codegen.lower.walks import Steps
from shufflenet_deploy.codegen.passes.float_segments import Segments, ToBytes, ToFloat
from shufflenet_deploy.network.quantization.ranges import Ranges

_FLOAT_BYTES = 4


class _FloatPart(PlanarProgram):
    """The planar ops of an int8 program, among the others; its buffers are in bytes."""

    def buffer(self, elements: int) -> int:
        """Allocate a buffer of so many floats."""
        return super().buffer(_FLOAT_BYTES * elements)


def lower(
    segments: Segments, ranges: Ranges, requantization: Requantization, cpu: CpuTarget
) -> Int8Program:
    """The int8 program of a graph, its float segments as they are lowered for ``cpu``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    graph = segments.graph
    bytes_ = NhwcAssigner(graph, ranges, requantization)
    ops: list[Op[PlanarView]] = bytes_.program.ops  # type: ignore[assignment]
    part = _FloatPart(
        name=graph.name,
        input_shape=bytes_.program.input_shape,
        output_shape=bytes_.program.output_shape,
        ops=ops,
        buffers=bytes_.program.buffers,
    )
    floats = PlanarAssigner(graph, cpu, part, bytes_.traversal)
    in_float = tuple(layer for layer in graph.layers if layer.name in segments.floating)
    made = {layer.output for layer in in_float}
    if any(
        graph.input in layer.inputs
        for layer in graph.layers
        if layer.name not in segments.floating and not isinstance(layer, ToBytes)
    ):
        bytes_.emit_input()
    for layer in bytes_.traversal:
        if isinstance(layer, ToFloat):
            _enter(layer, bytes_, floats)
        elif isinstance(layer, ToBytes):
            _leave(layer, floats, bytes_)
        elif layer.name in segments.floating:
            floats.lower_layer(layer, fp.HANDLERS)
        else:
            bytes_.lower_layer(layer, int8.HANDLERS)
    bytes_.emit_output()
    bytes_.program.float_layers = in_float
    floats.emit_outputs([at for at, value in enumerate(graph.outputs) if value in made])
    return bytes_.program


def _enter(layer: ToFloat, bytes_: NhwcAssigner, floats: PlanarAssigner) -> None:
    source, target = bytes_.read(layer), floats.buffer_of(layer.output)
    shape = bytes_.graph.shapes[layer.output]
    op = Dequantize(
        name=layer.inputs[0],
        sources=(source,),
        target=target,
        value=layer.output,
        extents=shape,
        byte_steps=_distances(source, int8_axes.axis_steps(shape)),
        float_steps=_distances(target, fp_axes.axis_steps(shape)),
    )
    bytes_.program.ops.append(op)  # type: ignore[arg-type]


def _leave(layer: ToBytes, floats: PlanarAssigner, bytes_: NhwcAssigner) -> None:
    (value,) = layer.inputs
    source, to = floats.views[value], bytes_.stored(layer.output)
    shape = bytes_.graph.shapes[value]
    op = Quantize(
        name=layer.inputs[0],
        sources=(source,),
        target=to.view,
        value=value,
        extents=shape,
        byte_steps=_distances(to.view, int8_axes.axis_steps(shape)),
        float_steps=_distances(source, fp_axes.axis_steps(shape)),
        inverse=float(np.float32(1) / np.float32(to.view.scale)),
    )
    bytes_.program.ops.append(op)  # type: ignore[arg-type]
    bytes_.emit_epilogue(layer.name, to)


def _distances(view: PixelView | PlanarView, steps: Steps) -> tuple[int, ...]:
    """Elements of a buffer from an element to the next along each axis of a value."""
    return tuple(view.distance(step) for step in steps)
