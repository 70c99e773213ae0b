"""Plans of a lowering to NHWC operations, and those of the named lowerings.

What is equal in numbers is not equal in cost: a runtime has a fast kernel for one form of a
shuffle, a border or a first convolution and none for another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from shufflenet_deploy.export.lowering_names import PAPER, Choice
from shufflenet_deploy.network.graph import Graph, Shuffle
from shufflenet_deploy.network.passes.shuffle_rewrites import (
    absorbed,
    after_stride,
    fitting_block,
    in_blocks,
    in_dense,
)


class PaddedAverage(StrEnum):
    """Form of an average pool that counts its padding."""

    POOL = "pool"
    """Zeros around the map, then an average pool."""
    DEPTHWISE = "depthwise"
    """A depthwise convolution whose weights are all 1 / (kh kw)."""


class PadBorder(StrEnum):
    """Form of the padding of a pooled feature map; convolutions have it from their runtime."""

    PAD = "pad"
    """One operation, which LiteRT computes element by element."""
    CONCAT = "concat"
    """Constants joined to each side: whole rows are copied at once."""


class ShuffleForm(StrEnum):
    """Form of a channel shuffle."""

    TRANSPOSE = "transpose"
    """One transpose of (pixels, groups, channels of a group)."""
    BLOCKS = "blocks"
    """A transpose of whole blocks of channels, where the convolutions around it allow."""
    DENSE = "dense"
    """None: the convolutions around it lose their groups and take the order into their weights."""
    FITTING = "fitting"
    """Of those the cheapest that leaves a ``multiple`` of channels to the depthwise convolution."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The choices of a lowering; ``shuffles`` overrides ``shuffle`` by stage, unit or layer.

    ``move_shuffles`` lets convolutions absorb a shuffle or exchange places with it. ``multiple`` is
    what the channels around a depthwise convolution are filled up to. A ``planar_input`` is
    (1, C, H, W), and ``fold_columns`` of it become channels of the first convolution.
    ``split_pools`` takes a maximum over rows first and over columns afterwards.
    """

    move_shuffles: bool = False
    shuffle: ShuffleForm = ShuffleForm.TRANSPOSE
    shuffles: Mapping[str, ShuffleForm] = field(default_factory=dict)
    multiple: int = 1
    padded_average: PaddedAverage = PaddedAverage.POOL
    border: PadBorder = PadBorder.PAD
    planar_input: bool = False
    fold_columns: int = 1
    split_pools: bool = False


_FAST = Plan(
    move_shuffles=True,
    multiple=8,
    padded_average=PaddedAverage.DEPTHWISE,
    border=PadBorder.CONCAT,
)

_CHANNELS_LAST = replace(
    _FAST,
    shuffle=ShuffleForm.FITTING,
    border=PadBorder.PAD,
    planar_input=True,
    fold_columns=8,
    split_pools=True,
)

#: Instructions of 0.5x (g=3, 224x224) decided the choices; millions on a Cortex-A76.
#:
#: LiteRT 2.3: fp32 26.2 as ``paper``, 25.6 with depthwise averages, 24.8 with shuffles moved, 23.7
#: with joined borders (26.0 in blocks); int8 19.1, 17.7, 16.2, 15.3 in blocks, 14.2 with joined
#: borders, 14.1 fitting (dense where blocks would need too many channels of zeros).
#:
#: onnxruntime 1.32, channels last, uint8: 27.7 as pairs of Q and DQ, 20.7 so. A depthwise kernel of
#: 8 channels is up to five times as fast as the one for other numbers; a folded image saves 1.9,
#: split pools 0.6.
_PLANS = {
    PAPER: Plan(),
    **{form.value: replace(_FAST, shuffle=form) for form in ShuffleForm},
    "channels-last": _CHANNELS_LAST,
    "channels-last-signed": _CHANNELS_LAST,
}


def plan(choice: Choice) -> Plan:
    """Plan of a named lowering of an NHWC program."""
    forms = {place: ShuffleForm(form) for place, form in choice.forms}
    return replace(_PLANS[choice.name], shuffles=forms)


def rearranged(graph: Graph, choices: Plan) -> Graph:
    """Rewrite the shuffles of a graph in the form that a plan chooses."""
    forms = {
        layer.name: _form(graph, layer, choices)
        for layer in graph.layers
        if isinstance(layer, Shuffle)
    }
    dense = {name for name, form in forms.items() if form is ShuffleForm.DENSE}
    graph = in_dense(graph, dense, multiple=choices.multiple)
    if choices.move_shuffles:
        graph = absorbed(graph)
    blocks = {name for name, form in forms.items() if form is ShuffleForm.BLOCKS}
    graph = in_blocks(graph, blocks, multiple=choices.multiple)
    return after_stride(graph) if choices.move_shuffles else graph


#: With more groups, dense convolutions multiply by too many zeros.
_MOST_DENSE_GROUPS = 4


def _form(graph: Graph, shuffle: Shuffle, choices: Plan) -> ShuffleForm:
    form = _chosen(shuffle.name, choices)
    if form is not ShuffleForm.FITTING:
        return form
    channels = graph.shapes[shuffle.output][0]
    if channels % choices.multiple == 0:
        return ShuffleForm.TRANSPOSE
    if fitting_block(graph, shuffle, choices.multiple) is not None:
        return ShuffleForm.BLOCKS
    return ShuffleForm.DENSE if shuffle.groups <= _MOST_DENSE_GROUPS else ShuffleForm.TRANSPOSE


def _chosen(name: str, choices: Plan) -> ShuffleForm:
    """The form for the longest name of a stage or unit that a layer lies in."""
    places = [place for place in choices.shuffles if f"{name}.".startswith(f"{place}.")]
    return choices.shuffles[max(places, key=len)] if places else choices.shuffle
