"""Small networks of a user's own, as files of Python source."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

NETWORK = '''
"""A user's file: a network, and callables that go wrong."""
from torch import fft, nn, ones
from blocks import block


class Net(nn.Module):
    def __init__(self, width=4, classes=5, channels=3):
        super().__init__()
        print("building")
        self.features = nn.Sequential(block(channels, width), block(width, 2 * width))
        self.head = nn.Linear(2 * width, classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Fixed(Net):
    def forward(self, x):
        assert x.shape[2] == 16, "sixteen rows"
        return super().forward(x)


def trained():
    net = Net()
    net.load_state_dict({name: ones(one.shape) for name, one in net.state_dict().items()})
    return net


def raising():
    raise ValueError("no such luck\\nat all")


def leaving():
    raise SystemExit(3)


def number():
    return 3


class Maps(Net):
    def forward(self, x):
        early = self.features[0](x)
        return early, self.features[1](early)


class Named(Net):
    def forward(self, x):
        early = self.features[0](x)
        return {"logits": self.head(self.features[1](early).mean((2, 3))), "early": early}


class Fourier(Net):
    def forward(self, x):
        return self.head(fft.rfft2(self.features(x)).real.mean((2, 3)))


class Nothing(Net):
    def forward(self, x):
        return x + x.clamp(0, 1)


class Words(Net):
    def forward(self, x):
        return "words"


NUMBER = 3
'''

BLOCKS = """
from torch import nn


def block(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
"""


def write(folder: Path) -> Path:
    """``mine.py``, and the module beside it that it imports; returns the former's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "blocks.py").write_text(BLOCKS)
    path = folder / "mine.py"
    path.write_text(NETWORK)
    return path


def picture(folder: Path) -> Path:
    """A picture of no particular thing."""
    path = folder / "picture.png"
    Image.linear_gradient("L").convert("RGB").save(path)
    return path
