"""MobileNet v2 (arXiv 1801.04381, Table 2), with torchvision's module names."""

from __future__ import annotations

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.modules import multiple_of_8, normalised_conv

#: Expansion, output channels, repetitions and first stride of each sequence of blocks.
_SEQUENCES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project: (N, inputs, H, W) -> (N, outputs, H / stride, ...).

    The input is added where the shape stays; nothing is activated after the projection.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [] if expansion == 1 else [normalised_conv(inputs, inner, 1, activation=nn.ReLU6)]
        self.conv = nn.Sequential(
            *expand,
            normalised_conv(inner, inner, 3, stride=stride, groups=inner, activation=nn.ReLU6),
            nn.Conv2d(inner, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(Classifier):
    """MobileNet v2: (N, 3, H, W) -> logits (N, classes). ``width`` scales every layer.

    The last pointwise convolution never has fewer than 1280 channels.
    """

    head_modules = ("pool", "flatten", "classifier")

    def __init__(self, width: float, classes: int) -> None:
        super().__init__()
        inputs = multiple_of_8(32 * width)
        last = multiple_of_8(1280 * max(1.0, width))
        layers: list[nn.Module] = [normalised_conv(3, inputs, 3, stride=2, activation=nn.ReLU6)]
        for expansion, channels, repeats, first_stride in _SEQUENCES:
            outputs = multiple_of_8(channels * width)
            for index in range(repeats):
                stride = 1 if index else first_stride
                layers.append(InvertedResidual(inputs, outputs, stride=stride, expansion=expansion))
                inputs = outputs
        layers.append(normalised_conv(inputs, last, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 1280 or more, H / 32, W / 32)."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.classifier(self.flatten(self.pool(features)))
        return logits
