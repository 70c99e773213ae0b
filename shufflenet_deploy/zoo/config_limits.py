"""Limits of what a card may ask for, heads, and input channels: what all configurations share."""

from __future__ import annotations

from abc import abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from shufflenet_deploy.records import Record

if TYPE_CHECKING:
    from torch import nn

#: Channels of a layer and repetitions of a unit: what a network for phones could have, and so what
#: a card or a checkpoint from elsewhere may ask for.
Channels = Annotated[int, Field(gt=0, le=16_384)]
Groups = Annotated[int, Field(gt=0, le=1024)]
Classes = Annotated[int, Field(gt=0, le=100_000)]
ThreeWidths = tuple[Channels, Channels, Channels]
Repeat = Annotated[int, Field(gt=0, le=64)]
ThreeRepeats = tuple[Repeat, Repeat, Repeat]
#: Channels of an image.
MOST_CHANNELS = 1024
ImageChannels = Annotated[int, Field(gt=0, le=MOST_CHANNELS)]
#: What the zoo's networks are trained on.
RGB_CHANNELS = 3
#: Weights of a network in all; VGG-16 has 138M.
MAX_PARAMETERS = 1 << 28


class Head(StrEnum):
    """What a network computes from its last feature map.

    ``FIXED`` averages a map down to the size that fully connected layers were made for; ``DENSE``
    applies them at every position, as convolutions, and averages the logits. With ``NONE`` there is
    no classifier, and the network's output is the feature map.
    """

    FIXED = "fixed"
    DENSE = "dense"
    NONE = "none"


def refuse_enormous(parameters: int) -> None:
    """Raise ``ValueError`` for a network of more than ``MAX_PARAMETERS`` weights."""
    if parameters > MAX_PARAMETERS:
        raise ValueError(f"a network of {parameters / 1e9:.1f} thousand million weights")


class ZooConfig(Record):
    """A network of the zoo; ``channels`` are those of its images: 1 for networks of grey ones."""

    channels: ImageChannels = RGB_CHANNELS

    def build(self, head: Head = Head.FIXED) -> nn.Module:
        """The network with the given ``head``."""
        module = self.for_three_channels(head)
        if self.channels != RGB_CHANNELS:
            _take_channels(module, self.channels)
        return module

    @abstractmethod
    def for_three_channels(self, head: Head) -> nn.Module:
        """The network for RGB images."""


def _take_channels(module: nn.Module, channels: int) -> None:
    """Give the first convolution of a network other input channels."""
    from torch import nn

    name, first = next(
        (name, one) for name, one in module.named_modules() if isinstance(one, nn.Conv2d)
    )
    other = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    module.set_submodule(name, other)
