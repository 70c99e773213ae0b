"""Network configurations: one frozen record per family, read from cards and checkpoints.

Importing this module is cheap; ``build`` imports torch and the family's own module.
"""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from shufflenet_deploy.records import Record
from shufflenet_deploy.zoo.config_limits import (
    Channels,
    Classes,
    Groups,
    Head,
    ThreeRepeats,
    ThreeWidths,
    ZooConfig,
    refuse_enormous,
)
from shufflenet_deploy.zoo.mobile_config import (
    MobileNetV2Config,
    MobileNetV3Config,
    PvaNetConfig,
    ResNetConfig,
    ShuffleNetV2Config,
)
from shufflenet_deploy.zoo.own_network import FileConfig, PythonConfig

if TYPE_CHECKING:
    from torch import nn

Three = tuple[int, int, int]
#: One number per channel.
Colour = Annotated[tuple[float, ...], Field(min_length=1, max_length=1024)]

#: Units in stages 2, 3 and 4 (paper, Table 1: one with stride 2, then 3, 7 and 3 without).
REPEATS: Three = (4, 8, 4)

#: Output channels of stage 2 at scale 1x, per number of groups (paper, Table 1).
STAGE2_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}


class Shuffle(StrEnum):
    """Channel shuffle of a unit: as in section 3.1 of the paper, its inverse, or none.

    ``INVERSE`` is the permutation that undoes the paper's: view (C/g, g), transpose, flatten.
    """

    PAPER = "paper"
    INVERSE = "inverse"
    NONE = "none"


#: Order of an image's channels; ``L`` is luminance.
ChannelOrder = Literal["RGB", "BGR", "L"]


class Pooling(StrEnum):
    """Windows of a ShuffleNet's pools: 3x3 with stride 2 and a border of one pixel in the paper."""

    PAPER = "paper"
    """The border counts in averages, as zeros (PyTorch's default)."""
    INSIDE = "inside"
    """Averages are of the pixels inside the image alone (ONNX's default)."""
    ROUNDED_UP = "rounded-up"
    """No border; windows are cut off at the bottom and right of the image (Caffe)."""
    SAME = "same"
    """TensorFlow's: an even size has its border at the bottom and right only, in averages it never
    counts. Strided convolutions have this border, too."""
    HALVES = "halves"
    """Shortcuts average 2x2 pixels."""


class Preprocessing(Record):
    """From an image to the network's input: resize, crop, scale, subtract ``mean``, over ``std``.

    ``resize`` is the length of the shorter side before the centre crop of ``crop`` pixels, at the
    default resolution. Pixels are scaled to ``value_range``, in which ``mean`` and ``std`` are
    given, one number per channel in ``channel_order``: ``L`` is the luminance of the image, in
    every channel of a network that takes one channel or more than three.
    """

    resize: int = Field(default=256, gt=0, le=16_384)
    crop: int = Field(default=224, gt=0, le=16_384)
    channel_order: ChannelOrder = "RGB"
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _scales(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} numbers of mean and {len(self.std)} of std")
        if self.channel_order != "L" and self.channels != 3:
            raise ValueError(f"{self.channels} channels are L, not {self.channel_order}")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std} must be above 0")
        if self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"value_range {self.value_range} must ascend")
        return self

    @property
    def channels(self) -> int:
        """Channels of the network's input."""
        return len(self.mean)

    @classmethod
    def usual(cls, channels: int) -> Self:
        """ImageNet's for three channels; for others that of its luminance in every channel."""
        if channels == 3:
            return cls()
        return cls(channel_order="L", mean=(0.449,) * channels, std=(0.226,) * channels)


