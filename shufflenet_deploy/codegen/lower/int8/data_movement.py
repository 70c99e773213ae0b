"""Lowering of shuffles and concatenations that fusion left over."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.int8 import PixelView
from shufflenet_deploy.codegen.lower.int8 import rearrangement
from shufflenet_deploy.codegen.lower.int8.buffer_assignment import NO_PADDING, NhwcAssigner, Target
from shufflenet_deploy.codegen.lower.int8.pooling import average_pool
from shufflenet_deploy.network.graph import Activation, Concat, Flatten, Layer, Shuffle


def shuffle(layer: Shuffle, assigner: NhwcAssigner) -> None:
    """Lower a shuffle that no op before it fused."""
    if not assigner.is_shuffled_map(layer):
        raise assigner.unsupported(layer, "a shuffle of a value of more than three axes")
    to = assigner.target(layer, Activation.NONE)
    assigner.emit_lookup_table(layer.name, assigner.read(layer), to.view, groups=layer.groups)
    assigner.emit_epilogue(layer.name, to)


def concat(layer: Concat, assigner: NhwcAssigner) -> None:
    """Lower a concatenation: parts stored elsewhere are requantized to the whole's scale."""
    if assigner.joins_channels(layer):
        to = Target(view=assigner.buffer_of(layer.output), value=layer.output)
    else:
        to = assigner.target(layer, layer.activation)
    if assigner.of_channels(layer):
        for at, value in enumerate(layer.inputs):
            if value in assigner.views:
                _copy(layer, assigner.read(layer, at), assigner.part(to.view, layer, at), assigner)
    else:
        rearrangement.concat_copies(layer, to, assigner)
    assigner.emit_epilogue(layer.name, to)


def _copy(layer: Layer, source: PixelView, target: PixelView, assigner: NhwcAssigner) -> None:
    """An average over one pixel, if that fits 16 bits: faster than a lookup table."""
    op = average_pool(layer, source, target, ((1, 1), (1, 1), NO_PADDING), assigner)
    if op is None:
        assigner.emit_lookup_table(layer.name, source, target)
    else:
        assigner.emit(op)


def flatten(layer: Flatten, assigner: NhwcAssigner) -> None:
    """Flattening moves nothing: the layers that read it know the map's order."""
    assigner.views[layer.output] = assigner.views[layer.inputs[0]]
