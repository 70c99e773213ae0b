"""Pixel shuffles in NHWC: their order of channels, and the convolutions that can take it over.

TFLite's operations have the pixels of a block as the slower part of a channel's index, the graph's
layers as the faster one. A convolution next to one computes, or reads, its channels in that order;
else a transpose moves the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.network.graph import Conv, DepthToSpace, Graph, Layer, SpaceToDepth


@dataclass(frozen=True, kw_only=True)
class BlockwiseDepthToSpace(Layer):
    """A pixel shuffle whose channel ``(y * block + x) * C + c`` goes to pixel (y, x) of each."""

    block: int


@dataclass(frozen=True, kw_only=True)
class BlockwiseSpaceToDepth(Layer):
    """The inverse of ``BlockwiseDepthToSpace``."""

    block: int


def with_blockwise_pixel_shuffles(graph: Graph) -> Graph:
    """Rewrite pixel shuffles whose neighbours are ungrouped convolutions that can be reordered."""
    for layer in graph.layers:
        if isinstance(layer, DepthToSpace):
            graph = _with_reordered_producer(graph, layer)
        elif isinstance(layer, SpaceToDepth):
            graph = _with_reordered_readers(graph, layer)
    return graph


def blockwise_order(channels: int, block: int) -> NDArray[np.intp]:
    """The channel of the graph's order that is at each place of TFLite's."""
    return np.arange(channels).reshape(-1, block * block).T.ravel()


def _with_reordered_producer(graph: Graph, layer: DepthToSpace) -> Graph:
    (source,) = layer.inputs
    producer = next((one for one in graph.layers if one.output == source), None)
    alone = len(graph.users()[source]) == 1 and source not in graph.outputs
    if not isinstance(producer, Conv) or producer.groups > 1 or not alone:
        return graph
    order = blockwise_order(len(producer.weight), layer.block)
    moved = f"{source}:blockwise"
    early = replace(
        producer, output=moved, weight=producer.weight[order], bias=producer.bias[order]
    )
    late = BlockwiseDepthToSpace(
        name=layer.name, inputs=(moved,), output=layer.output, block=layer.block
    )
    return _replacing(graph, {producer.name: early, layer.name: late}, source, moved)


def _with_reordered_readers(graph: Graph, layer: SpaceToDepth) -> Graph:
    readers = graph.users()[layer.output]
    foldable = all(isinstance(one, Conv) and one.groups == 1 for one in readers)
    if not readers or not foldable or layer.output in graph.outputs:
        return graph
    order = blockwise_order(graph.shapes[layer.output][0], layer.block)
    moved = f"{layer.output}:blockwise"
    changes: dict[str, Layer] = {
        layer.name: BlockwiseSpaceToDepth(
            name=layer.name, inputs=layer.inputs, output=moved, block=layer.block
        )
    }
    for reader in readers:
        assert isinstance(reader, Conv)
        changes[reader.name] = replace(
            reader, inputs=(moved,), weight=np.ascontiguousarray(reader.weight[:, order])
        )
    return _replacing(graph, changes, layer.output, moved)


def _replacing(graph: Graph, changes: dict[str, Layer], old: str, new: str) -> Graph:
    layers = tuple(changes.get(layer.name, layer) for layer in graph.layers)
    shapes = {new if name == old else name: shape for name, shape in graph.shapes.items()}
    return replace(graph, layers=layers, shapes=shapes)


def lower_blockwise(
    lowering: GraphLowering, layer: BlockwiseDepthToSpace | BlockwiseSpaceToDepth
) -> None:
    """Write a pixel shuffle in TFLite's own order of channels."""
    code = "DEPTH_TO_SPACE" if isinstance(layer, BlockwiseDepthToSpace) else "SPACE_TO_DEPTH"
    lowering.emit(layer, code, (lowering.nhwc(layer.inputs[0]),), {"blockSize": layer.block})


def lower_depth_to_space(lowering: GraphLowering, layer: DepthToSpace) -> None:
    """Write a pixel shuffle in the graph's order: a transpose between two reshapes."""
    channels, height, width = lowering.graph.shapes[layer.output]
    block = layer.block
    if channels == 1:
        _lower_plain(lowering, layer, "DEPTH_TO_SPACE")
        return
    rows, columns = height // block, width // block
    _move(lowering, layer, (rows, columns, channels, block, block), (0, 3, 1, 4, 2))


def lower_space_to_depth(lowering: GraphLowering, layer: SpaceToDepth) -> None:
    """Write a pixel unshuffle in the graph's order: a transpose between two reshapes."""
    channels, height, width = lowering.graph.shapes[layer.inputs[0]]
    block = layer.block
    if channels == 1:
        _lower_plain(lowering, layer, "SPACE_TO_DEPTH")
        return
    rows, columns = height // block, width // block
    _move(lowering, layer, (rows, block, columns, block, channels), (0, 2, 4, 1, 3))


def _lower_plain(lowering: GraphLowering, layer: DepthToSpace | SpaceToDepth, code: str) -> None:
    """With one channel both orders are the same."""
    lowering.emit(layer, code, (lowering.nhwc(layer.inputs[0]),), {"blockSize": layer.block})


def _move(
    lowering: GraphLowering,
    layer: DepthToSpace | SpaceToDepth,
    split: tuple[int, ...],
    order: tuple[int, ...],
) -> None:
    names = [f"{layer.output}:{word}" for word in ("split", "mixed")]
    known = lowering.calibrated(layer.output)
    lowering.reshape(lowering.nhwc(layer.inputs[0]), names[0], split)
    lowering.transpose(names[0], names[1], order)
    shape = lowering.nhwc_shape_of(layer.output)
    lowering.reshape(names[1], layer.output, shape, rearranges=known)
    lowering.place(layer.output, layer.output)
