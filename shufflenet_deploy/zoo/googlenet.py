"""GoogLeNet (arXiv 1409.4842) as torchvision has it: batch normalisation, 3x3 for 5x5.

Module names are torchvision's. The auxiliary classifiers serve training only and are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier


class BasicConv2d(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H', W')."""
        y: Tensor = self.relu(self.bn(self.conv(x)))
        return y


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3, twice; pool and 1x1."""

    def __init__(
        self, inputs: int, one: int, second: tuple[int, int], third: tuple[int, int], pool: int
    ) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, one, 1)
        self.branch2 = nn.Sequential(
            BasicConv2d(inputs, second[0], 1), BasicConv2d(second[0], second[1], 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConv2d(inputs, third[0], 1), BasicConv2d(third[0], third[1], 3, padding=1)
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True), BasicConv2d(inputs, pool, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, sum of the branches, H, W)."""
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), 1)


class GoogLeNet(Classifier):
    """GoogLeNet: (N, 3, H, W) -> logits (N, classes)."""

    head_modules = ("avgpool", "flatten", "dropout", "fc")

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception3a = Inception(192, 64, (96, 128), (16, 32), 32)
        self.inception3b = Inception(256, 128, (128, 192), (32, 96), 64)
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(480, 192, (96, 208), (16, 48), 64)
        self.inception4b = Inception(512, 160, (112, 224), (24, 64), 64)
        self.inception4c = Inception(512, 128, (128, 256), (24, 64), 64)
        self.inception4d = Inception(512, 112, (144, 288), (32, 64), 64)
        self.inception4e = Inception(528, 256, (160, 320), (32, 128), 128)
        self.maxpool4 = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.inception5a = Inception(832, 256, (160, 320), (32, 128), 128)
        self.inception5b = Inception(832, 384, (192, 384), (48, 128), 128)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1024, H / 32, W / 32)."""
        x = self.maxpool2(self.conv3(self.conv2(self.maxpool1(self.conv1(x)))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.maxpool4(self.inception4e(self.inception4d(x)))
        features: Tensor = self.inception5b(self.inception5a(x))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.fc(self.dropout(self.flatten(self.avgpool(features))))
        return logits
