"""A network as a list of layers with static shapes: the input of every lowering.

The batch is always one and implied, so a feature map is ``(channels, height, width)`` and a vector
is ``(features,)``; between reshapes, heads may have values of any rank. Axes and permutations count
without the batch. Batch normalization is already folded, dropout is gone, and a ReLU that follows a
layer is that layer's ``activation``. Layers are in topological order, and each reads at least one
value: constants are fields of the layers that use them.
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
    TANH = "tanh"
    HARD_SWISH = "hard-swish"
    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu-tanh"
    """GELU by its approximation with tanh."""
    MISH = "mish"


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
    dilation: Pair = (1, 1)
    activation: Activation = Activation.NONE

    @property
    def window(self) -> Pair:
        """Height and width that the dilated kernel covers."""
        height, width = self.weight.shape[2:]
        return (height - 1) * self.dilation[0] + 1, (width - 1) * self.dilation[1] + 1

    @property
    def depthwise(self) -> bool:
        """True if every channel is convolved on its own."""
        return bool(self.groups == self.weight.shape[0] and self.weight.shape[1] == 1)


@dataclass(frozen=True, kw_only=True)
class ConvTranspose(Layer):
    """Transposed convolution; ``weight`` is ``(in, out / groups, kh, kw)``, ``bias`` ``(out,)``.

    ``cropping`` is what is cut off the full result, ``(top, left, bottom, right)``, so an output is
    ``(in - 1) * stride + (kernel - 1) * dilation + 1 - cropping`` high and wide. It is negative at
    the bottom or right where an output padding is larger than the padding: zeros and the bias.
    """

    weight: FloatArray
    bias: FloatArray
    stride: Pair = (1, 1)
    cropping: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    dilation: Pair = (1, 1)
    activation: Activation = Activation.NONE


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


class ArithmeticKind(StrEnum):
    """An operation of two operands, element by element."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    DIVIDE = "divide"
    MAXIMUM = "maximum"
    MINIMUM = "minimum"


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Layer):
    """Two operands with broadcasting: two values, or one value and a ``constant``.

    Operands of unequal rank are aligned at their last axis, as in NumPy. With ``reverse`` the
    constant is the left operand. What ``Add``, ``Multiply`` or a convolution can say is one of
    these after ``simplify``.
    """

    kind: ArithmeticKind
    constant: FloatArray | None = None
    reverse: bool = False
    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Values joined along ``axis`` (0: channels), in the order of ``inputs``."""

    axis: int = 0
    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """Elements ``start``, ``start + step``, ... before ``stop`` along ``axis``; all positive."""

    axis: int
    start: int
    stop: int
    step: int = 1


class PadMode(StrEnum):
    """What a padded map has outside."""

    CONSTANT = "constant"
    REFLECT = "reflect"
    """The map mirrored at its border pixels, which are not repeated."""
    REPLICATE = "replicate"
    """The nearest border pixel."""


@dataclass(frozen=True, kw_only=True)
class Pad(Layer):
    """A feature map with a border of ``padding`` (top, left, bottom, right) pixels."""

    padding: tuple[int, int, int, int]
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0


class ResizeMode(StrEnum):
    """How a resized map's pixels follow from the old ones."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"


class Sampling(StrEnum):
    """Which place of the old map a pixel of the new one stands for.

    With ``scale = old / new`` along an axis, pixel ``i`` stands for:
    """

    HALF_PIXEL = "half-pixel"
    """``(i + 0.5) * scale - 0.5``, not below 0; for nearest: the floor of ``(i + 0.5) * scale``."""
    ASYMMETRIC = "asymmetric"
    """``i * scale``; for nearest its floor, PyTorch's ``nearest``."""
    ALIGN_CORNERS = "align-corners"
    """``i * (old - 1) / (new - 1)``; for nearest rounded, halves up."""


@dataclass(frozen=True, kw_only=True)
class Resize(Layer):
    """A feature map scaled to ``size`` (height, width)."""

    size: Pair
    mode: ResizeMode
    sampling: Sampling


@dataclass(frozen=True, kw_only=True)
class DepthToSpace(Layer):
    """Pixel shuffle: channel ``c * block^2 + y * block + x`` goes to pixel (y, x) of each block."""

    block: int


@dataclass(frozen=True, kw_only=True)
class SpaceToDepth(Layer):
    """Pixel unshuffle, the inverse of ``DepthToSpace``."""

    block: int


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
class Normalize(Layer):
    """Layer, group or instance norm: ``(x - mean) / sqrt(variance + epsilon) * scale + shift``.

    Mean and variance are those of all elements that differ along ``axes`` only. With several
    ``groups`` the first axis is so many parts, each normalised by itself over all axes. ``scale``
    and ``shift`` have as many axes as the value, each of its size or 1.
    """

    axes: tuple[int, ...]
    epsilon: float
    scale: FloatArray
    shift: FloatArray
    groups: int = 1


@dataclass(frozen=True, kw_only=True)
class Power(Layer):
    """``x`` to the power of a constant; 0.5 is the square root."""

    exponent: float


@dataclass(frozen=True, kw_only=True)
class Elementwise(Layer):
    """An activation that could not be merged into the layer before it."""

    activation: Activation


@dataclass(frozen=True, kw_only=True)
class LeakyRelu(Layer):
    """``x`` where it is positive, else ``x * slope``; one slope ``(1,)`` or one per channel."""

    slope: FloatArray


@dataclass(frozen=True, kw_only=True)
class Elu(Layer):
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""

    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Clip(Layer):
    """``min(max(x, low), high)``; a bound may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Softmax(Layer):
    """``exp(x) / sum(exp(x))`` along ``axis``; its logarithm with ``logarithm``."""

    axis: int = 0
    logarithm: bool = False


class ReduceKind(StrEnum):
    """What a reduction computes of each set of elements."""

    MEAN = "mean"
    SUM = "sum"
    MAX = "max"


@dataclass(frozen=True, kw_only=True)
class Reduce(Layer):
    """A reduction over ``axes``, which are 1 afterwards (``keep``) or gone.

    A mean over the height and width of a map that keeps them is an ``AdaptiveAveragePool``.
    """

    kind: ReduceKind
    axes: tuple[int, ...]
    keep: bool = True


@dataclass(frozen=True, kw_only=True)
class Reshape(Layer):
    """The elements in the same order, in another shape."""

    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Permute(Layer):
    """Axes in another order: axis ``i`` of the output is axis ``order[i]`` of the input."""

    order: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Flatten(Layer):
    """A feature map as a vector, channel by channel (PyTorch's order)."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole network: one input image, one or more outputs (logits, feature maps, heads)."""

    name: str
    input: str
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    shapes: dict[str, tuple[int, ...]]

    @property
    def output(self) -> str:
        """The first output, a classifier's only one."""
        return self.outputs[0]

    def users(self) -> defaultdict[str, list[Layer]]:
        """The layers that read each value, in order; none of a value that nobody reads."""
        found: defaultdict[str, list[Layer]] = defaultdict(list)
        for layer in self.layers:
            for value in layer.inputs:
                found[value].append(layer)
        return found

    def only_users(self) -> dict[str, Layer]:
        """The layer that reads a value, for each that one does and that is no output."""
        return {
            value: readers[0]
            for value, readers in self.users().items()
            if len(readers) == 1 and value not in self.outputs
        }
