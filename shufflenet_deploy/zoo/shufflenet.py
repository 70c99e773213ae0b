"""ShuffleNet v1, layer by layer as in the paper (arXiv 1707.01083, Figure 2 and Table 1).

Module names are the layer names users see after export: ``stage2.0.compress``, ``.shuffle``, ...
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.config import Shuffle, ShuffleNetConfig
from shufflenet_deploy.zoo.modules import ChannelScale, ChannelShuffle

STAGES = ("stage2", "stage3", "stage4")


class Unit(nn.Module):
    """One ShuffleNet unit: (N, ``inputs``, H, W) -> (N, ``outputs``, H / stride, W / stride).

    Stride 1 adds its input (Figure 2b); stride 2 concatenates the average-pooled input and its own
    ``outputs - inputs`` channels (Figure 2c). There is no ReLU after the depthwise convolution.
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
        branch = outputs - inputs if stride == 2 else outputs
        self.compress = nn.Conv2d(inputs, bottleneck, 1, groups=first_groups, bias=False)
        self.compress_bn = nn.BatchNorm2d(bottleneck)
        self.compress_relu = nn.ReLU()
        self.shuffle = _shuffle(description, bottleneck)
        self.depthwise = nn.Conv2d(
            bottleneck, bottleneck, 3, stride=stride, padding=1, groups=bottleneck, bias=False
        )
        self.depthwise_bn = nn.BatchNorm2d(bottleneck)
        self.expand = nn.Conv2d(bottleneck, branch, 1, groups=groups, bias=False)
        self.expand_bn = nn.BatchNorm2d(branch)
        self.gate = ChannelScale(branch, description.gate) if description.gate else None
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        y = self.compress_relu(self.compress_bn(self.compress(x)))
        if self.shuffle is not None:
            y = self.shuffle(y)
        y = self.depthwise_bn(self.depthwise(y))
        y = self.expand_bn(self.expand(y))
        if self.gate is not None:
            y = self.gate(y)
        y = x + y if self.shortcut is None else torch.cat((self.shortcut(x), y), 1)
        joined: Tensor = self.relu(y)
        return joined


def _shuffle(description: ShuffleNetConfig, channels: int) -> ChannelShuffle | None:
    if description.groups == 1 or description.shuffle is Shuffle.NONE:
        return None
    groups = description.groups
    inverse = description.shuffle is Shuffle.INVERSE
    return ChannelShuffle(channels // groups if inverse else groups, channels)


class ShuffleNet(nn.Module):
    """ShuffleNet v1: (N, 3, H, W) -> logits (N, classes), before any softmax."""

    def __init__(self, description: ShuffleNetConfig) -> None:
        super().__init__()
        stem, bare = description.stem, description.bare_stem
        small = description.small_pictures
        self.stem = nn.Conv2d(3, stem, 3, stride=1 if small else 2, padding=1, bias=bare)
        self.stem_bn = None if bare else nn.BatchNorm2d(stem)
        self.stem_relu = None if bare else nn.ReLU()
        self.stem_pool = None if small else nn.MaxPool2d(3, stride=2, padding=1)
        inputs = stem
        for stage, outputs, bottleneck, repeats in zip(
            STAGES,
            description.widths,
            description.bottlenecks,
            description.repeats,
            strict=True,
        ):
            units = [
                Unit(
                    inputs if index == 0 else outputs,
                    outputs,
                    bottleneck,
                    stride=2 if index == 0 else 1,
                    description=description,
                    first=stage == "stage2" and index == 0,
                )
                for index in range(repeats)
            ]
            setattr(self, stage, nn.Sequential(*units))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, description.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = self.stem(x)
        if self.stem_bn is not None and self.stem_relu is not None:
            x = self.stem_relu(self.stem_bn(x))
        if self.stem_pool is not None:
            x = self.stem_pool(x)
        for stage in STAGES:
            x = getattr(self, stage)(x)
        logits: Tensor = self.classifier(self.flatten(self.pool(x)))
        return logits
