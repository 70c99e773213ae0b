"""AlexNet twice: torchvision's single column, and the original with groups and LRN (Caffe).

Module names of the first are torchvision's, so that its state dicts load as they are.
"""

from __future__ import annotations

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.modules import fully_connected


class AlexNet(Classifier):
    """torchvision's AlexNet: (N, 3, H, W) -> logits (N, classes); no groups, no LRN.

    At 224x224 the features are 6x6 and both heads compute the same.
    """

    head_modules = ("avgpool", "flatten", "classifier", "average")

    def __init__(self, classes: int, head: Head) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        dense = head is Head.DENSE
        self.avgpool = nn.Identity() if dense else nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Identity() if dense else nn.Flatten()
        self.classifier = nn.Sequential(
            nn.Dropout(),
            fully_connected(256, 4096, size=6, dense=dense),
            nn.ReLU(),
            nn.Dropout(),
            fully_connected(4096, 4096, dense=dense),
            nn.ReLU(),
            fully_connected(4096, classes, dense=dense),
        )
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if dense else None

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 256, H', W')."""
        features: Tensor = self.features(x)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the map at one size, or from every position of it."""
        x: Tensor = self.classifier(self.flatten(self.avgpool(features)))
        return x if self.average is None else self.average(x)


class CaffeAlexNet(Classifier):
    """The original AlexNet as Caffe ships it: (N, 3, H, W) -> logits (N, classes).

    Convolutions 2, 4 and 5 have two groups, and responses are normalised across channels. The
    first convolution has no padding and pools round up, as in Caffe: at 224x224 that is the 720M
    multiply-adds of the paper, and the features are 6x6.
    """

    head_modules = (
        *("resize", "flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"),
        "average",
    )

    def __init__(self, classes: int, head: Head) -> None:
        super().__init__()
        dense = head is Head.DENSE
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.relu1 = nn.ReLU()
        self.norm1 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.pool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.relu2 = nn.ReLU()
        self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.pool2 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.relu4 = nn.ReLU()
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.relu5 = nn.ReLU()
        self.pool5 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.resize = nn.Identity() if dense else nn.AdaptiveAvgPool2d(6)
        self.flatten = nn.Identity() if dense else nn.Flatten()
        self.fc6 = fully_connected(256, 4096, size=6, dense=dense)
        self.relu6 = nn.ReLU()
        self.drop6 = nn.Dropout()
        self.fc7 = fully_connected(4096, 4096, dense=dense)
        self.relu7 = nn.ReLU()
        self.drop7 = nn.Dropout()
        self.fc8 = fully_connected(4096, classes, dense=dense)
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()) if dense else None

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 256, H', W')."""
        x = self.pool1(self.norm1(self.relu1(self.conv1(x))))
        x = self.pool2(self.norm2(self.relu2(self.conv2(x))))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        features: Tensor = self.pool5(self.relu5(self.conv5(x)))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the map at one size, or from every position of it."""
        x: Tensor = self.flatten(self.resize(features))
        x = self.drop7(self.relu7(self.fc7(self.drop6(self.relu6(self.fc6(x))))))
        x = self.fc8(x)
        return x if self.average is None else self.average(x)
