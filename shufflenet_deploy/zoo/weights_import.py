"""Import of checkpoints: detect the layout, check the fit, convert the weights exactly.

What fits nothing is refused with the keys that are missing, unexpected or of the wrong shape.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution, first_problem
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.channel_remap import rewire
from shufflenet_deploy.zoo.checkpoint import Candidate, Checkpoint, find_state_dicts, shown
from shufflenet_deploy.zoo.checkpoint_layouts import NATIVE, Layout
from shufflenet_deploy.zoo.config import Description, Preprocessing, Shuffle, ShuffleNetConfig
from shufflenet_deploy.zoo.incompatible import incompatible_network
from shufflenet_deploy.zoo.key_matching import LIKENESS, in_layout, match
from shufflenet_deploy.zoo.registry import architecture, cards, same_network, shufflenet_name
from shufflenet_deploy.zoo.weights_digest import file_identity

#: Metadata of the safetensors files that ``import`` writes.
DESCRIPTION_KEY = "shufflenet_deploy.description"
PREPROCESSING_KEY = "shufflenet_deploy.preprocessing"

_SHOWN = 3
#: State dicts of one file that are tried: the likeliest, which come first, and all together.
_MAX_TRIED = 8
_DESCRIPTION: TypeAdapter[Description] = TypeAdapter(Description)
_PREPROCESSING = TypeAdapter(Preprocessing)
#: Families with names of our own, for want of torchvision's.
_OWN_FAMILIES = ("mobilenet", "comparison")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ImportedWeights:
    """Weights in our order, and the card they belong to, adapted to what the file holds.

    ``notes`` list what was chosen or left out of the file, a line each.
    """

    architecture: Architecture
    state: Mapping[str, Tensor]
    layout: str
    source: str
    sha256: str
    notes: tuple[str, ...] = ()


class MisfitError(UsageError):
    """A state dict is whole but belongs to another network; another one in the file may fit."""


def import_weights(
    path: Path, card: Architecture | None = None, state_dict: str | None = None
) -> ImportedWeights:
    """Read ``path`` as the network of ``card``; without one, as its keys and shapes determine.

    Of several state dicts in a file the first that fits is taken, trained weights before their
    averages; ``state_dict`` names another by its key (``ema``).

    Raises:
        UsageError: the file cannot be read, or it holds another network; the message states what
            is missing, unexpected or of the wrong shape, and which layout is nearest.
    """
    found = find_state_dicts(path)
    if state_dict is not None:
        found = _chosen(path, found, state_dict)
    failure: UsageError | None = None
    for candidate in (*found[:_MAX_TRIED], *found[_MAX_TRIED:][-1:]):
        try:
            imported = _import(candidate.read(), card)
        except MisfitError as error:
            failure = failure or error
            continue
        others = [
            one.where
            for one in found
            if one.where not in ("", candidate.where) and one.weights > candidate.weights / 2
        ]
        if candidate.where and others:
            note = f"read {candidate.where}; the file also holds {_listed(others)}"
            imported = replace(imported, notes=(note, *imported.notes))
        return imported
    assert failure is not None
    raise failure


def _chosen(path: Path, found: list[Candidate], name: str) -> list[Candidate]:
    chosen = [one for one in found if one.where == name]
    if not chosen:
        names = [one.where for one in found if one.where]
        holds = f"it holds {_listed(names)}" if names else "it holds one without a key"
        raise UsageError(f"{path} has no state dict under '{name}'; {holds}")
    return chosen


def _import(checkpoint: Checkpoint, card: Architecture | None) -> ImportedWeights:
    matched = match(checkpoint.tensors, _own_keys)
    checkpoint = replace(checkpoint, tensors=matched.tensors)
    if known := incompatible_network(checkpoint.tensors):
        raise MisfitError(
            f"{checkpoint.path} holds {known}: a different network, which cannot be imported"
        )
    layout = matched.nearest.layout
    if matched.likeness < LIKENESS:
        raise _unlike(checkpoint, card)
    if layout is None:
        imported = _import_baseline(checkpoint, card, matched.nearest.name)
    elif card is None or isinstance(card.description, ShuffleNetConfig):
        imported = _import_shufflenet(checkpoint, layout, card)
    else:
        described = layout.describe(checkpoint.tensors)
        raise _holds_another(checkpoint, layout.name, _named(described).name, card)
    if matched.ignored:
        note = f"left out, as no part of the network: {_listed(list(matched.ignored))}"
        return replace(imported, notes=(*imported.notes, note))
    return imported


def _own_keys(description: Description) -> frozenset[str]:
    return frozenset(_state_shapes(description))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, names[:_SHOWN])) + more


# --- ShuffleNet, in anybody's layout


def _import_shufflenet(
    checkpoint: Checkpoint, layout: Layout, card: Architecture | None
) -> ImportedWeights:
    described = _describe(checkpoint, layout, card)
    wanted = card.description if card else None
    if described is None or (
        isinstance(wanted, ShuffleNetConfig) and not same_network(wanted, described)
    ):
        raise _refusal(checkpoint, layout, described, card)
    card = card or _named(described)
    names = layout.names(described)
    if found := _problems(checkpoint, _shapes(described, names)):
        raise _misfit(checkpoint, card.name, f"{layout.name}'s layout", found)
    _refuse_not_finite(checkpoint, list(names.values()))
    state = {ours: checkpoint.tensors[theirs] for ours, theirs in names.items()}
    if layout is not NATIVE:
        described, state = rewire(layout, described, state)
    return _imported(checkpoint, _adapted(card, described, layout, checkpoint), state, layout.name)


def _describe(
    checkpoint: Checkpoint, layout: Layout, card: Architecture | None
) -> ShuffleNetConfig | None:
    """Configuration of the network in the file: from its metadata, its shapes, or the card."""
    stored = _stored_description(checkpoint)
    if isinstance(stored, ShuffleNetConfig):
        return stored
    described = layout.describe(checkpoint.tensors)
    wanted = card.description if card else None
    if described and layout is NATIVE and isinstance(wanted, ShuffleNetConfig):
        shapeless = {"shuffle": wanted.shuffle, "small_pictures": wanted.small_pictures}
        return described.model_copy(update=shapeless)
    return described


def _refusal(
    checkpoint: Checkpoint,
    layout: Layout,
    described: ShuffleNetConfig | None,
    card: Architecture | None,
) -> UsageError:
    """Error for a file that is not ``card``: it is whole but another network, or it is faulty."""
    if described is not None and card is not None:
        name = shufflenet_name(described)
        whole = not _problems(checkpoint, _shapes(described, layout.names(described)))
        if whole and (name != card.name):
            return _holds_another(checkpoint, layout.name, _named(described).name, card)
    choices = [card] if card else [c for c in cards().values() if _is_plain(c.description)]
    found = []
    for choice in choices:
        assert isinstance(choice.description, ShuffleNetConfig)
        against = in_layout(choice.description, layout)
        found.append((_problems(checkpoint, _shapes(against, layout.names(against))), choice))
    problems, nearest = min(found, key=lambda pair: len(pair[0]))
    return _misfit(checkpoint, nearest.name, f"{layout.name}'s layout", problems)


def _is_plain(description: Description) -> bool:
    return (
        isinstance(description, ShuffleNetConfig)
        and description.shuffle is Shuffle.PAPER
        and not description.gate
    )


def _named(description: ShuffleNetConfig | None) -> Architecture:
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
    checkpoint: Checkpoint, card: Architecture | None, nearest: str
) -> ImportedWeights:
    """The file as a network other than ShuffleNet: ``card``'s, or the one that it fits."""
    holds = _baseline_of(checkpoint)
    if card is None or isinstance(card.description, ShuffleNetConfig):
        if holds is None:
            against = _with_classes(architecture(nearest).description, checkpoint)
            problems = _problems(checkpoint, _state_shapes(against))
            raise _misfit(checkpoint, card.name if card else "any model", nearest, problems)
        if card is not None:
            raise _holds_another(checkpoint, _layout_of(holds), holds.name, card)
        card = holds
    description = _with_classes(card.description, checkpoint)
    shapes = _state_shapes(description)
    if found := _problems(checkpoint, shapes):
        if holds is not None and holds.name != card.name:
            raise _holds_another(checkpoint, _layout_of(holds), holds.name, card)
        raise _misfit(checkpoint, card.name, nearest, found)
    state = {key: checkpoint.tensors[key] for key in shapes}
    _refuse_not_finite(checkpoint, list(shapes))
    adapted = _adapted(card, description, None, checkpoint)
    return _imported(checkpoint, adapted, state, _layout_of(card))


