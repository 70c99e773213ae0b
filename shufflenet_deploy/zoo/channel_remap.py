"""Reordering another implementation's channels so that the paper's network computes the same.

Everything here is exact: channels move, and a bias before a normalisation becomes part of its
running mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from shufflenet_deploy.zoo.config import Shuffle, ShuffleNetConfig
from shufflenet_deploy.zoo.layout import CONVOLUTIONS, NORM_FIELDS, Layout

State = dict[str, Tensor]


def rewire(
    layout: Layout, description: ShuffleNetConfig, tensors: Mapping[str, Tensor]
) -> tuple[ShuffleNetConfig, State]:
    """Our description and state dict for ``tensors``, already named as ours but in their order.

    The inverse shuffle is turned into the paper's where both deal as many channels from each group
    to each other; where they do not, the description keeps it.
    """
    state = dict(tensors)
    if layout.biased or layout.stem_biased:
        _absorb_biases(state)
    state.setdefault("classifier.bias", torch.zeros(description.classes))
    if not layout.pool_first:
        _reverse(state)
    moved = layout.shuffles_after_depthwise or description.shuffle is Shuffle.INVERSE
    if description.groups > 1 and moved:
        description = _reshuffle(layout, description, state)
    return description, {key: tensor.contiguous() for key, tensor in state.items()}


def _absorb_biases(state: State) -> None:
    """Norm(conv + bias) = (norm with its mean less the bias)(conv)."""
    for key in [key for key in state if key.endswith(".bias")]:
        mean = f"{key.removesuffix('.bias')}_bn.running_mean"
        if mean in state:
            bias = state.pop(key)
            state[mean] = (state[mean].double() - bias.double()).float()


def _reverse(state: State) -> None:
    """Reverse every channel dimension, which turns (branch, pool) into (pool, branch).

    Reversed groups are groups, and the shuffle commutes with reversal, so nothing else changes.
    The image's colours and the classes stay in order.
    """
    for key, tensor in state.items():
        if key.startswith("classifier"):
            state[key] = tensor.flip(1) if tensor.ndim == 2 else tensor
        elif tensor.ndim == 4 and not key.startswith("stem"):
            state[key] = tensor.flip(0, 1)
        else:
            state[key] = tensor.flip(0)


def _reshuffle(layout: Layout, description: ShuffleNetConfig, state: State) -> ShuffleNetConfig:
    groups = description.groups
    orders = [
        _orders(groups, channels, inverse=description.shuffle is Shuffle.INVERSE)
        for channels in description.bottlenecks
    ]
    solved = [order for order in orders if order is not None]
    if len(solved) == len(orders):
        description = description.model_copy(update={"shuffle": Shuffle.PAPER})
    for stage, channels in enumerate(description.bottlenecks):
        theirs = shuffle_order(_shuffle_groups(description, layout, channels), channels)
        identity = torch.arange(channels)
        before, after = solved[stage] if len(solved) == len(orders) else (identity, identity)
        for index in range(description.repeats[stage]):
            unit = f"stage{stage + 2}.{index}"
            # Their depthwise channels, as ordered after the shuffle, then in our order.
            depthwise = theirs[after] if layout.shuffles_after_depthwise else after
            _reorder_unit(state, unit, before, depthwise)
            _reorder_inputs(state, f"{unit}.expand.weight", after, groups)
    return description


def _shuffle_groups(description: ShuffleNetConfig, layout: Layout, channels: int) -> int:
    """Number of groups of their shuffle: C / g when it is the inverse one."""
    if layout.shuffle is Shuffle.INVERSE:
        return channels // description.groups
    return description.groups


def shuffle_order(groups: int, channels: int) -> Tensor:
    """Permutation of a channel shuffle: input channel by output channel (paper, section 3.1)."""
    return torch.arange(channels).view(groups, channels // groups).t().reshape(-1)


def _orders(groups: int, channels: int, *, inverse: bool) -> tuple[Tensor, Tensor] | None:
    """Orders of the channels before and after the shuffle that turn theirs into the paper's.

    Our channel ``c`` before the shuffle is their ``before[c]``, and likewise after it. Channels
    only move inside their groups, or the grouped convolutions around would see others. None when
    the two shuffles move different numbers of channels between some pair of groups.
    """
    if not inverse:
        return torch.arange(channels), torch.arange(channels)
    ours = shuffle_order(groups, channels).tolist()
    theirs = shuffle_order(channels // groups, channels).tolist()
    size = channels // groups
    waiting: dict[tuple[int, int], list[int]] = {}
    for place, source in enumerate(theirs):
        waiting.setdefault((source // size, place // size), []).append(place)
    before, after = [0] * channels, [0] * channels
    for place, source in enumerate(ours):
        places = waiting.get((source // size, place // size))
        if not places:
            return None
        after[place] = places.pop(0)
        before[source] = theirs[after[place]]
    return torch.tensor(before), torch.tensor(after)


def _reorder_unit(state: State, unit: str, before: Tensor, depthwise: Tensor) -> None:
    """Reorder what makes the bottleneck's channels: the outputs of compress and of depthwise."""
    for part, order in zip(CONVOLUTIONS[:2], (before, depthwise), strict=True):
        state[f"{unit}.{part}.weight"] = state[f"{unit}.{part}.weight"][order]
        for name in NORM_FIELDS:
            key = f"{unit}.{part}_bn.{name}"
            state[key] = state[key][order]


def _reorder_inputs(state: State, key: str, order: Tensor, groups: int) -> None:
    """Reorder the input channels of a grouped convolution, inside each group."""
    weight = state[key]
    size = weight.shape[1]
    outputs = weight.shape[0] // groups
    parts = [
        weight[group * outputs : (group + 1) * outputs][
            :, order[group * size : (group + 1) * size] - group * size
        ]
        for group in range(groups)
    ]
    state[key] = torch.cat(parts)