class ShuffleNetConfig(ZooConfig):
    """ShuffleNet v1 (paper, Table 1) and its relatives that replace the unit (Table 4).

    ``stem`` is the first convolution's channels, ``widths`` the output channels of stages 2 to 4,
    ``bottlenecks`` the channels between the two pointwise convolutions of a unit. ``gate`` is the
    reduction of a squeeze-and-excitation gate, 0 for none.

    The others exist for networks trained elsewhere. ``bare_stem`` is a biased first convolution
    without normalisation or ReLU, of ``stem_kernel`` pixels. ``small_pictures`` keeps the size
    through the stem (stride 1, no max pool), as is done for 32x32 images, and ``stage2_stride=1``
    through stage 2, whose first unit then concatenates its own input. In the very first unit
    ``first_grouped`` groups the first pointwise convolution and ``first_shuffled=False`` leaves the
    shuffle out. ``first_bottlenecks`` are those of each stage's first unit where they differ, and
    ``depthwise_relu`` puts a ReLU behind the depthwise convolutions.
    """

    family: Literal["shufflenet"] = "shufflenet"
    groups: Groups
    stem: Channels
    widths: ThreeWidths
    bottlenecks: ThreeWidths
    repeats: ThreeRepeats = REPEATS
    classes: Classes = 1000
    gate: int = Field(default=0, ge=0, le=16_384)
    shuffle: Shuffle = Shuffle.PAPER
    pooling: Pooling = Pooling.PAPER
    bare_stem: bool = False
    stem_kernel: Literal[1, 3] = 3
    first_grouped: bool = False
    first_shuffled: bool = True
    first_bottlenecks: ThreeWidths | None = None
    depthwise_relu: bool = False
    small_pictures: bool = False
    stage2_stride: Literal[1, 2] = 2

    @property
    def variant(self) -> tuple[object, ...]:
        """What another implementation computes differently: equal in two forms of one network."""
        units = (self.first_bottlenecks, self.first_shuffled, self.depthwise_relu)
        return (*units, self.pooling, self.stem_kernel, self.stage2_stride)

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        inputs = self.stem
        firsts = self.first_bottlenecks or self.bottlenecks
        for width, *bottlenecks in zip(self.widths, self.bottlenecks, firsts, strict=True):
            for channels in (width - inputs, *bottlenecks):
                if channels <= 0 or channels % self.groups:
                    raise ValueError(
                        f"{channels} channels cannot be split into {self.groups} groups"
                    )
            inputs = width
        stages = zip(self.widths, self.bottlenecks, self.repeats, strict=True)
        gates = 2 * max(self.widths) ** 2 // self.gate if self.gate else 0
        units = sum(n * (2 * width * inner // self.groups + gates) for width, inner, n in stages)
        units += sum(2 * width * inner for width, inner in zip(self.widths, firsts, strict=True))
        refuse_enormous(units + self.widths[-1] * self.classes)
        if self.first_grouped and self.stem % self.groups:
            raise ValueError(f"a stem of {self.stem} cannot be split into {self.groups} groups")
        return self

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; ``head`` is of no concern to a network that ends in a global average."""
        del head
        from shufflenet_deploy.zoo.shufflenet import ShuffleNet

        return ShuffleNet(self)


class Table4Config(ZooConfig):
    """ShuffleNet with another unit in stages 2 to 4, for Table 4 of the paper."""

    family: Literal["comparison"] = "comparison"
    unit: Literal["vgg-like", "resnet", "resnext"]
    stem: Channels
    widths: ThreeWidths
    cardinality: Groups = 1
    repeats: ThreeRepeats = REPEATS
    classes: Classes = 1000

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        units = sum(18 * width**2 * n for width, n in zip(self.widths, self.repeats, strict=True))
        refuse_enormous(units + self.widths[-1] * self.classes)
        channels = (self.stem, *self.widths)
        widens = all(before < after for before, after in pairwise(channels))
        if min(self.widths) < 4 or (self.unit == "resnext" and not widens):
            raise ValueError(f"stages of {self.widths} channels after {self.stem} do not widen")
        return self

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.table4 import ComparisonNet

        return ComparisonNet(self)


class AlexNetConfig(ZooConfig):
    """AlexNet: torchvision's single-column form, or Caffe's with groups and LRN."""

    family: Literal["alexnet"] = "alexnet"
    form: Literal["torchvision", "caffe"]
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network with the given ``head``."""
        from shufflenet_deploy.zoo.alexnet import AlexNet, CaffeAlexNet

        form = AlexNet if self.form == "torchvision" else CaffeAlexNet
        return form(self.classes, head)


class VggConfig(ZooConfig):
    """VGG-16 without batch normalisation (configuration D)."""

    family: Literal["vgg"] = "vgg"
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network with the given ``head``."""
        from shufflenet_deploy.zoo.vgg import Vgg16

        return Vgg16(self.classes, head)


class MobileNetConfig(ZooConfig):
    """MobileNet v1 with a width multiplier."""

    family: Literal["mobilenet"] = "mobilenet"
    width: float = Field(gt=0, le=4)
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.mobilenet import MobileNet

        return MobileNet(self.width, self.classes)


class SqueezeNetConfig(ZooConfig):
    """SqueezeNet 1.0 or 1.1."""

    family: Literal["squeezenet"] = "squeezenet"
    version: Literal["1.0", "1.1"]
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.squeezenet import SqueezeNet

        return SqueezeNet(self.version, self.classes)


class GoogLeNetConfig(ZooConfig):
    """GoogLeNet (Inception v1) in torchvision's form: batch normalisation, no auxiliary heads."""

    family: Literal["googlenet"] = "googlenet"
    classes: Classes = 1000

    def for_three_channels(self, head: Head) -> nn.Module:
        """The network; it ends in a global average, so ``head`` changes nothing."""
        del head
        from shufflenet_deploy.zoo.googlenet import GoogLeNet

        return GoogLeNet(self.classes)


Description = Annotated[
    ShuffleNetConfig
    | Table4Config
    | AlexNetConfig
    | VggConfig
    | MobileNetConfig
    | SqueezeNetConfig
    | GoogLeNetConfig
    | ShuffleNetV2Config
    | MobileNetV2Config
    | MobileNetV3Config
    | ResNetConfig
    | PvaNetConfig
    | PythonConfig
    | FileConfig,
    Field(discriminator="family"),
]


def shufflenet(groups: int, scale: float) -> ShuffleNetConfig:
    """ShuffleNet ``scale`` x with ``groups`` groups.

    Widths are Table 1's times ``scale``, doubled from stage to stage, and bottlenecks a quarter of
    them, to the nearest multiple of ``groups``. The paper scales the number of filters but not the
    first convolution's in step: its 13M, 38M, 140M, 292M and 524M are met with 12, 12, 24, 24 and
    48 filters (and not with 24 x scale), so that is the rule here. They must be a multiple of
    ``groups``: with 8 groups 12 becomes 16, but 8 below half width, the nearer one in cost.

    Raises:
        ValueError: Table 1 has no such number of groups, or the channels cannot be divided.
    """
    if groups not in STAGE2_CHANNELS:
        raise ValueError(f"Table 1 has 1, 2, 3, 4 and 8 groups, not {groups}")
    stage2 = STAGE2_CHANNELS[groups] * scale
    if stage2 < 1 or abs(stage2 - round(stage2)) > 1e-6:
        raise ValueError(f"{STAGE2_CHANNELS[groups]} channels of stage 2 times {scale} is no whole")
    stage2 = round(stage2)
    stem = 48 if scale >= 2 else 24 if scale >= 1 else 12
    if stem % groups:
        stem += groups - stem % groups if scale >= 0.5 else -(stem % groups)
    widths = (stage2, 2 * stage2, 4 * stage2)
    first, second, third = (bottleneck_of(width, groups) for width in widths)
    return ShuffleNetConfig(
        groups=groups, stem=stem, widths=widths, bottlenecks=(first, second, third)
    )


def bottleneck_of(width: int, groups: int) -> int:
    """A quarter of ``width`` (paper, section 3.2) to the nearest multiple of ``groups``."""
    return max(groups, int(width / 4 / groups + 0.5) * groups)


#: What the paper's own networks have in common.
PAPER_VARIANT = shufflenet(groups=3, scale=1).variant