def _layout_of(card: Architecture) -> str:
    return "native" if card.description.family in _OWN_FAMILIES else "torchvision"


def _unlike(checkpoint: Checkpoint, card: Architecture | None) -> MisfitError:
    """Error for a file whose names are like no known network's."""
    names = _listed(list(checkpoint.tensors))
    what = f"does not hold {card.name}" if card else "holds no network that is known here"
    return MisfitError(
        f"{checkpoint.path} {what}: its {len(checkpoint.tensors)} tensors ({names}) are named as"
        " in none of the known layouts"
    )


def _refuse_not_finite(checkpoint: Checkpoint, keys: list[str]) -> None:
    for key in keys:
        if not torch.isfinite(checkpoint.tensors[key]).all():
            raise UsageError(
                f"{checkpoint.path} holds NaN or infinity in {shown(key)}; training went wrong"
            )


def _baseline_of(checkpoint: Checkpoint) -> Architecture | None:
    """The card, other than ShuffleNet's, that the file fits to the last key."""
    for card in cards().values():
        if isinstance(card.description, ShuffleNetConfig):
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

    The list repeats a phrase per key, so that its length measures how far the file is off.
    """
    theirs = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    missing = [key for key in shapes if key not in theirs]
    unexpected = [key for key in theirs if key not in shapes]
    misshapen = [
        f"{shown(key)} is {_shape(theirs[key])} instead of {_shape(shape)}"
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
    return f"{len(keys)} {kind} ({', '.join(map(shown, keys[:_SHOWN]))}{more})"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _misfit(checkpoint: Checkpoint, name: str, layout: str, problems: list[str]) -> UsageError:
    phrases = "; ".join(dict.fromkeys(problems))
    return MisfitError(
        f"{checkpoint.path} does not fit {name}: of its keys, {phrases};"
        f" the nearest that is known is {layout}"
    )


def _holds_another(
    checkpoint: Checkpoint, layout: str, name: str, card: Architecture
) -> UsageError:
    try:
        advice = f"use --model {architecture(name).name}"
    except UsageError:  # No model that is known here: it needs a card.
        words = ("shufflenet-deploy", "import", str(checkpoint.path))
        advice = f"make a card of it: {shlex.join(words)}"
    return MisfitError(
        f"{checkpoint.path} holds {name} ({layout}'s layout), not {card.name}; {advice}"
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
    if isinstance(description, ShuffleNetConfig) and description.small_pictures:
        changes["resolution"] = Resolution(height=32, width=32)
    return card.model_copy(update=changes)


def _imported(
    checkpoint: Checkpoint, card: Architecture, state: Mapping[str, Tensor], layout: str
) -> ImportedWeights:
    return ImportedWeights(
        architecture=card,
        state=state,
        layout=layout,
        source=str(checkpoint.path),
        sha256=file_identity(checkpoint.path),
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
            f" {first_problem(error)}; import the original file again"
        ) from error
