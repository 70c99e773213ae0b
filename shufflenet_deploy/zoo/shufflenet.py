"""ShuffleNet v1, layer by layer as in the paper (arXiv 1707.01083, Figure 2 and Table 1).

Module names are the layer names users see after export: ``stage2.0.compress``, ``.shuffle``, ...
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.config import Pooling, Shuffle, ShuffleNetConfig
from shufflenet_deploy.zoo.modules import (
    ChannelScale,
    ChannelShuffle,
    SameAvgPool2d,
    SameConv2d,
    SameMaxPool2d,
)

STAGES = ("stage2", "stage3", "stage4")


class Unit(nn.Module):
    """One ShuffleNet unit: (N, ``inputs``, H, W) -> (N, ``outputs``, H / stride, W / stride).

    Where the channels stay, the input is added (Figure 2b); where they grow, the average-pooled
    input and ``outputs - inputs`` channels of its own are concatenated (Figure 2c). In the paper
    there is no ReLU after the depthwise convolution, and an input that is concatenated is pooled.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bottleneck: int,
        *,
        stride: int,
        description: ShuffleNetConfig,
        first: bool,
    ) -> None:
        super().__init__()
        groups = description.groups
        first_groups = 1 if first and not description.first_grouped else groups
        self.concatenates = inputs != outputs
        branch = outputs - inputs if self.concatenates else outputs
        self.compress = nn.Conv2d(inputs, bottleneck, 1, groups=first_groups, bias=False)
        self.compress_bn = nn.BatchNorm2d(bottleneck)
        self.compress_relu = nn.ReLU()
        shuffled = description.first_shuffled or not first
        self.shuffle = _shuffle(description, bottleneck) if shuffled else None
        self.depthwise = _convolution(description)(
            bottleneck, bottleneck, 3, stride=stride, padding=1, groups=bottleneck, bias=False
        )
        self.depthwise_bn = nn.BatchNorm2d(bottleneck)
        self.depthwise_relu = nn.ReLU() if description.depthwise_relu else None
        self.expand = nn.Conv2d(bottleneck, branch, 1, groups=groups, bias=False)
        self.expand_bn = nn.BatchNorm2d(branch)
        self.gate = ChannelScale(branch, description.gate) if description.gate else None
        self.shortcut = _average(description.pooling) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        y = self.compress_relu(self.compress_bn(self.compress(x)))
        if self.shuffle is not None:
            y = self.shuffle(y)
        y = self.depthwise_bn(self.depthwise(y))
        if self.depthwise_relu is not None:
            y = self.depthwise_relu(y)
        y = self.expand_bn(self.expand(y))
        if self.gate is not None:
            y = self.gate(y)
        shortcut = x if self.shortcut is None else self.shortcut(x)
        y = torch.cat((shortcut, y), 1) if self.concatenates else shortcut + y
        joined: Tensor = self.relu(y)
        return joined


def _shuffle(description: ShuffleNetConfig, channels: int) -> ChannelShuffle | None:
    if description.groups == 1 or description.shuffle is Shuffle.NONE:
        return None
    groups = description.groups
    inverse = description.shuffle is Shuffle.INVERSE
    return ChannelShuffle(channels // groups if inverse else groups, channels)


def _convolution(description: ShuffleNetConfig) -> type[nn.Conv2d]:
    return SameConv2d if description.pooling is Pooling.SAME else nn.Conv2d


def _average(pooling: Pooling) -> nn.Module:
    match pooling:
        case Pooling.PAPER:
            return nn.AvgPool2d(3, stride=2, padding=1)
        case Pooling.INSIDE:
            return nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        case Pooling.ROUNDED_UP:
            return nn.AvgPool2d(3, stride=2, ceil_mode=True)
        case Pooling.SAME:
            return SameAvgPool2d()
        case Pooling.HALVES:
            return nn.AvgPool2d(2)


def _maximum(pooling: Pooling) -> nn.Module:
    match pooling:
        case Pooling.ROUNDED_UP:
            return nn.MaxPool2d(3, stride=2, ceil_mode=True)
        case Pooling.SAME:
            return SameMaxPool2d()
        case _:
            return nn.MaxPool2d(3, stride=2, padding=1)


class ShuffleNet(Classifier):
    """ShuffleNet v1: (N, 3, H, W) -> logits (N, classes), before any softmax."""

    head_modules = ("pool", "flatten", "classifier")

    def __init__(self, description: ShuffleNetConfig) -> None:
        super().__init__()
        stem, bare = description.stem, description.bare_stem
        small, kernel = description.small_pictures, description.stem_kernel
        self.stem = _convolution(description)(
            3, stem, kernel, stride=1 if small else 2, padding=kernel // 2, bias=bare
        )
        self.stem_bn = None if bare else nn.BatchNorm2d(stem)
        self.stem_relu = None if bare else nn.ReLU()
        self.stem_pool = None if small else _maximum(description.pooling)
        inputs = stem
        for index, (stage, outputs) in enumerate(zip(STAGES, description.widths, strict=True)):
            setattr(self, stage, _stage(description, index, inputs))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, description.classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, widths[2], H / 32, W / 32)."""
        x = self.stem(x)
        if self.stem_bn is not None and self.stem_relu is not None:
            x = self.stem_relu(self.stem_bn(x))
        if self.stem_pool is not None:
            x = self.stem_pool(x)
        for stage in STAGES:
            x = getattr(self, stage)(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.classifier(self.flatten(self.pool(features)))
        return logits


def _stage(description: ShuffleNetConfig, index: int, inputs: int) -> nn.Sequential:
    """Stage ``index`` of 0, 1 and 2: a unit that widens, and others that keep the channels."""
    outputs, bottleneck = description.widths[index], description.bottlenecks[index]
    firsts = description.first_bottlenecks or description.bottlenecks
    stride = description.stage2_stride if index == 0 else 2
    first = Unit(
        inputs, outputs, firsts[index], stride=stride, description=description, first=index == 0
    )
    others = (
        Unit(outputs, outputs, bottleneck, stride=1, description=description, first=False)
        for _ in range(description.repeats[index] - 1)
    )
    return nn.Sequential(first, *others)
