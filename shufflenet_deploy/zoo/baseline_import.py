"""Import of networks other than ShuffleNet v1: in torchvision's names, our own, or renamed ones."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.checkpoint import Checkpoint
from shufflenet_deploy.zoo.config import Description, ShuffleNetConfig
from shufflenet_deploy.zoo.config_limits import MOST_CHANNELS
from shufflenet_deploy.zoo.import_checks import (
    ImportedWeights,
    adapted,
    holds_another,
    imported,
    misfit,
    problems,
    refuse_not_finite,
    state_shapes,
    stored_description,
)
from shufflenet_deploy.zoo.key_matching import KnownNames
from shufflenet_deploy.zoo.mobile_config import ResNetConfig
from shufflenet_deploy.zoo.registry import architecture, cards
from shufflenet_deploy.zoo.renamed_layouts import RENAMED_LAYOUTS

#: Filters, channels, height and width.
_CONVOLUTION_AXES = 4

#: The pixels of a stem that keeps the size of its images.
_SMALL_STEM = (3, 3)

#: Families with names of our own, for want of torchvision's.
_OWN_FAMILIES = ("mobilenet", "comparison", "pvanet")


def import_baseline(
    checkpoint: Checkpoint, card: Architecture | None, nearest: KnownNames
) -> ImportedWeights:
    """The file as a network other than ShuffleNet: ``card``'s, or the one that it fits.

    Raises:
        MisfitError: it holds another network, or is faulty.
    """
    holds = _held(checkpoint, nearest)
    if card is None or isinstance(card.description, ShuffleNetConfig):
        if holds is None:
            _, _, found = _read_as(architecture(nearest.card), checkpoint, nearest)
            raise misfit(checkpoint, card.name if card else "any model", nearest.name, found)
        if card is not None:
            raise holds_another(checkpoint, _layout_of(holds, nearest), holds.name, card)
        card = holds
    description, renamed, found = _read_as(card, checkpoint, nearest)
    if found:
        if holds is not None and holds.name != card.name:
            raise holds_another(checkpoint, _layout_of(holds, nearest), holds.name, card)
        raise misfit(checkpoint, card.name, nearest.name, found)
    refuse_not_finite(renamed, list(renamed.tensors))
    usual = nearest.renamed.preprocessing if nearest.renamed else None
    changed = adapted(card, description, usual, checkpoint)
    return imported(renamed, changed, renamed.tensors, _layout_of(card, nearest))


def _layout_of(card: Architecture, nearest: KnownNames) -> str:
    if nearest.renamed is not None:
        return nearest.renamed.name
    return "native" if card.description.family in _OWN_FAMILIES else "torchvision"


def _held(checkpoint: Checkpoint, nearest: KnownNames) -> Architecture | None:
    """The card, other than ShuffleNet's, that the file fits to the last key."""
    for card in cards().values():
        if isinstance(card.description, ShuffleNetConfig):
            continue
        if not _read_as(card, checkpoint, nearest)[2]:
            return card
    return None


def _read_as(
    card: Architecture, checkpoint: Checkpoint, nearest: KnownNames
) -> tuple[Description, Checkpoint, list[str]]:
    """The network of ``card`` as the file has it, the file under our keys, and what is wrong."""
    description = _form(card, checkpoint)
    layout = nearest.renamed
    form = None if layout is None else layout.form(description)
    if layout is None or form is None:
        description = _with_ends(description, checkpoint)
        return description, checkpoint, problems(checkpoint, state_shapes(description))
    keys = state_shapes(form)
    renamed = replace(checkpoint, tensors=layout.renamed(checkpoint.tensors, keys, form))
    form = _with_ends(form, renamed)
    shapes = state_shapes(form)
    faults = problems(checkpoint, layout.their_shapes(shapes, form))
    whole = {**renamed.tensors, **layout.added(shapes, form)}
    return form, replace(renamed, tensors=whole), faults


def _form(card: Architecture, checkpoint: Checkpoint) -> Description:
    """The description of ``card``, in the form that the file says it has."""
    usual = card.description
    stored = stored_description(checkpoint)
    for layout in RENAMED_LAYOUTS:
        form = layout.form(usual)
        if form and stored and stored == _of(form, stored.channels, stored.classes):
            return form
    return usual


def _of(description: Description, channels: int | None, classes: int | None) -> Description:
    return description.model_copy(update={"channels": channels, "classes": classes})


def _with_ends(description: Description, checkpoint: Checkpoint) -> Description:
    """``description`` with the channels and classes of the file's first and last layer.

    A ResNet is for small pictures if its first convolution is of 3x3 pixels.
    """
    shapes = state_shapes(description)
    weights = [key for key in shapes if key.endswith(".weight")]
    first = next(key for key in weights if len(shapes[key]) == _CONVOLUTION_AXES)
    channels, classes = description.channels, description.classes
    if first in checkpoint.tensors and checkpoint.tensors[first].ndim == _CONVOLUTION_AXES:
        channels = min(checkpoint.tensors[first].shape[1], MOST_CHANNELS)
    if weights[-1] in checkpoint.tensors and checkpoint.tensors[weights[-1]].ndim:
        classes = checkpoint.tensors[weights[-1]].shape[0]
    if isinstance(description, ResNetConfig) and first in checkpoint.tensors:
        small = checkpoint.tensors[first].shape[2:] == _SMALL_STEM
        description = description.model_copy(update={"small_pictures": small})
    return _of(description, channels, classes)
