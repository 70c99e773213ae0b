"""Depthwise bias folding: the bias moves on into the pointwise convolution after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shufflenet_deploy.codegen.ir.window_geometry import is_pointwise
from shufflenet_deploy.network.graph import Activation, Conv, Graph, Layer


def fold_depthwise_bias(graph: Graph) -> Graph:
    """Fold the bias of each depthwise convolution without activation into the next layer.

    Only pointwise convolutions absorb it: a padded one would see the bias in its padding, too.
    """
    users = graph.only_users()
    replaced: dict[str, Layer] = {}
    for layer in graph.layers:
        following = users.get(layer.output)
        if not (
            isinstance(layer, Conv)
            and layer.depthwise
            and layer.activation is Activation.NONE
            and isinstance(following, Conv)
            and is_pointwise(following)
        ):
            continue
        out, per_group = following.weight.shape[:2]
        biases = layer.bias.astype(np.float64).reshape(following.groups, per_group)
        of_output = biases[np.arange(out) // (out // following.groups)]
        moved = (following.weight[:, :, 0, 0] * of_output).sum(axis=1)
        bias = (following.bias + moved).astype(np.float32)
        replaced[layer.name] = replace(layer, bias=np.zeros_like(layer.bias))
        replaced[following.name] = replace(following, bias=bias)
    layers = tuple(replaced.get(layer.name, layer) for layer in graph.layers)
    return replace(graph, layers=layers)
