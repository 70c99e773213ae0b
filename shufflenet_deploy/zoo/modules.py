"""Modules of several networks: the channel shuffle, the gate, convolutions, dense heads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class ChannelShuffle(nn.Module):
    """Deal the channels of ``groups`` groups out in turn (paper, section 3.1 and Figure 1c).

    (N, C, H, W) -> the same shape; output channel ``i * groups + j`` is input channel
    ``j * C / groups + i``. Applied with ``C / groups`` instead of ``groups`` it undoes itself.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle the channels of ``x``."""
        height, width = x.shape[2], x.shape[3]
        x = x.view(x.shape[0], self.groups, self.channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(x.shape[0], self.channels, height, width)

    def extra_repr(self) -> str:
        """The two numbers that define it."""
        return f"groups={self.groups}, channels={self.channels}"


class ChannelScale(nn.Module):
    """Squeeze-and-excitation: scale each channel by a number seen from the whole image.

    (N, C, H, W) -> the same shape. Pointwise convolutions stand for the fully connected layers.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // reduction, 1)
        self.relu = nn.ReLU()
        self.restore = nn.Conv2d(channels // reduction, channels, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Gate the channels of ``x``."""
        scale: Tensor = self.sigmoid(self.restore(self.relu(self.reduce(self.squeeze(x)))))
        return x * scale


class SameConv2d(nn.Conv2d):
    """A convolution of 3x3 or 1x1 with TensorFlow's SAME padding, whatever ``padding`` says.

    With stride 2 an even size has one pixel of padding at the bottom and right only.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(N, inputs, H, W) -> (N, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.stride[0] == 1 or self.kernel_size[0] == 1:
            return super().forward(input)
        height, width = input.shape[2], input.shape[3]
        x = functional.pad(input, (width % 2, 1, height % 2, 1))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, groups=self.groups)


class SameMaxPool2d(nn.Module):
    """The maximum of 3x3 with stride 2 and TensorFlow's SAME padding."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        border = (x.shape[2] % 2, x.shape[3] % 2)
        return functional.max_pool2d(x, 3, 2, border, ceil_mode=True)


class SameAvgPool2d(nn.Module):
    """The average of 3x3 with stride 2 and TensorFlow's SAME padding, which does not count."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        border = (x.shape[2] % 2, x.shape[3] % 2)
        return functional.avg_pool2d(x, 3, 2, border, ceil_mode=True, count_include_pad=False)


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, but no less than 8 or nine tenths of ``channels``."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def normalised_conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    activation: type[nn.Module] | None = nn.ReLU,
    stride: int = 1,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> nn.Sequential:
    """A convolution that keeps the size but for ``stride``, its normalisation, its activation."""
    convolution = nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
    )
    last = [] if activation is None else [activation()]
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, eps=epsilon), *last)


def fully_connected(
    inputs: int, outputs: int, *, dense: bool, size: int = 1
) -> nn.Linear | nn.Conv2d:
    """A layer over ``inputs`` channels of a ``size`` x ``size`` map; ``dense``: over every window.

    A dense layer is a convolution with the same numbers: state dicts of either form load.
    """
    if not dense:
        return nn.Linear(inputs * size * size, outputs)
    convolution = nn.Conv2d(inputs, outputs, size)
    convolution.register_load_state_dict_pre_hook(_reshape_linear)  # type: ignore[no-untyped-call]
    return convolution


def _reshape_linear(module: nn.Module, state: dict[str, Any], prefix: str, *_rest: object) -> None:
    key = f"{prefix}weight"
    weight, wanted = state.get(key), module.get_parameter("weight")
    if isinstance(weight, Tensor) and weight.ndim == 2 and weight.numel() == wanted.numel():
        state[key] = weight.reshape(wanted.shape)
