"""Model zoo: architectures, weights, and their cost. Importing this imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.zoo.card import Architecture, PaperFigures
from shufflenet_deploy.zoo.config import Preprocessing
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.registry import names
from shufflenet_deploy.zoo.sources import (
    NetworkOptions,
    architecture,
    code_of,
    declared_resolution,
    described,
    is_own,
    is_plain_name,
    name_of,
    plain_name,
    references,
    sized,
)

if TYPE_CHECKING:
    from torch import nn

    from shufflenet_deploy.records import Resolution
    from shufflenet_deploy.zoo.macs import Complexity
    from shufflenet_deploy.zoo.model import Model

__all__ = [
    "Architecture",
    "Head",
    "NetworkOptions",
    "PaperFigures",
    "Preprocessing",
    "architecture",
    "code_of",
    "complexity",
    "complexity_of",
    "declared_resolution",
    "described",
    "is_own",
    "is_plain_name",
    "load",
    "name_of",
    "names",
    "plain_name",
    "references",
    "sized",
    "weights_identity",
]


def load(
    name: str, *, weights: Path | None = None, seed: int = 0, head: Head | str = Head.FIXED
) -> Model:
    """A model in eval mode; see ``zoo.model.load``."""
    from shufflenet_deploy.zoo import model

    return model.load(name, weights=weights, seed=seed, head=head)


def complexity(
    module: nn.Module, resolution: Resolution, name: str = "this network", *, channels: int = 3
) -> Complexity:
    """Multiply-adds and parameters of a network; see ``zoo.macs.complexity``."""
    from shufflenet_deploy.zoo import macs

    return macs.complexity(module, resolution, name, channels=channels)


def complexity_of(
    reference: str, resolution: Resolution, head: Head | str = Head.FIXED
) -> Complexity:
    """The complexity of a model; weights of the zoo's own networks are not allocated for it.

    Raises:
        UsageError: no such model, or a resolution too small for it.
    """
    import torch

    card = architecture(reference)
    if card.is_own:
        model = load(sized(reference, resolution), head=head)
        channels = model.preprocessing.channels
        return complexity(model.module, resolution, card.name, channels=channels)
    with torch.device("meta"):
        module = card.build(head)
    return complexity(module.eval(), resolution, card.name, channels=card.preprocessing.channels)


def weights_identity(weights: Path | None, name: str, seed: int = 0) -> str:
    """Hex sha256 that changes whenever ``load`` would give other weights; imports no torch.

    Raises:
        UsageError: no such model, or the file cannot be read.
    """
    from shufflenet_deploy.zoo import weights_digest

    return weights_digest.weights_identity(architecture(name), weights, seed)
