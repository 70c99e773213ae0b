"""Cheaper channel shuffles: exact rewrites of a unit that move, shrink or remove the permutation.

The middle of a ShuffleNet unit is grouped 1x1 -> shuffle -> depthwise -> grouped 1x1. A
permutation commutes with a depthwise convolution, can be absorbed by the rows of an ungrouped
convolution before it, and inside a group by the columns of the grouped convolution after it.

Values that are rearranged carry the name of the value they rearrange and a suffix after a colon.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import Conv, FloatArray, Graph, Layer, Shuffle

Indices = NDArray[np.intp]

#: Wider than this, the zero channels cost more than blocks save (g=8 at 0.5x).
_MOST_GROWTH = 1.25


@dataclass(frozen=True, kw_only=True)
class BlockShuffle(Layer):
    """Channels viewed as (groups, groups, block) with the first two exchanged.

    Whole blocks move at once, which is cheaper than single channels.
    """

    groups: int
    block: int


def absorbed(graph: Graph) -> Graph:
    """Shuffles right after an ungrouped convolution become the order of its output channels."""
    for shuffle in _shuffles(graph):
        unit = _Unit(graph, shuffle)
        before = unit.before
        if before is not None and before.groups == 1:
            order = shuffled_order(len(before.weight), shuffle.groups)
            whole = replace(
                before,
                output=shuffle.output,
                weight=before.weight[order],
                bias=before.bias[order],
            )
            graph = _replacing(graph, {before.name: (whole,), shuffle.name: ()}, {})
    return graph


def after_stride(graph: Graph) -> Graph:
    """Shuffles before a strided depthwise convolution move after it, where maps are smaller."""
    for shuffle in _shuffles(graph):
        depthwise = _Unit(graph, shuffle).depthwise
        if depthwise is None or depthwise.stride == (1, 1):
            continue
        # Shuffled channel c is channel order[c]; its weights go where that channel is.
        back = np.argsort(shuffled_order(len(depthwise.weight), shuffle.groups))
        unshuffled = f"{depthwise.output}:unshuffled"
        early = replace(
            depthwise,
            inputs=shuffle.inputs,
            output=unshuffled,
            weight=depthwise.weight[back],
            bias=depthwise.bias[back],
        )
        late = replace(shuffle, inputs=(unshuffled,), output=depthwise.output)
        graph = _replacing(
            graph,
            {shuffle.name: (), depthwise.name: (early, late)},
            {unshuffled: graph.shapes[depthwise.output]},
        )
    return graph


def in_dense(graph: Graph, names: Collection[str], *, multiple: int = 1) -> Graph:
    """Shuffles in ``names`` vanish into the two convolutions around them, which lose their groups.

    Most of the multiply-adds that this adds are by zero, but nothing is moved any more, and the
    channels between can be filled up to a ``multiple``, which fast depthwise kernels ask for.
    """
    for shuffle in _shuffles(graph):
        if shuffle.name in names:
            graph = _with_dense(graph, _Unit(graph, shuffle), multiple)
    return graph


def in_blocks(graph: Graph, names: Collection[str], *, multiple: int = 1) -> Graph:
    """Shuffles between grouped convolutions move blocks of channels instead of single ones.

    Group k of the later convolution reads about n / g of the n channels of each earlier group;
    those are computed side by side, filled with zero channels up to a whole block, and all blocks
    together up to a ``multiple``. Of the shuffles in ``names``, those stay as they are that would
    need too many such channels.
    """
    for shuffle in _shuffles(graph):
        block = fitting_block(graph, shuffle, multiple) if shuffle.name in names else None
        if block is not None:
            graph = _with_blocks(graph, _Unit(graph, shuffle), block)
    return graph


def fitting_block(graph: Graph, shuffle: Shuffle, multiple: int) -> int | None:
    """Channels of a block of a shuffle; None where blocks are impossible or too wasteful."""
    channels, groups = graph.shapes[shuffle.output][0], shuffle.groups
    block = -(-channels // groups**2)
    while block * groups**2 % multiple:
        block += 1
    fits = block * groups**2 <= _MOST_GROWTH * channels
    return block if fits and _Unit(graph, shuffle).grouped else None


def shuffled_order(channels: int, groups: int) -> Indices:
    """The source of each channel of a shuffle's output."""
    return np.arange(channels).reshape(groups, -1).T.ravel()


class _Unit:
    """The layers around one shuffle, as far as nobody else reads what lies between them."""

    def __init__(self, graph: Graph, shuffle: Shuffle) -> None:
        readers = Counter(name for layer in graph.layers for name in layer.inputs)
        readers.update(graph.outputs)
        producers = {layer.output: layer for layer in graph.layers}
        self.shuffle = shuffle
        producer = producers.get(shuffle.inputs[0])
        alone = readers[shuffle.inputs[0]] == 1
        self.before = producer if isinstance(producer, Conv) and alone else None
        reader = _only_reader(graph, shuffle.output)
        self.depthwise = reader if reader is not None and reader.depthwise else None
        after = None if self.depthwise is None else _only_reader(graph, self.depthwise.output)
        self.after = after if after is not None and after.groups > 1 else None

    @property
    def grouped(self) -> bool:
        """True if both convolutions have the groups of the shuffle."""
        ends = [conv.groups for conv in (self.before, self.after) if conv is not None]
        return ends == [self.shuffle.groups] * 2


def _only_reader(graph: Graph, value: str) -> Conv | None:
    readers = [layer for layer in graph.layers if value in layer.inputs]
    alone = len(readers) == 1 and value not in graph.outputs
    return readers[0] if alone and isinstance(readers[0], Conv) else None


def _shuffles(graph: Graph) -> tuple[Shuffle, ...]:
    return tuple(layer for layer in graph.layers if isinstance(layer, Shuffle))


