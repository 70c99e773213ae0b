"""Lowering of a graph to the operations of an NHWC runtime such as LiteRT, before any file format.

Every rewrite is exact, up to the rounding of single precision. Where there are several forms (of a
shuffle, a padded average), the ``Plan`` chooses one, so that measurements can decide.

A tensor carries the name of the graph's value where it holds just that value, in NHWC; tensors
that exist only because of the lowering have a colon in their name, such as ``pool:padded``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite.arithmetic_lowering import (
    lower_add,
    lower_arithmetic,
    lower_clip,
    lower_elementwise,
    lower_elu,
    lower_leaky_relu,
    lower_multiply,
)
from shufflenet_deploy.export.tflite.conv_lowering import lower_conv
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.export.tflite.lowering_plans import Plan, rearranged
from shufflenet_deploy.export.tflite.movement_lowering import (
    lower_concat,
    lower_flatten,
    lower_pad,
    lower_permute,
    lower_reshape,
    lower_resize,
    lower_slice,
)
from shufflenet_deploy.export.tflite.norm_lowering import lower_normalize, lower_power
from shufflenet_deploy.export.tflite.pixel_shuffles import (
    BlockwiseDepthToSpace,
    BlockwiseSpaceToDepth,
    lower_blockwise,
    lower_depth_to_space,
    lower_space_to_depth,
    with_blockwise_pixel_shuffles,
)
from shufflenet_deploy.export.tflite.pool_lowering import lower_adaptive_pool, lower_pool
from shufflenet_deploy.export.tflite.program import TfliteProgram
from shufflenet_deploy.export.tflite.reduction_lowering import lower_reduce, lower_softmax
from shufflenet_deploy.export.tflite.transposed_conv_lowering import lower_conv_transpose
from shufflenet_deploy.network.graph import (
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    DepthToSpace,
    Elementwise,
    Elu,
    Flatten,
    Graph,
    Layer,
    LeakyRelu,
    LocalResponseNorm,
    Multiply,
    Normalize,
    Pad,
    Permute,
    Pool,
    Power,
    Reduce,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    Softmax,
    SpaceToDepth,
)
from shufflenet_deploy.network.passes.shuffle_rewrites import BlockShuffle


def lower(graph: Graph, plan: Plan) -> TfliteProgram:
    """Write a graph as NHWC operations.

    Raises:
        UnsupportedError: a layer has no exact counterpart.
    """
    graph = with_blockwise_pixel_shuffles(rearranged(graph, plan))
    lowering = GraphLowering(graph, plan)
    planar = (0, 1, 2)
    order = planar if plan.planar_input else lowering.usual_order(graph.input)
    shape = lowering.shape_in(graph.input, order)
    lowering.place(graph.input, lowering.declare(graph.input, shape), order)
    for layer in graph.layers:
        lower_layer = _LOWERINGS.get(type(layer))
        if lower_layer is None:
            raise UnsupportedError(
                f"'{layer.name}' is a {type(layer).__name__}, which TFLite files cannot hold yet"
            )
        lower_layer(lowering, layer)
    return TfliteProgram(
        name=graph.name,
        input=graph.input,
        outputs=_outputs(lowering),
        operations=tuple(lowering.operations),
        tensors=lowering.tensors,
    )


def _outputs(lowering: GraphLowering) -> tuple[str, ...]:
    """Tensors of the outputs, in their usual order and each another one.

    A permuted value, or a value that is passed through, has no tensor to itself; it is copied.
    """
    found: list[str] = []
    for value in lowering.graph.outputs:
        tensor = lowering.nhwc(value)
        if value in lowering.element_order:
            raise AssertionError("only a fully connected layer reads a reordered vector")
        if tensor in found or tensor == lowering.graph.input:
            copy = f"{value}:output-{len(found)}"
            lowering.reshape(tensor, copy, lowering.nhwc_shape_of(value))
            tensor = copy
        found.append(tensor)
    return tuple(found)


def _lower_dense(lowering: GraphLowering, layer: Dense) -> None:
    if len(lowering.graph.shapes[layer.inputs[0]]) != 1:
        raise UnsupportedError(f"'{layer.name}' multiplies the rows of a matrix; flatten it first")
    order = lowering.element_order.get(layer.inputs[0])
    weight = layer.weight if order is None else layer.weight.take(order, axis=1)
    inputs = (
        lowering.nhwc(layer.inputs[0]),
        lowering.constant(f"{layer.name}:weight", weight),
        lowering.constant(f"{layer.name}:bias", layer.bias),
    )
    lowering.emit(layer, "FULLY_CONNECTED", inputs, {})


def _lower_shuffle(lowering: GraphLowering, layer: Shuffle) -> None:
    channels, height, width = lowering.graph.shapes[layer.output]
    split = (height * width, layer.groups, channels // layer.groups)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), f"{layer.output}:split", split)
    lowering.transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1))
    lowering.reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
    lowering.place(layer.output, layer.output)


def _lower_block_shuffle(lowering: GraphLowering, layer: BlockShuffle) -> None:
    channels, height, width = lowering.graph.shapes[layer.output]
    split = (height * width, layer.groups, layer.groups, layer.block)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), f"{layer.output}:split", split)
    lowering.transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1, 3))
    lowering.reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
    lowering.place(layer.output, layer.output)


def _lower_response_norm(lowering: GraphLowering, layer: LocalResponseNorm) -> None:
    if layer.size % 2 == 0:
        raise UnsupportedError(f"'{layer.name}' normalises over an even number of channels")
    options = {
        "radius": layer.size // 2,
        "bias": layer.k,
        "alpha": layer.alpha / layer.size,
        "beta": layer.beta,
    }
    inputs = (lowering.nhwc(layer.inputs[0]),)
    lowering.emit(layer, "LOCAL_RESPONSE_NORMALIZATION", inputs, options)


_LOWERINGS: dict[type[Layer], Callable[[GraphLowering, Any], None]] = {
    Conv: lower_conv,
    ConvTranspose: lower_conv_transpose,
    Dense: _lower_dense,
    Pool: lower_pool,
    AdaptiveAveragePool: lower_adaptive_pool,
    Add: lower_add,
    Multiply: lower_multiply,
    Arithmetic: lower_arithmetic,
    Concat: lower_concat,
    Slice: lower_slice,
    Pad: lower_pad,
    Resize: lower_resize,
    DepthToSpace: lower_depth_to_space,
    SpaceToDepth: lower_space_to_depth,
    BlockwiseDepthToSpace: lower_blockwise,
    BlockwiseSpaceToDepth: lower_blockwise,
    Shuffle: _lower_shuffle,
    BlockShuffle: _lower_block_shuffle,
    LocalResponseNorm: _lower_response_norm,
    Normalize: lower_normalize,
    Power: lower_power,
    Elementwise: lower_elementwise,
    LeakyRelu: lower_leaky_relu,
    Elu: lower_elu,
    Clip: lower_clip,
    Softmax: lower_softmax,
    Reduce: lower_reduce,
    Reshape: lower_reshape,
    Permute: lower_permute,
    Flatten: lower_flatten,
}
