"""Networks as a feature extractor and a classifier, of which the second can be left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from shufflenet_deploy.errors import UsageError


class Classifier(nn.Module, ABC):
    """Images to a feature map to logits; ``head_modules`` are the modules of the last step."""

    head_modules: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.has_head = True

    @abstractmethod
    def feature_map(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> the last feature map, (N, channels, H', W')."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """The feature map -> logits (N, classes), before any softmax."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images, or its feature map where there is no head."""
        features = self.feature_map(x)
        return self.classify(features) if self.has_head else features

    def remove_head(self) -> None:
        """Leave the classifier out, with its weights."""
        for name in self.head_modules:
            delattr(self, name)
        self.has_head = False


def remove_head(module: nn.Module, name: str) -> None:
    """Make the last feature map the output of the network ``name``.

    Raises:
        UsageError: it is not known where its classifier begins.
    """
    if not isinstance(module, Classifier):
        raise UsageError(
            f"--head none: where the classifier of {name} begins is not known; leave it out in a"
            " module of your own"
        )
    module.remove_head()
