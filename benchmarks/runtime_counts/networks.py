"""The networks whose inferences are counted: the zoo's and timm's."""

from __future__ import annotations

from dataclasses import dataclass

from shufflenet_deploy import zoo
from shufflenet_deploy.zoo import NetworkOptions

_CALLABLE = "model_coverage.networks:drawn"


@dataclass(frozen=True)
class Network:
    """One network by the name in its package."""

    title: str
    source: str
    name: str

    def reference(self, side: int) -> str:
        """What exports take as ``model``: weights at random, statistics of random images.

        ``side`` is their height and width.
        """
        if self.source == "zoo":
            return self.name
        options = NetworkOptions(
            arguments={
                "source": self.source,
                "name": self.name,
                "height": str(side),
                "width": str(side),
            },
            name=f"{self.source}-{self.name}",
        )
        (reference,) = zoo.references([_CALLABLE], options).values()
        return reference


NETWORKS = (
    Network("ShuffleNet v2 1x", "zoo", "shufflenet-v2-1x"),
    Network("MobileNet v1", "zoo", "mobilenet-1.0"),
    Network("MobileNet v2", "zoo", "mobilenet-v2-1.0"),
    Network("MobileNet v3 large", "zoo", "mobilenet-v3-large"),
    Network("MnasNet B1", "timm", "mnasnet_100"),
    Network("SqueezeNet 1.1", "zoo", "squeezenet-1.1"),
    Network("RegNetX-200M", "timm", "regnetx_002"),
    Network("EfficientNet-Lite0", "timm", "efficientnet_lite0"),
    Network("GhostNet", "timm", "ghostnet_100"),
    Network("ResNet-18", "zoo", "resnet-18"),
    Network("GoogLeNet", "zoo", "googlenet"),
    Network("DenseNet-121", "timm", "densenet121"),
)
