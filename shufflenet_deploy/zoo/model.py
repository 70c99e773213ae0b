"""A network with weights, ready to be exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import WeightsInfo
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.classifier import remove_head
from shufflenet_deploy.zoo.config import Preprocessing
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.import_checks import ImportedWeights
from shufflenet_deploy.zoo.init import initialize
from shufflenet_deploy.zoo.sources import architecture
from shufflenet_deploy.zoo.weights_digest import stored_weights, untrained_identity
from shufflenet_deploy.zoo.weights_import import import_weights


def empty(card: Architecture, head: Head | str) -> nn.Module:
    """The network in eval mode on the meta device: shapes without numbers."""
    with torch.device("meta"):
        return card.build(head).eval().requires_grad_(requires_grad=False)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network in eval mode. ``preprocessing`` is what these weights were trained with.

    ``notes`` list what was chosen among, or left out of, the file of weights, a line each.
    """

    architecture: Architecture
    module: nn.Module
    weights: WeightsInfo
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the input."""
        return self.preprocessing.channels


def load(
    name: str, *, weights: Path | None = None, seed: int = 0, head: Head | str = Head.FIXED
) -> Model:
    """The model ``name`` with the weights of a file, or untrained ones from ``seed``.

    ``name`` is any reference that ``zoo.sources`` reads.
    A card that ``import`` wrote brings its own weights. A file whose number of classes, stem or
    rounding of widths is not the card's changes the returned ``architecture`` accordingly.

    Raises:
        UsageError: no such model; the file cannot be read; or it holds another network.
    """
    model = _whole(architecture(name), weights, seed, Head.FIXED if head == Head.NONE else head)
    if head == Head.NONE:
        # Only now, so that the features of a seed are the same with and without a head.
        remove_head(model.module, model.architecture.name)
    return model


def _whole(card: Architecture, weights: Path | None, seed: int, head: Head | str) -> Model:
    weights = weights or stored_weights(card)
    if card.is_own:
        from shufflenet_deploy.zoo import own_model

        return own_model.load(card, weights, seed)
    if weights is None:
        module = empty(card, head).to_empty(device="cpu")
        initialize(module, seed)
        untrained = WeightsInfo.seeded(seed, sha256=untrained_identity(card, seed))
        return Model(
            architecture=card, module=module, weights=untrained, preprocessing=card.preprocessing
        )
    imported = import_weights(weights, card)
    _check_unchanged(card, imported)
    module = empty(imported.architecture, head)
    module.load_state_dict(dict(imported.state), strict=False, assign=True)
    module = _without_counters(module).requires_grad_(requires_grad=False)
    return Model(
        architecture=imported.architecture,
        module=module,
        weights=WeightsInfo.checkpoint(
            imported.source, sha256=imported.sha256, layout=imported.layout
        ),
        preprocessing=imported.architecture.preprocessing,
        notes=imported.notes,
    )


def _check_unchanged(card: Architecture, imported: ImportedWeights) -> None:
    if card.weights is None or imported.sha256 == card.weights.sha256:
        return
    if imported.source == str(stored_weights(card)):
        raise UsageError(
            f"{imported.source} has changed since it was imported: its sha256 is not the card's;"
            " import the original file again"
        )


def _without_counters(module: nn.Module) -> nn.Module:
    """The counters of training batches, which no file needs to bring, as zeros."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.num_batches_tracked = torch.zeros((), dtype=torch.long)
    return module
