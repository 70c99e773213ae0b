"""ResNet-18 (arXiv 1512.03385, Table 1), with torchvision's module names."""

from __future__ import annotations

from torch import Tensor, nn

from shufflenet_deploy.zoo.classifier import Classifier

#: Output channels and first stride of each pair of blocks.
_LAYERS = ((64, 1), (128, 2), (256, 2), (512, 2))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: (N, inputs, H, W) -> (N, outputs, H / stride, ...).

    Where the shape changes the shortcut is a strided pointwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        z: Tensor = self.relu2(y + shortcut)
        return z


class ResNet18(Classifier):
    """ResNet-18: (N, 3, H, W) -> logits (N, classes).

    With ``small_pictures`` the stem is a 3x3 convolution of stride 1, without a max pool.
    """

    head_modules = ("avgpool", "flatten", "fc")

    def __init__(self, classes: int, *, small_pictures: bool = False) -> None:
        super().__init__()
        kernel, stride = (3, 1) if small_pictures else (7, 2)
        self.conv1 = nn.Conv2d(3, 64, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.maxpool = nn.Identity() if small_pictures else pool
        inputs = 64
        for number, (outputs, stride) in enumerate(_LAYERS, start=1):
            pair = (
                BasicBlock(inputs, outputs, stride=stride),
                BasicBlock(outputs, outputs, stride=1),
            )
            setattr(self, f"layer{number}", nn.Sequential(*pair))
            inputs = outputs
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(inputs, classes)

    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 512, H / 32, W / 32), of small pictures H / 8 and W / 8."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(_LAYERS) + 1):
            x = getattr(self, f"layer{number}")(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        """Logits from the global average."""
        logits: Tensor = self.fc(self.flatten(self.avgpool(features)))
        return logits