def _with_blocks(graph: Graph, unit: _Unit, block: int) -> Graph:
    before, depthwise, after, shuffle = unit.before, unit.depthwise, unit.after, unit.shuffle
    if before is None or depthwise is None or after is None:
        raise AssertionError("only grouped units are rewritten")
    late = _block_channels(len(before.weight), shuffle.groups, block)
    early = late.swapaxes(0, 1)
    # Channels are numbered as after the shuffle; the convolution before it knows another order.
    order = shuffled_order(len(before.weight), shuffle.groups)
    first = replace(
        _with_outputs(before, np.where(early >= 0, order[early], -1)),
        output=f"{before.output}:blocks",
    )
    last = replace(_with_inputs(after, late), inputs=(f"{depthwise.output}:blocks",))
    strided = depthwise.stride != (1, 1)
    middle = replace(
        _with_outputs(depthwise, early if strided else late),
        inputs=(first.output if strided else f"{shuffle.output}:blocks",),
        output=f"{depthwise.output}:unshuffled" if strided else f"{depthwise.output}:blocks",
        groups=late.size,
    )
    move = BlockShuffle(
        name=shuffle.name,
        inputs=(middle.output if strided else first.output,),
        output=f"{depthwise.output}:blocks" if strided else f"{shuffle.output}:blocks",
        groups=shuffle.groups,
        block=late.shape[2],
    )
    large, small = (graph.shapes[conv.output][1:] for conv in (before, depthwise))
    shapes = {
        first.output: (late.size, *large),
        middle.output: (late.size, *small),
        move.output: (late.size, *(small if strided else large)),
    }
    changes: dict[str, tuple[Layer, ...]] = {
        before.name: (first,),
        shuffle.name: (),
        depthwise.name: (middle, move) if strided else (move, middle),
        after.name: (last,),
    }
    return _replacing(graph, changes, shapes)


def _with_dense(graph: Graph, unit: _Unit, multiple: int) -> Graph:
    before, depthwise, after, shuffle = unit.before, unit.depthwise, unit.after, unit.shuffle
    if before is None or depthwise is None or after is None:
        return graph
    count = len(before.weight)
    # Channels are numbered as after the shuffle; further ones are zero.
    channels = np.full(-(-count // multiple) * multiple, -1)
    channels[:count] = np.arange(count)
    order = np.where(channels >= 0, shuffled_order(count, shuffle.groups)[channels], -1)
    first = replace(_with_outputs(_ungrouped(before), order), output=f"{shuffle.output}:dense")
    middle = replace(
        _with_outputs(depthwise, channels),
        inputs=(first.output,),
        output=f"{depthwise.output}:dense",
        groups=len(channels),
    )
    last = replace(
        _with_inputs(_ungrouped(after), channels[None]),
        inputs=(middle.output,),
    )
    shapes = {
        first.output: (len(channels), *graph.shapes[before.output][1:]),
        middle.output: (len(channels), *graph.shapes[depthwise.output][1:]),
    }
    changes: dict[str, tuple[Layer, ...]] = {
        before.name: (first,),
        shuffle.name: (),
        depthwise.name: (middle,),
        after.name: (last,),
    }
    return _replacing(graph, changes, shapes)


def _ungrouped(conv: Conv) -> Conv:
    """The same convolution with one group: zeros where a group does not reach."""
    outputs, inputs = len(conv.weight) // conv.groups, conv.weight.shape[1]
    shape = (len(conv.weight), inputs * conv.groups, *conv.weight.shape[2:])
    weight = np.zeros(shape, np.float32)
    for group in range(conv.groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        weight[rows, group * inputs : (group + 1) * inputs] = conv.weight[rows]
    return replace(conv, weight=weight, groups=1)


def _block_channels(channels: int, groups: int, block: int) -> Indices:
    """(to group, from group, place) -> shuffled channel, or -1 for a channel of zeros."""
    width = channels // groups
    result = np.full((groups, groups, block), -1)
    for channel in range(channels):
        row = result[channel // width, channel % groups]
        row[np.argmax(row < 0)] = channel
    return result


def _with_outputs(conv: Conv, channels: Indices) -> Conv:
    """A convolution with its output channels reordered; -1 is a channel of zeros."""
    weight, bias = _rows(conv.weight, channels.ravel()), _rows(conv.bias, channels.ravel())
    return replace(conv, weight=weight, bias=bias)


def _with_inputs(conv: Conv, late: Indices) -> Conv:
    """A grouped convolution that reads the channels ``late[group]`` in each of its groups."""
    per_group = conv.weight.shape[1]
    outputs = len(conv.weight) // conv.groups
    parts = []
    for group in range(conv.groups):
        columns = late[group].ravel()
        columns = np.where(columns >= 0, columns - group * per_group, -1)
        rows = conv.weight[group * outputs : (group + 1) * outputs].swapaxes(0, 1)
        parts.append(_rows(rows, columns).swapaxes(0, 1))
    return replace(conv, weight=np.ascontiguousarray(np.concatenate(parts)))


def _rows(array: FloatArray, rows: Indices) -> FloatArray:
    taken = array[rows]
    taken[rows < 0] = 0
    return taken


def _replacing(
    graph: Graph,
    changes: Mapping[str, tuple[Layer, ...]],
    shapes: Mapping[str, tuple[int, ...]],
) -> Graph:
    """Replace layers by name; shapes of values that no layer makes any more are dropped."""
    layers = tuple(new for old in graph.layers for new in changes.get(old.name, (old,)))
    known = {**graph.shapes, **shapes}
    values = (graph.input, *(layer.output for layer in layers))
    return replace(graph, layers=layers, shapes={name: known[name] for name in values})
