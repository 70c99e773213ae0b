"""A network of your own: exported from its code, and measured beside one of the zoo.

    python examples/own_network.py HOST HEIGHTxWIDTH JOURNAL FOLDER

The same by the command line: shufflenet-deploy bench --model examples/own_network.py:TinyNet
"""

from __future__ import annotations

import sys

from torch import Tensor, nn

import shufflenet_deploy as sd
from shufflenet_deploy.errors import DeployError

WIDTH = 8
BASELINE = "shufflenet-g3-0.25x"


class TinyNet(nn.Module):
    """Three convolutions, the last two depthwise and pointwise, and a classifier."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU6(),
            nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width),
            nn.Conv2d(width, 2 * width, 1),
            nn.Hardswish(),
        )
        self.classifier = nn.Linear(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to logits (N, classes)."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


def main(host: str, resolution: str, journal: str, folder: str) -> None:
    """Export the network, say how close the file is, and print the speedup table."""
    model = f"{__file__}:TinyNet"
    artifact = sd.export(
        model, network={"arguments": {"width": WIDTH}}, resolution=resolution, out=folder
    )
    print(f"{artifact.path.name}: parity {'passed' if artifact.parity.passed else 'failed'}")
    suite = {
        "models": [model],
        "baseline": BASELINE,
        "resolutions": [resolution],
        "spec": {"processes": 2, "min-secs": 0.1},
    }
    result = sd.bench(suite, host=host, journal=journal, artifacts=folder)
    print(sd.table(result.suite_id, form="md", journal=journal))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:5])
    except DeployError as error:
        sys.exit(f"error: {error}")
