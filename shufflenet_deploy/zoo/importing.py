"""From a file of weights to our network: whose layout it is, whether it fits, the exact weights.

What fits nothing is refused with the keys that are missing, unexpected or of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.files import sha256_file
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.card import Architecture, first_line
from shufflenet_deploy.zoo.catalogue import architecture, cards, same_network, shufflenet_name
from shufflenet_deploy.zoo.checkpoint import Checkpoint, read_checkpoint
from shufflenet_deploy.zoo.description import (
    Description,
    Preprocessing,
    Shuffle,
    ShuffleNetDescription,
    shufflenet,
)
from shufflenet_deploy.zoo.layouts import LAYOUTS, NATIVE, Layout, pattern
from shufflenet_deploy.zoo.strangers import stranger
from shufflenet_deploy.zoo.wiring import rewire

#: Metadata of the safetensors files that ``import`` writes.
DESCRIPTION_KEY = "shufflenet_deploy.description"
PREPROCESSING_KEY = "shufflenet_deploy.preprocessing"

#: Share of key patterns in common from which a file counts as being of a layout, if with faults.
_LIKENESS = 0.5
_SHOWN = 3
_DESCRIPTION: TypeAdapter[Description] = TypeAdapter(Description)
_PREPROCESSING = TypeAdapter(Preprocessing)
#: Keys of layers that inference does not have (GoogLeNet's auxiliary classifiers).
_TRAINING_ONLY = ("aux1.", "aux2.")
#: Families with names of our own, for want of torchvision's.
_OWN_FAMILIES = ("mobilenet", "comparison")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Weights in our order, and the card they belong to, adapted to what the file holds."""

    architecture: Architecture
    state: Mapping[str, Tensor]
    layout: str
    source: str
    sha256: str


def import_weights(path: Path, card: Architecture | None = None) -> Imported:
    """Read ``path`` as the network of ``card``; without one, as the network the file says it is.

    Raises:
        UsageError: the file cannot be read, or it holds another network; the message says what
            is missing, unexpected or of the wrong shape, and which layout is nearest.
    """
    checkpoint = read_checkpoint(path)
    if known := stranger(checkpoint.tensors):
        raise UsageError(f"{path} holds {known}: a different network, which cannot be imported")
    layout, likeness = _nearest_layout(checkpoint.tensors)
    if likeness >= _LIKENESS:
        if card is None or isinstance(card.description, ShuffleNetDescription):
            return _import_shufflenet(checkpoint, layout, card)
        described = layout.describe(checkpoint.tensors)
        raise _holds_another(checkpoint, layout.name, _named(described).name, card)
    return _import_baseline(checkpoint, card, layout)


# --- ShuffleNet, in anybody's layout


def _nearest_layout(tensors: Mapping[str, Tensor]) -> tuple[Layout, float]:
    """The ShuffleNet layout that shares the most key patterns, and the share, 0 to 1."""
    theirs = {pattern(key) for key in tensors}

    def likeness(layout: Layout) -> float:
        names = layout.names(_in_layout(_typical(), layout))
        ours = {pattern(key) for key in names.values()}
        return len(ours & theirs) / len(ours | theirs)

    best = max(LAYOUTS, key=likeness)
    return best, likeness(best)


def _import_shufflenet(
    checkpoint: Checkpoint, layout: Layout, card: Architecture | None
) -> Imported:
    described = _describe(checkpoint, layout, card)
    wanted = card.description if card else None
    if described is None or (
        isinstance(wanted, ShuffleNetDescription) and not same_network(wanted, described)
    ):
        raise _refusal(checkpoint, layout, described, card)
    card = card or _named(described)
    names = layout.names(described)
    if found := _problems(checkpoint, _shapes(described, names)):
        raise _misfit(checkpoint, card.name, layout.name, found)
    state = {ours: checkpoint.tensors[theirs] for ours, theirs in names.items()}
    if layout is not NATIVE:
        described, state = rewire(layout, described, state)
    return _imported(checkpoint, _adapted(card, described, layout, checkpoint), state, layout.name)


