"""VGG-16 (configuration D of arXiv 1409.1556), with torchvision's module names."""

from __future__ import annotations

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.modules import fully_connected

#: Output channels of the 3x3 convolutions; a max pool ends each row.
_ROWS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Vgg16(Classifier):
    """VGG-16: (N, 3, H, W) -> logits (N, classes). At 224x224 the features are 7x7."""

    head_modules = ("avgpool", "flatten", "classifier", "average")

    def __init__(self, classes: int, head: Head) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for row in _ROWS:
            for outputs in row:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            layers.append(nn.MaxPool2d(2, stride=2))
        dense = head is Head.DENSE
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.Identity() if dense else nn.AdaptiveAvgPool2d(7)
        self.flatten = nn.Identity() if dense else nn.Flatten()
        self.classifier = nn.Sequential(
            fully_connected(512, 4096, size=7, dense=dense),
            nn.ReLU(),
            nn.Dropout(),
            fully_connected(4096, 4096, dense=dense),
            nn.ReLU(),
            nn.Dropout(),
            fully_connected(4096, classes, dense=dense),
        )
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if dense else None

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 512, H / 32, W / 32)."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the map at one size, or from every position of it."""
        x: Tensor = self.classifier(self.flatten(self.avgpool(features)))
        return x if self.average is None else self.average(x)
