"""The networks of the paper's Table 4: ShuffleNet's plan with the units of other families.

Section 4.2 names the units and that channels are chosen for equal cost; how a unit of stride 2
changes the size is not stated. Here ResNet's projects its shortcut and ResNeXt's concatenates the
pooled input as ShuffleNet's does: with those, the 192 channels that the paper reports for stage 4
of both at 38M give 38.1M and 38.3M. (Xception-like is ShuffleNet with one group.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.config import Table4Config

STAGES = ("stage2", "stage3", "stage4")


class VggUnit(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and ReLU; no shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_bn = nn.BatchNorm2d(outputs)
        self.first_relu = nn.ReLU()
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_bn = nn.BatchNorm2d(outputs)
        self.second_relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        x = self.first_relu(self.first_bn(self.first(x)))
        y: Tensor = self.second_relu(self.second_bn(self.second(x)))
        return y


class BottleneckUnit(nn.Module):
    """1x1, 3x3 in ``cardinality`` groups, 1x1, around a shortcut.

    ``projects`` chooses ResNet's shortcut where the size changes, a strided 1x1 convolution; else
    the pooled input is concatenated, as in ShuffleNet.
    """

    def __init__(
        self, inputs: int, outputs: int, bottleneck: int, *, stride: int, cardinality: int
    ) -> None:
        super().__init__()
        projects = stride == 2 and cardinality == 1
        concatenates = stride == 2 and not projects
        branch = outputs - inputs if concatenates else outputs
        self.compress = nn.Conv2d(inputs, bottleneck, 1, bias=False)
        self.compress_bn = nn.BatchNorm2d(bottleneck)
        self.compress_relu = nn.ReLU()
        self.spatial = nn.Conv2d(
            bottleneck, bottleneck, 3, stride=stride, padding=1, groups=cardinality, bias=False
        )
        self.spatial_bn = nn.BatchNorm2d(bottleneck)
        self.spatial_relu = nn.ReLU()
        self.expand = nn.Conv2d(bottleneck, branch, 1, bias=False)
        self.expand_bn = nn.BatchNorm2d(branch)
        self.project = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False) if projects else None
        self.project_bn = nn.BatchNorm2d(outputs) if projects else None
        self.shortcut = nn.AvgPool2d(3, stride=2, padding=1) if concatenates else None
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = self.compress_relu(self.compress_bn(self.compress(x)))
        y = self.spatial_relu(self.spatial_bn(self.spatial(y)))
        y = self.expand_bn(self.expand(y))
        if self.shortcut is not None:
            joined = torch.cat((self.shortcut(x), y), 1)
        elif self.project is not None and self.project_bn is not None:
            joined = self.project_bn(self.project(x)) + y
        else:
            joined = x + y
        z: Tensor = self.relu(joined)
        return z


class ComparisonNet(Classifier):
    """ShuffleNet's stem, stages and classifier around other units: (N, 3, H, W) -> (N, classes)."""

    head_modules = ("pool", "flatten", "classifier")

    def __init__(self, description: Table4Config) -> None:
        super().__init__()
        inputs = description.stem
        self.stem = nn.Conv2d(3, inputs, 3, stride=2, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(inputs)
        self.stem_relu = nn.ReLU()
        self.stem_pool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, outputs, repeats in zip(
            STAGES, description.widths, description.repeats, strict=True
        ):
            units = [_unit(description, inputs, outputs, stride=2)]
            units += [_unit(description, outputs, outputs, stride=1) for _ in range(repeats - 1)]
            setattr(self, stage, nn.Sequential(*units))
            inputs = outputs
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, description.classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, widths[2], H / 32, W / 32)."""
        x = self.stem_pool(self.stem_relu(self.stem_bn(self.stem(x))))
        for stage in STAGES:
            x = getattr(self, stage)(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.classifier(self.flatten(self.pool(features)))
        return logits


def _unit(description: Table4Config, inputs: int, outputs: int, *, stride: int) -> nn.Module:
    """Bottlenecks are 1:4 of the width in ResNet, 1:2 in ResNeXt (paper, section 4.2).

    Where 16 groups do not divide a bottleneck, the largest number below that does is taken.
    """
    if description.unit == "vgg-like":
        return VggUnit(inputs, outputs, stride=stride)
    bottleneck = outputs // (4 if description.unit == "resnet" else 2)
    cardinality = max(
        count for count in range(1, description.cardinality + 1) if bottleneck % count == 0
    )
    return BottleneckUnit(inputs, outputs, bottleneck, stride=stride, cardinality=cardinality)
