"""SqueezeNet 1.0 and 1.1 (arXiv 1602.07360), with torchvision's module names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier


class Fire(nn.Module):
    """Squeeze to few channels, then expand with 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, 2 * expand, H, W)."""
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            (
                self.expand1x1_activation(self.expand1x1(x)),
                self.expand3x3_activation(self.expand3x3(x)),
            ),
            1,
        )


class SqueezeNet(Classifier):
    """SqueezeNet: (N, 3, H, W) -> logits (N, classes)."""

    head_modules = ("classifier", "flatten")

    def __init__(self, version: str, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*(_features_1_0() if version == "1.0" else _features_1_1()))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        self.flatten = nn.Flatten()

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 512, H', W')."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits: a pointwise convolution, averaged."""
        logits: Tensor = self.flatten(self.classifier(features))
        return logits


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def _features_1_0() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 96, 7, stride=2),
        nn.ReLU(),
        _pool(),
        Fire(96, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        _pool(),
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        _pool(),
        Fire(512, 64, 256),
    ]


def _features_1_1() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 64, 3, stride=2),
        nn.ReLU(),
        _pool(),
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        _pool(),
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        _pool(),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    ]
