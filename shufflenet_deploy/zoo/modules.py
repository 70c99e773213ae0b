"""The few modules that torch does not have: the channel shuffle, the gate, dense heads."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


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