def _describe(
    checkpoint: Checkpoint, layout: Layout, card: Architecture | None
) -> ShuffleNetDescription | None:
    """What the file holds: by its own metadata, by its shapes, or (the shuffle) by the card."""
    stored = _stored_description(checkpoint)
    if isinstance(stored, ShuffleNetDescription):
        return stored
    described = layout.describe(checkpoint.tensors)
    wanted = card.description if card else None
    if described and layout is NATIVE and isinstance(wanted, ShuffleNetDescription):
        shapeless = {"shuffle": wanted.shuffle, "small_pictures": wanted.small_pictures}
        return described.model_copy(update=shapeless)
    return described


def _refusal(
    checkpoint: Checkpoint,
    layout: Layout,
    described: ShuffleNetDescription | None,
    card: Architecture | None,
) -> UsageError:
    """Why the file is not ``card``: it is whole but another network, or it is faulty."""
    if described is not None and card is not None:
        name = shufflenet_name(described)
        whole = not _problems(checkpoint, _shapes(described, layout.names(described)))
        if whole and (name != card.name):
            return _holds_another(checkpoint, layout.name, _named(described).name, card)
    choices = [card] if card else [c for c in cards().values() if _is_plain(c.description)]
    found = []
    for choice in choices:
        assert isinstance(choice.description, ShuffleNetDescription)
        against = _in_layout(choice.description, layout)
        found.append((_problems(checkpoint, _shapes(against, layout.names(against))), choice))
    problems, nearest = min(found, key=lambda pair: len(pair[0]))
    return _misfit(checkpoint, nearest.name, layout.name, problems)


def _typical() -> ShuffleNetDescription:
    return shufflenet(groups=3, scale=1)


def _in_layout(description: ShuffleNetDescription, layout: Layout) -> ShuffleNetDescription:
    return description.model_copy(update={"bare_stem": layout.stem_bn is None})


def _is_plain(description: Description) -> bool:
    return (
        isinstance(description, ShuffleNetDescription)
        and description.shuffle is Shuffle.PAPER
        and not description.gate
    )


def _named(description: ShuffleNetDescription | None) -> Architecture:
    """The card of ``description``, or one made up for a network that the paper does not have."""
    if description is None:
        return architecture("shufflenet-g3-1x")
    if name := shufflenet_name(description):
        return architecture(name)
    return Architecture(
        name=f"shufflenet-g{description.groups}-w{description.widths[0]}",
        title=f"ShuffleNet (g={description.groups}, {description.widths[0]} channels in stage 2)",
        source="the shapes of its weights",
        description=description,
    )


