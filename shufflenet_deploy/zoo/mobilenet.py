"""MobileNet v1 (arXiv 1704.04861, Table 1) with its width multiplier."""

from __future__ import annotations

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier

#: Output channels and stride of the thirteen separable blocks.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)


class DepthwiseSeparable(nn.Module):
    """A 3x3 depthwise and a pointwise convolution, each normalised and followed by a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, 3, stride=stride, padding=1, groups=inputs, bias=False
        )
        self.depthwise_bn = nn.BatchNorm2d(inputs)
        self.depthwise_relu = nn.ReLU()
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_bn = nn.BatchNorm2d(outputs)
        self.pointwise_relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        x = self.depthwise_relu(self.depthwise_bn(self.depthwise(x)))
        scaled: Tensor = self.pointwise_relu(self.pointwise_bn(self.pointwise(x)))
        return scaled


class MobileNet(Classifier):
    """MobileNet v1: (N, 3, H, W) -> logits (N, classes). ``width`` scales every layer."""

    head_modules = ("pool", "flatten", "classifier")

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        inputs = max(1, int(32 * width))
        self.stem = nn.Conv2d(3, inputs, 3, stride=2, padding=1, bias=False)
        self.stem_bn = nn.BatchNorm2d(inputs)
        self.stem_relu = nn.ReLU()
        blocks = nn.Sequential()
        for channels, stride in _BLOCKS:
            outputs = max(1, int(channels * width))
            blocks.append(DepthwiseSeparable(inputs, outputs, stride))
            inputs = outputs
        self.blocks = blocks
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(inputs, classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1024 * width, H / 32, W / 32)."""
        features: Tensor = self.blocks(self.stem_relu(self.stem_bn(self.stem(x))))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.classifier(self.flatten(self.pool(features)))
        return logits
