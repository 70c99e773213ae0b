"""PVANET (arXiv 1608.08021, Table 1) as a classifier.

The ShuffleNet paper gives the cost of its re-implementation, 557M multiply-adds, and no layers. The
feature extractor here is that of PVANET's own table, 511M at 224x224; with hidden layers of 2048
features behind its 7x7 map, half of PVANET's own, the sum is 556M.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.modules import fully_connected, normalised_conv

#: Channels inside and behind the C.ReLU blocks, and the stride of the first one of each row.
_CRELU_ROWS = ((3, 24, 64, 1), (4, 48, 128, 2))
#: Channels of 1x1, of 1x1 and 3x3, of 1x1 and twice 3x3; of the pooled branch; of the output.
Inner = tuple[int, tuple[int, int], tuple[int, int]]
_POOLED = 128
_INCEPTION_ROWS: tuple[tuple[Inner, Inner, int], ...] = (
    ((64, (48, 128), (24, 48)), (64, (64, 128), (24, 48)), 256),
    ((64, (96, 192), (32, 64)), (64, (96, 192), (32, 64)), 384),
)
_INCEPTIONS_PER_ROW = 4


class ConcatenatedRelu(nn.Module):
    """C.ReLU: a convolution and its negative side by side, so that half of it is computed.

    (N, inputs, H, W) -> (N, 2 * channels, H / stride, W / stride).
    """

    def __init__(self, inputs: int, channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, channels, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(2 * channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.conv(x)
        z: Tensor = self.relu(self.bn(torch.cat((y, -y), 1)))
        return z


class Residual(nn.Module):
    """A branch around a shortcut, both of (N, inputs, H, W) -> (N, outputs, H / stride, ...).

    The branch sees the rectified input. Where the shape changes the shortcut is a strided pointwise
    convolution of the input as it is; nothing is activated after the sum.
    """

    def __init__(self, branch: nn.Module, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.branch = branch
        self.project = None
        if stride != 1 or inputs != outputs:
            self.project = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        shortcut = x if self.project is None else self.project(x)
        y: Tensor = self.branch(self.relu(x)) + shortcut
        return y


class Inception(nn.Module):
    """Branches side by side, and a pointwise convolution over all of them.

    ``stride`` is that of the first layer of every branch; a block that has one also pools.
    """

    def __init__(self, inputs: int, inner: Inner, outputs: int, *, stride: int) -> None:
        super().__init__()
        one, (reduced, second), (narrow, third) = inner
        self.branch1 = normalised_conv(inputs, one, 1, stride=stride)
        self.branch2 = nn.Sequential(
            normalised_conv(inputs, reduced, 1, stride=stride), normalised_conv(reduced, second, 3)
        )
        self.branch3 = nn.Sequential(
            normalised_conv(inputs, narrow, 1, stride=stride),
            normalised_conv(narrow, third, 3),
            normalised_conv(third, third, 3),
        )
        self.branch4 = None
        if stride > 1:
            self.branch4 = nn.Sequential(
                nn.MaxPool2d(3, stride=stride, padding=1), normalised_conv(inputs, _POOLED, 1)
            )
        total = one + second + third + (_POOLED if stride > 1 else 0)
        self.join = normalised_conv(total, outputs, 1, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        branches = [self.branch1(x), self.branch2(x), self.branch3(x)]
        if self.branch4 is not None:
            branches.append(self.branch4(x))
        y: Tensor = self.join(torch.cat(branches, 1))
        return y


class PvaNet(Classifier):
    """PVANET: (N, 3, H, W) -> logits (N, classes). At 224x224 the features are 7x7."""

    head_modules = ("avgpool", "flatten", "classifier", "average")

    def __init__(self, hidden: int, classes: int, head: Head) -> None:
        super().__init__()
        dense = head is Head.DENSE
        self.features = nn.Sequential(*_features())
        features = _INCEPTION_ROWS[-1][2]
        self.avgpool = nn.Identity() if dense else nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Identity() if dense else nn.Flatten()
        self.classifier = nn.Sequential(
            fully_connected(features, hidden, size=7, dense=dense),
            nn.ReLU(),
            nn.Dropout(),
            fully_connected(hidden, hidden, dense=dense),
            nn.ReLU(),
            nn.Dropout(),
            fully_connected(hidden, classes, dense=dense),
        )
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if dense else None

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 384, H / 32, W / 32)."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the map at one size, or from every position of it."""
        x: Tensor = self.classifier(self.flatten(self.avgpool(features)))
        return x if self.average is None else self.average(x)


def _features() -> list[nn.Module]:
    layers: list[nn.Module] = [
        ConcatenatedRelu(3, 16, 7, stride=2),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inputs = 32
    for count, inner, outputs, first_stride in _CRELU_ROWS:
        for index in range(count):
            stride = 1 if index else first_stride
            branch = nn.Sequential(
                normalised_conv(inputs, inner, 1, stride=stride),
                ConcatenatedRelu(inner, inner, 3),
                normalised_conv(2 * inner, outputs, 1, activation=None),
            )
            layers.append(Residual(branch, inputs, outputs, stride=stride))
            inputs = outputs
    for first, rest, outputs in _INCEPTION_ROWS:
        for index in range(_INCEPTIONS_PER_ROW):
            stride = 1 if index else 2
            module = Inception(inputs, rest if index else first, outputs, stride=stride)
            layers.append(Residual(module, inputs, outputs, stride=stride))
            inputs = outputs
    return [*layers, nn.ReLU()]