def _shapes(description: Description, names: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Their key -> the shape it must have."""
    ours = _state_shapes(description)
    shapes = {}
    for mine, theirs in names.items():
        # A bias that will be absorbed is not in our network: one number per output channel.
        weight = ours.get(mine) or ours[f"{mine.removesuffix('.bias')}.weight"][:1]
        shapes[theirs] = weight
    return shapes


def _state_shapes(description: Description) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = description.build().state_dict()
    return {
        key: tuple(tensor.shape)
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }


# --- the other networks, in torchvision's names or our own


def _import_baseline(
    checkpoint: Checkpoint, card: Architecture | None, nearest: Layout
) -> Imported:
    holds = _baseline_of(checkpoint)
    if card is None or isinstance(card.description, ShuffleNetDescription):
        if holds is None:
            raise _unknown(checkpoint, card, nearest)
        if card is not None:
            raise _holds_another(checkpoint, "torchvision", holds.name, card)
        card = holds
    description = _with_classes(card.description, checkpoint)
    layout = "native" if card.description.family in _OWN_FAMILIES else "torchvision"
    shapes = _state_shapes(description)
    if found := _problems(checkpoint, shapes):
        if holds is not None and holds.name != card.name:
            raise _holds_another(checkpoint, layout, holds.name, card)
        raise _misfit(checkpoint, card.name, layout, found)
    state = {key: checkpoint.tensors[key] for key in shapes}
    return _imported(checkpoint, _adapted(card, description, None, checkpoint), state, layout)


def _baseline_of(checkpoint: Checkpoint) -> Architecture | None:
    """The card, other than ShuffleNet's, that the file fits to the last key."""
    for card in cards().values():
        if isinstance(card.description, ShuffleNetDescription):
            continue
        if not _problems(checkpoint, _state_shapes(_with_classes(card.description, checkpoint))):
            return card
    return None


def _with_classes(description: Description, checkpoint: Checkpoint) -> Description:
    """``description`` with as many classes as the file's last layer has."""
    last = [key for key in _state_shapes(description) if key.endswith(".weight")][-1]
    if last not in checkpoint.tensors or not checkpoint.tensors[last].ndim:
        return description
    return description.model_copy(update={"classes": checkpoint.tensors[last].shape[0]})


# --- what both share


def _problems(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """One phrase per kind of fault: missing, unexpected and misshapen keys, the first few of each.

    The list repeats a phrase per key, so that its length tells how far the file is off.
    """
    theirs = {
        key: tuple(tensor.shape)
        for key, tensor in checkpoint.tensors.items()
        if not key.startswith(_TRAINING_ONLY)
    }
    missing = [key for key in shapes if key not in theirs]
    unexpected = [key for key in theirs if key not in shapes]
    misshapen = [
        f"{key} is {_shape(theirs[key])} instead of {_shape(shape)}"
        for key, shape in shapes.items()
        if key in theirs and theirs[key] != shape
    ]
    return [
        _some(kind, keys)
        for kind, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of the wrong shape", misshapen),
        )
        for _ in keys
    ]


def _some(kind: str, keys: list[str]) -> str:
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{len(keys)} {kind} ({', '.join(keys[:_SHOWN])}{more})"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _misfit(checkpoint: Checkpoint, name: str, layout: str, problems: list[str]) -> UsageError:
    phrases = "; ".join(dict.fromkeys(problems))
    return UsageError(
        f"{checkpoint.path} does not fit {name}: of its keys, {phrases};"
        f" the nearest known layout is {layout}'s"
    )


def _unknown(checkpoint: Checkpoint, card: Architecture | None, nearest: Layout) -> UsageError:
    described = _typical() if card is None else card.description
    assert isinstance(described, ShuffleNetDescription)
    described = _in_layout(described, nearest)
    problems = _problems(checkpoint, _shapes(described, nearest.names(described)))
    return _misfit(checkpoint, card.name if card else "any model", nearest.name, problems)


def _holds_another(
    checkpoint: Checkpoint, layout: str, name: str, card: Architecture
) -> UsageError:
    return UsageError(
        f"{checkpoint.path} holds {name} ({layout}'s layout), not {card.name}; use --model {name}"
    )


def _adapted(
    card: Architecture, description: Description, layout: Layout | None, checkpoint: Checkpoint
) -> Architecture:
    """``card`` with what these weights bring: their description, preprocessing and resolution."""
    preprocessing = _stored_preprocessing(checkpoint) or (layout and layout.preprocessing)
    changes: dict[str, object] = {"description": description}
    if description != card.description:
        changes["counts"] = None
    if preprocessing:
        changes["preprocessing"] = preprocessing
    if isinstance(description, ShuffleNetDescription) and description.small_pictures:
        changes["resolution"] = Resolution(height=32, width=32)
    return card.model_copy(update=changes)


def _imported(
    checkpoint: Checkpoint, card: Architecture, state: Mapping[str, Tensor], layout: str
) -> Imported:
    return Imported(
        architecture=card,
        state=state,
        layout=layout,
        source=str(checkpoint.path),
        sha256=sha256_file(checkpoint.path),
    )


def _stored_description(checkpoint: Checkpoint) -> Description | None:
    text = checkpoint.metadata.get(DESCRIPTION_KEY)
    return None if text is None else _validated(checkpoint, _DESCRIPTION, text)


def _stored_preprocessing(checkpoint: Checkpoint) -> Preprocessing | None:
    text = checkpoint.metadata.get(PREPROCESSING_KEY)
    return None if text is None else _validated(checkpoint, _PREPROCESSING, text)


def _validated(checkpoint: Checkpoint, adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{checkpoint.path} has metadata that this version does not understand:"
            f" {first_line(error)}; import the original file again"
        ) from error
