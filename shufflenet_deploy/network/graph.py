"""A network as a list of layers with static shapes: the input of every lowering.

The batch is always one and implied, so a feature map is ``(channels, height, width)`` and a vector
is ``(features,)``. Batch normalization is already folded, dropout is gone, and a ReLU that follows
a layer is that layer's ``activation``. Layers are in topological order.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Pair = tuple[int, int]


class Activation(StrEnum):
    """The element-wise function at the end of a layer."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    SIGMOID = "sigmoid"
    HARD_SIGMOID = "hard-sigmoid"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operation: reads ``inputs``, writes ``output`` (names of values).

    ``name`` is the module path in the network, such as ``stage2.0.compress``; unique in a graph.
    """

    name: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, kw_only=True)
class Conv(Layer):
    """Grouped convolution; ``weight`` is ``(out, in / groups, kh, kw)``, ``bias`` is ``(out,)``.

    ``padding`` is ``(top, left, bottom, right)``.
    """

    weight: FloatArray
    bias: FloatArray
    stride: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    activation: Activation = Activation.NONE

    @property
    def depthwise(self) -> bool:
        """True if every channel is convolved on its own."""
        return bool(self.groups == self.weight.shape[0] and self.weight.shape[1] == 1)


@dataclass(frozen=True, kw_only=True)
class Dense(Layer):
    """Fully connected: ``weight`` is ``(out, in)``, applied to a vector."""

    weight: FloatArray
    bias: FloatArray
    activation: Activation = Activation.NONE


class PoolKind(StrEnum):
    """The reduction of a window."""

    MAX = "max"
    AVERAGE = "average"


@dataclass(frozen=True, kw_only=True)
class Pool(Layer):
    """Max or average over windows.

    ``padding`` is ``(top, left, bottom, right)``; with ``ceil_mode`` the tracer has already made
    bottom and right large enough. ``count_padding`` is whether an average divides by the whole
    window (PyTorch's default) or by the pixels inside the image.
    """

    kind: PoolKind
    kernel: Pair
    stride: Pair
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    count_padding: bool = True
    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class AdaptiveAveragePool(Layer):
    """Average over a grid of ``size`` nearly equal windows (PyTorch's rule); (1, 1) is global."""

    size: Pair


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Element-wise sum of two values of one shape."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class Multiply(Layer):
    """A feature map times a channel scale of shape ``(channels, 1, 1)``."""


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Feature maps joined along channels, in the order of ``inputs``."""

    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class Shuffle(Layer):
    """Channel shuffle (paper, section 3.1): view (g, C/g), transpose, flatten.

    Output channel ``i * groups + j`` is input channel ``j * (C / groups) + i``.
    """

    groups: int


@dataclass(frozen=True, kw_only=True)
class LocalResponseNorm(Layer):
    """AlexNet's normalisation across ``size`` channels: x / (k + alpha / size * sum x^2)^beta."""

    size: int
    alpha: float
    beta: float
    k: float


@dataclass(frozen=True, kw_only=True)
class Elementwise(Layer):
    """An activation that could not be merged into the layer before it."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """A feature map as a vector, channel by channel (PyTorch's order)."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole network: one input image, one vector (or map) of logits."""

    name: str
    input: str
    output: str
    layers: tuple[Layer, ...]
    shapes: dict[str, tuple[int, ...]]

    def users(self) -> defaultdict[str, list[Layer]]:
        """The layers that read each value, in order; none of a value that nobody reads."""
        found: defaultdict[str, list[Layer]] = defaultdict(list)
        for layer in self.layers:
            for value in layer.inputs:
                found[value].append(layer)
        return found

    def only_users(self) -> dict[str, Layer]:
        """The layer that reads a value, for each that one does and that is not the output."""
        return {
            value: readers[0]
            for value, readers in self.users().items()
            if len(readers) == 1 and value != self.output
        }
