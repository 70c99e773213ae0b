"""ShuffleNet v2 (arXiv 1807.11164, Figure 3 and Table 5), with torchvision's module names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.mobile_config import ShuffleNetV2Config
from shufflenet_deploy.zoo.modules import ChannelShuffle, normalised_conv

STAGES = ("stage2", "stage3", "stage4")


class Unit(nn.Module):
    """One unit: (N, ``inputs``, H, W) -> (N, ``outputs``, H / stride, W / stride).

    Stride 1 splits its input, keeps one half and transforms the other (Figure 3c); stride 2
    transforms the whole input twice (Figure 3d). Both parts are concatenated.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, interleaved: bool) -> None:
        super().__init__()
        half = outputs // 2
        kept = inputs if interleaved and stride == 2 else half
        made = outputs - kept
        # Even channels first, then the odd ones.
        self.split = ChannelShuffle(half, outputs) if interleaved and stride == 1 else None
        self.branch1 = nn.Sequential()
        if stride == 2:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, groups=inputs, bias=False),
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, kept, 1, bias=False),
                nn.BatchNorm2d(kept),
                nn.ReLU(),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(inputs if stride == 2 else half, half, 1, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, stride=stride, padding=1, groups=half, bias=False),
            nn.BatchNorm2d(half),
            nn.Conv2d(half, made, 1, bias=False),
            nn.BatchNorm2d(made),
            nn.ReLU(),
        )
        self.shuffle = None if interleaved else ChannelShuffle(2, outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        if self.split is not None:
            x = self.split(x)
        kept, changed = (x, x) if self.stride == 2 else x.chunk(2, 1)
        y = torch.cat((self.branch1(kept), self.branch2(changed)), 1)
        return y if self.shuffle is None else self.shuffle(y)


class ShuffleNetV2(Classifier):
    """ShuffleNet v2: (N, 3, H, W) -> logits (N, classes)."""

    head_modules = ("pool", "flatten", "fc")

    def __init__(self, description: ShuffleNetV2Config) -> None:
        super().__init__()
        inputs = description.stem
        self.conv1 = normalised_conv(3, inputs, 3, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        for stage, outputs, repeats in zip(
            STAGES, description.widths, description.repeats, strict=True
        ):
            interleaved = description.interleaved
            units = [Unit(inputs, outputs, stride=2, interleaved=interleaved)]
            units += [
                Unit(outputs, outputs, stride=1, interleaved=interleaved)
                for _ in range(repeats - 1)
            ]
            setattr(self, stage, nn.Sequential(*units))
            inputs = outputs
        self.conv5 = normalised_conv(inputs, description.last, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(description.last, description.classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, last, H / 32, W / 32)."""
        x = self.maxpool(self.conv1(x))
        for stage in STAGES:
            x = getattr(self, stage)(x)
        features: Tensor = self.conv5(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.fc(self.flatten(self.pool(features)))
        return logits
