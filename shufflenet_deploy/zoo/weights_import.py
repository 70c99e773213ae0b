"""Import of checkpoints: detect the layout, check the fit, convert the weights exactly.

What fits nothing is refused with the keys that are missing, unexpected or of the wrong shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.baseline_import import import_baseline
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.channel_remap import rewire
from shufflenet_deploy.zoo.checkpoint import Candidate, Checkpoint, find_state_dicts
from shufflenet_deploy.zoo.checkpoint_layouts import NATIVE
from shufflenet_deploy.zoo.config import PAPER_VARIANT, Description, Shuffle, ShuffleNetConfig
from shufflenet_deploy.zoo.import_checks import (
    ImportedWeights,
    MisfitError,
    adapted,
    holds_another,
    imported,
    listed,
    misfit,
    problems,
    refuse_not_finite,
    state_shapes,
    stored_description,
)
from shufflenet_deploy.zoo.incompatible import incompatible_network
from shufflenet_deploy.zoo.key_matching import LIKENESS, in_layout, match
from shufflenet_deploy.zoo.layout import Layout
from shufflenet_deploy.zoo.registry import architecture, cards, same_network, shufflenet_name

#: State dicts of one file that are tried: the likeliest, which come first, and all together.
_MAX_TRIED = 8
#: Fields of a ShuffleNet that the shapes of its weights do not tell.
_SHAPELESS = (
    "shuffle",
    "small_pictures",
    "pooling",
    "first_shuffled",
    "depthwise_relu",
    "stage2_stride",
)


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
            weights = _import(candidate.read(), card)
        except MisfitError as error:
            failure = failure or error
            continue
        others = [
            one.where
            for one in found
            if one.where not in ("", candidate.where) and one.weights > candidate.weights / 2
        ]
        if candidate.where and others:
            note = f"read {candidate.where}; the file also holds {listed(others)}"
            weights = replace(weights, notes=(note, *weights.notes))
        return weights
    assert failure is not None
    raise failure


def _chosen(path: Path, found: list[Candidate], name: str) -> list[Candidate]:
    chosen = [one for one in found if one.where == name]
    if not chosen:
        names = [one.where for one in found if one.where]
        holds = f"it holds {listed(names)}" if names else "it holds one without a key"
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
        weights = import_baseline(checkpoint, card, matched.nearest)
    elif card is None or isinstance(card.description, ShuffleNetConfig):
        checkpoint = replace(checkpoint, tensors=layout.in_our_axes(checkpoint.tensors))
        weights = _import_shufflenet(checkpoint, layout, card)
    else:
        described = layout.describe(layout.in_our_axes(checkpoint.tensors))
        raise holds_another(checkpoint, layout.name, _named(described, layout).name, card)
    if matched.ignored:
        note = f"left out, as no part of the network: {listed(list(matched.ignored))}"
        return replace(weights, notes=(*weights.notes, note))
    return weights


def _own_keys(description: Description) -> frozenset[str]:
    return frozenset(state_shapes(description))


def _unlike(checkpoint: Checkpoint, card: Architecture | None) -> MisfitError:
    """Error for a file whose names are like no known network's."""
    names = listed(list(checkpoint.tensors))
    what = f"does not hold {card.name}" if card else "holds no network that is known here"
    return MisfitError(
        f"{checkpoint.path} {what}: its {len(checkpoint.tensors)} tensors ({names}) are named as"
        " in none of the known layouts"
    )


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
    card = card or _named(described, layout)
    names = layout.names(described)
    if found := problems(checkpoint, _shapes(described, names)):
        raise misfit(checkpoint, card.name, f"{layout.name}'s layout", found)
    refuse_not_finite(checkpoint, list(names.values()))
    state = {ours: checkpoint.tensors[theirs] for ours, theirs in names.items()}
    if layout is not NATIVE:
        described, state = rewire(layout, described, state)
    changed = adapted(card, described, layout.preprocessing, checkpoint)
    return imported(checkpoint, changed, state, layout.name)


def _describe(
    checkpoint: Checkpoint, layout: Layout, card: Architecture | None
) -> ShuffleNetConfig | None:
    """Configuration of the network in the file: from its metadata, its shapes, or the card."""
    stored = stored_description(checkpoint)
    if isinstance(stored, ShuffleNetConfig):
        return stored
    described = layout.describe(checkpoint.tensors)
    wanted = card.description if card else None
    if described and layout is NATIVE and isinstance(wanted, ShuffleNetConfig):
        return described.model_copy(update={key: getattr(wanted, key) for key in _SHAPELESS})
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
        whole = not problems(checkpoint, _shapes(described, layout.names(described)))
        if whole and (name != card.name):
            return holds_another(checkpoint, layout.name, _named(described, layout).name, card)
    choices = [card] if card else [c for c in cards().values() if _is_plain(c.description)]
    found = []
    for choice in choices:
        assert isinstance(choice.description, ShuffleNetConfig)
        against = in_layout(choice.description, layout)
        found.append((problems(checkpoint, _shapes(against, layout.names(against))), choice))
    faults, nearest = min(found, key=lambda pair: len(pair[0]))
    return misfit(checkpoint, nearest.name, f"{layout.name}'s layout", faults)


def _is_plain(description: Description) -> bool:
    return (
        isinstance(description, ShuffleNetConfig)
        and description.shuffle is Shuffle.PAPER
        and not description.gate
    )


def _named(description: ShuffleNetConfig | None, layout: Layout) -> Architecture:
    """The card of ``description``, or one made up for a network that the paper does not have."""
    if description is None:
        return architecture("shufflenet-g3-1x")
    if name := shufflenet_name(description):
        return architecture(name)
    of = "" if description.variant == PAPER_VARIANT else f"-{layout.name}"
    return Architecture(
        name=f"shufflenet-g{description.groups}-w{description.widths[0]}{of}",
        title=f"ShuffleNet (g={description.groups}, {description.widths[0]} channels in stage 2)",
        source="the shapes of its weights",
        description=description,
    )


def _shapes(description: Description, names: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """Their key -> the shape it must have."""
    ours = state_shapes(description)
    shapes = {}
    for mine, theirs in names.items():
        # A bias that will be absorbed is not in our network: one number per output channel.
        weight = ours.get(mine) or ours[f"{mine.removesuffix('.bias')}.weight"][:1]
        shapes[theirs] = weight
    return shapes
