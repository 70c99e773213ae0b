"""The passes of each precision, in order: from a graph to the program that is emitted.

fp32 and fp16::

    expand_transposed_convolutions  graph      one convolution for each phase of the output
    fold_depthwise_bias             graph      a depthwise bias moves into the next pointwise layer
    sink_activation_below_maxpool   graph      activations after the max pool, on fewer pixels
    lower_fp                        -> ir      layer by layer; buffers, fusion, tiling
    bias_to_clamp                   program    ReLU absorbs the bias; multiply-add by lane only

int8::

    expand_transposed_convolutions  graph      each becomes a convolution for each output phase
    sink_lookup_below_maxpool       graph      lookups of activations after the max pool
    corrected                       graph      biases absorb the mean error of rounded weights
    segmented                       graph      values cross to and from layers in float, if any
    lower_int8 or lower_mixed       -> ir      layer by layer; buffers, fusion, requantization

Passes of fp32 that int8 does not have would save no instruction there: a depthwise bias is what its
accumulators start from, and ReLU and ReLU6 are bounds of the bytes that are stored anyway.

Memory planning, register blocking and the parallel schedule follow while kernels are emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.int8 import Int8Program, Requantization
from shufflenet_deploy.codegen.ir.planar import PlanarProgram
from shufflenet_deploy.codegen.lower.fp import lower as lower_fp
from shufflenet_deploy.codegen.lower.int8 import lower as lower_int8
from shufflenet_deploy.codegen.lower.int8.requantize import NoInt8CodeError
from shufflenet_deploy.codegen.lower.mixed import lower as lower_mixed
from shufflenet_deploy.codegen.passes import bias_to_clamp, float_segments
from shufflenet_deploy.codegen.passes.fold_depthwise_bias import fold_depthwise_bias
from shufflenet_deploy.codegen.passes.sink_activation import (
    sink_activation_below_maxpool,
    sink_lookup_below_maxpool,
)
from shufflenet_deploy.codegen.passes.transposed_convolution import expand_transposed_convolutions
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization.ranges import Ranges, corrected, with_parts

GraphPass = Callable[[Graph], Graph]
ProgramPass = Callable[[PlanarProgram, CpuTarget], None]

FP_GRAPH_PASSES: tuple[GraphPass, ...] = (
    expand_transposed_convolutions,
    fold_depthwise_bias,
    sink_activation_below_maxpool,
)
FP_PROGRAM_PASSES: tuple[ProgramPass, ...] = (bias_to_clamp.run,)
INT8_GRAPH_PASSES: tuple[GraphPass, ...] = (
    expand_transposed_convolutions,
    sink_lookup_below_maxpool,
)
INT8_RANGE_PASSES: tuple[Callable[[Graph, Ranges, Collection[str]], Graph], ...] = (corrected,)


def fp_program(graph: Graph, cpu: CpuTarget) -> PlanarProgram:
    """The fp32 or fp16 program of ``graph`` for ``cpu``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    for graph_pass in FP_GRAPH_PASSES:
        graph = graph_pass(graph)
    program = lower_fp(graph, cpu)
    for program_pass in FP_PROGRAM_PASSES:
        program_pass(program, cpu)
    return program


def int8_program(
    graph: Graph,
    ranges: Ranges,
    arithmetic: Requantization,
    cpu: CpuTarget | None = None,
    float_layers: Collection[str] = (),
) -> Int8Program:
    """The int8 program of ``graph`` with calibrated ``ranges``.

    ``float_layers`` and those that there is no int8 code for are computed in fp32, by code for
    ``cpu``; without one there are none.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    given = graph
    for graph_pass in INT8_GRAPH_PASSES:
        graph = graph_pass(graph)
    ranges = with_parts(ranges, graph)
    floating = float_segments.of_rewritten(given, graph, float_layers)
    while True:
        try:
            return _int8_program(graph, ranges, arithmetic, cpu, floating)
        except NoInt8CodeError as error:
            if cpu is None or error.layer in floating:
                raise
            floating |= {error.layer}


def _int8_program(
    graph: Graph,
    ranges: Ranges,
    arithmetic: Requantization,
    cpu: CpuTarget | None,
    floating: frozenset[str],
) -> Int8Program:
    in_float = {layer.output for layer in graph.layers if layer.name in floating}
    for range_pass in INT8_RANGE_PASSES:
        graph = range_pass(graph, ranges, in_float)
    if cpu is None or not (floating or float_segments.is_float_image(graph)):
        return lower_int8(graph, ranges, arithmetic)
    segments = float_segments.segmented(graph, floating)
    return lower_mixed(segments, with_parts(ranges, segments.graph), arithmetic, cpu)
