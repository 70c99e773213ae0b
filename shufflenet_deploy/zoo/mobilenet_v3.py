"""MobileNet v3 (arXiv 1905.02244, Tables 1 and 2), with torchvision's module names."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.modules import multiple_of_8, normalised_conv

#: Kernel, expanded and output channels, gate, hard-swish, stride of each block.
Block = tuple[int, int, int, bool, bool, int]
_BLOCKS: dict[str, tuple[Block, ...]] = {
    "large": (
        (3, 16, 16, False, False, 1),
        (3, 64, 24, False, False, 2),
        (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2),
        (5, 120, 40, True, False, 1),
        (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 480, 112, True, True, 1),
        (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2),
        (5, 960, 160, True, True, 1),
        (5, 960, 160, True, True, 1),
    ),
    "small": (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    ),
}
_STEM = 16
#: Features of the layer before the last.
_HIDDEN = {"large": 1280, "small": 1024}
_EPSILON = 0.001

_conv = partial(normalised_conv, epsilon=_EPSILON)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a number seen from the whole map: (N, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = multiple_of_8(channels // 4)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(inner, channels, 1)
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Gate the channels of ``x``."""
        inner = self.activation(self.fc1(self.avgpool(x)))
        scale: Tensor = self.scale_activation(self.fc2(inner))
        return x * scale


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, gate, project (N, inputs, H, W) -> (N, outputs, ...).

    The input is added where the shape stays; nothing is activated after the projection.
    """

    def __init__(self, inputs: int, inner: int, outputs: int, block: Block) -> None:
        super().__init__()
        kernel, _, _, gate, swish, stride = block
        activation = nn.Hardswish if swish else nn.ReLU
        layers: list[nn.Module] = []
        if inner != inputs:
            layers.append(_conv(inputs, inner, 1, activation=activation))
        layers.append(
            _conv(inner, inner, kernel, stride=stride, groups=inner, activation=activation)
        )
        if gate:
            layers.append(SqueezeExcitation(inner))
        layers.append(_conv(inner, outputs, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y: Tensor = self.block(x)
        return x + y if self.adds else y


class MobileNetV3(Classifier):
    """MobileNet v3: (N, 3, H, W) -> logits (N, classes). ``width`` scales every layer."""

    head_modules = ("avgpool", "flatten", "classifier")

    def __init__(self, size: str, width: float, classes: int) -> None:
        super().__init__()
        inputs = multiple_of_8(_STEM * width)
        layers: list[nn.Module] = [_conv(3, inputs, 3, stride=2, activation=nn.Hardswish)]
        for block in _BLOCKS[size]:
            inner, outputs = (multiple_of_8(channels * width) for channels in block[1:3])
            layers.append(InvertedResidual(inputs, inner, outputs, block))
            inputs = outputs
        last, hidden = 6 * inputs, multiple_of_8(_HIDDEN[size] * width)
        layers.append(_conv(inputs, last, 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Linear(last, hidden), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(hidden, classes)
        )

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 960 or 576 times the width, H / 32, W / 32)."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.classifier(self.flatten(self.avgpool(features)))
        return logits
