"""Configurations of the newer networks: ShuffleNet v2, MobileNet v2 and v3, ResNet, PVANET."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from shufflenet_deploy.zoo.config_limits import (
    Channels,
    Classes,
    Head,
    ThreeRepeats,
    ThreeWidths,
    ZooConfig,
    refuse_enormous,
)

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[float, Field(gt=0, le=4)]


class ShuffleNetV2Config(ZooConfig):
    """ShuffleNet v2 (arXiv 1807.11164, Table 5).

    ``widths`` are the output channels of stages 2 to 4, ``last`` those of the pointwise convolution
    behind them. In torchvision's form a unit ends in a channel shuffle, the next one transforms the
    second half of the channels, and both branches of stride 2 make half of the output. An
    ``interleaved`` network is megvii's form: there is no shuffle, a unit transforms every other
    channel, and with stride 2 one branch keeps the number of channels.
    """

    family: Literal["shufflenet-v2"] = "shufflenet-v2"
    stem: Channels = 24
    widths: ThreeWidths
    repeats: ThreeRepeats = (4, 8, 4)
    last: Channels = 1024
    interleaved: bool = False
    classes: Classes = 1000

    @model_validator(mode="after")
    def _buildable(self) -> Self:
        if any(width % 2 for width in self.widths):
            raise ValueError(f"widths of {self.widths} cannot be halved")
        widens = all(before < after for before, after in pairwise((self.stem, *self.widths)))
        if self.interleaved and not widens:
            raise ValueError(f"stages of {self.widths} channels after {self.stem} do not widen")
        units = sum(width**2 * n for width, n in zip(self.widths, self.repeats, strict=True))
        refuse_enormous(units + self.last * (self.widths[-1] + self.classes))
        return self

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.shufflenet_v2 import ShuffleNetV2

        return ShuffleNetV2(self)


class MobileNetV2Config(ZooConfig):
    """MobileNet v2 (arXiv 1801.04381) with a width multiplier; channels are multiples of 8."""

    family: Literal["mobilenet-v2"] = "mobilenet-v2"
    width: Width
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.mobilenet_v2 import MobileNetV2

        return MobileNetV2(self.width, self.classes)


class MobileNetV3Config(ZooConfig):
    """MobileNet v3 (arXiv 1905.02244, Tables 1 and 2): the large or the small one."""

    family: Literal["mobilenet-v3"] = "mobilenet-v3"
    size: Literal["large", "small"]
    width: Width = 1.0
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.mobilenet_v3 import MobileNetV3

        return MobileNetV3(self.size, self.width, self.classes)


class ResNetConfig(ZooConfig):
    """ResNet of basic blocks (arXiv 1512.03385, Table 1); 18 layers.

    ``small_pictures`` keeps the size through the stem (3x3, stride 1, no max pool), as is done for
    32x32 images.
    """

    family: Literal["resnet"] = "resnet"
    layers: Literal[18] = 18
    small_pictures: bool = False
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.resnet import ResNet18

        return ResNet18(self.classes, small_pictures=self.small_pictures)


class PvaNetConfig(ZooConfig):
    """PVANET (arXiv 1608.08021) as a classifier, with two hidden layers of ``hidden`` features."""

    family: Literal["pvanet"] = "pvanet"
    hidden: Channels = 2048
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network with the given ``head``."""
        from shufflenet_deploy.zoo.pvanet import PvaNet

        return PvaNet(self.hidden, self.classes, head)
