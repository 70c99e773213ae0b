"""Key matching: the known network whose names a state dict has, whatever prefixes and extras.

Wrappers put prefixes before a network's keys, training puts losses and counters next to them. The
prefix is found by structure: of all that many keys share, the one that leaves the names most like
a network's that is known. What is left over is ignored only where it cannot be a layer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache

from torch import Tensor

from shufflenet_deploy.zoo.checkpoint.search import names_average
from shufflenet_deploy.zoo.checkpoint_layouts import LAYOUTS
from shufflenet_deploy.zoo.config import Description, ShuffleNetConfig, shufflenet
from shufflenet_deploy.zoo.layout import Layout, pattern
from shufflenet_deploy.zoo.registry import cards
from shufflenet_deploy.zoo.renamed_layouts import RENAMED_LAYOUTS, RenamedLayout

#: Share of names in common from which a known network is worth naming in a message.
LIKENESS = 0.5

_MAX_COMPONENTS = 6
#: A prefix that fewer of the keys have is a layer's, not a network's.
_LEAST_SHARE = 0.2
#: What wrappers insert anywhere in a path.
_TRANSPARENT = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
)
#: Last components of what counts and is not computed with: batches, a profiler's operations.
_COUNTERS = ("num_batches_tracked", "total_ops", "total_params", "n_averaged")
#: First components of what training computes and inference does not.
_TRAINING = re.compile(
    r"(.*_)?(criterion|criteria|loss|losses|metrics?|acc|accuracy|optimi[sz]er|scheduler)\d*(_.*)?"
    r"|aux[12]"
)

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class KnownNames:
    """The names of a ShuffleNet in one ``layout``, or those of the network of a card.

    Where these are not our names, they are those of a ``renamed`` layout.
    """

    name: str
    layout: Layout | None
    keys: frozenset[str]
    card: str = ""
    renamed: RenamedLayout | None = None

    def likeness(self, keys: frozenset[str], patterns: frozenset[str]) -> float:
        """Share of all names that both have, 0 to 1; a layout's without their numbers."""
        theirs = patterns if self.layout else keys
        return len(self.keys & theirs) / len(self.keys | theirs)


@dataclass(frozen=True, kw_only=True)
class Match:
    """A state dict in plain names, the known network nearest to them, and what was left out."""

    tensors: Tensors
    nearest: KnownNames
    likeness: float
    ignored: tuple[str, ...]


def match(tensors: Tensors, keys_of: Callable[[Description], frozenset[str]]) -> Match:
    """The reading of ``tensors`` that is most like a known network.

    ``keys_of`` gives the keys of a network's own state dict.
    """
    return _nearest(tensors, _known(keys_of))


def match_to(tensors: Tensors, name: str, keys: frozenset[str]) -> Match:
    """The reading of ``tensors`` that is most like the one network of these ``keys``."""
    return _nearest(tensors, (KnownNames(name=name, layout=None, keys=keys),), kept=keys)


def _nearest(
    tensors: Tensors, known: tuple[KnownNames, ...], kept: frozenset[str] = frozenset()
) -> Match:
    whole = _unpruned(tensors)
    plain = {key if key in kept else _plain(key): tensor for key, tensor in whole.items()}
    if len(plain) < len(whole):
        plain = dict(whole)
    layers = {key: one for key, one in plain.items() if key in kept or not is_leftover(key)}
    leftovers = [key for key in plain if key not in layers]
    best: Match | None = None
    for candidate, siblings in _readings(layers):
        keys = frozenset(candidate)
        patterns = frozenset(map(pattern, keys))
        nearest = max(known, key=lambda one: one.likeness(keys, patterns))
        likeness = nearest.likeness(keys, patterns)
        if best is None or likeness > best.likeness:
            ignored = (*siblings, *(key for key in leftovers if not key.endswith(_COUNTERS[0])))
            best = Match(tensors=candidate, nearest=nearest, likeness=likeness, ignored=ignored)
    assert best is not None
    return best if best.likeness >= LIKENESS else replace(best, tensors=_without_shared(layers))


def is_leftover(key: str) -> bool:
    """True for a key of training alone, by its name: a counter, a loss, a metric."""
    components = key.split(".")
    return components[-1] in _COUNTERS or any(map(_TRAINING.fullmatch, components[:2]))


def _unpruned(tensors: Tensors) -> Tensors:
    """``tensors`` with each pair that ``torch.nn.utils.prune`` left multiplied out."""
    made = dict(tensors)
    for key in tensors:
        name = key.removesuffix("_orig")
        if name != key and f"{name}_mask" in tensors:
            weight, mask = made.pop(key), made.pop(f"{name}_mask")
            made[name] = weight * mask if weight.shape == mask.shape else weight
    return made


def _plain(key: str) -> str:
    """``key`` without what wrappers insert, and without TensorFlow's number of an output."""
    components = key.removesuffix(":0").split(".")
    return ".".join(part for part in components if part not in _TRANSPARENT)


def _readings(layers: Tensors) -> Iterator[tuple[Tensors, tuple[str, ...]]]:
    """``layers`` without each prefix that many keys share, and the keys that are then left out."""
    yield layers, ()
    for level in _levels(layers):
        for prefix in _prefixes(level):
            yield _without(prefix, level)


def _levels(layers: Tensors) -> Iterator[Tensors]:
    """``layers``, and again without each component that all of the keys begin with."""
    for _ in range(_MAX_COMPONENTS):
        yield layers
        if len({key.partition(".")[0] for key in layers}) != 1:
            return
        if not all("." in key for key in layers):
            return
        layers = {key.partition(".")[2]: tensor for key, tensor in layers.items()}


def _without_shared(layers: Tensors) -> Tensors:
    return list(_levels(layers))[-1]


def _prefixes(layers: Tensors) -> list[str]:
    counts: Counter[str] = Counter()
    for key in layers:
        components = key.split(".")[:-1][:_MAX_COMPONENTS]
        counts.update(".".join(components[: n + 1]) + "." for n in range(len(components)))
    found = [prefix for prefix, count in counts.items() if count >= _LEAST_SHARE * len(layers)]
    return sorted(found, key=names_average)


def _without(prefix: str, layers: Tensors) -> tuple[Tensors, tuple[str, ...]]:
    """``layers`` with ``prefix`` stripped, less any other whole network next to it.

    A teacher or an average has about as many keys; a head, which belongs to the network, has not.
    """
    inside = {
        key.removeprefix(prefix): one for key, one in layers.items() if key.startswith(prefix)
    }
    outside = {key: one for key, one in layers.items() if not key.startswith(prefix)}
    counts = Counter(key.partition(".")[0] for key in outside)
    networks = {first for first, count in counts.items() if count >= len(inside) / 2}
    left_out = tuple(key for key in outside if key.partition(".")[0] in networks)
    kept = {key: one for key, one in outside.items() if key not in set(left_out)}
    return kept | inside, left_out


@cache
def _known(keys_of: Callable[[Description], frozenset[str]]) -> tuple[KnownNames, ...]:
    typical = shufflenet(groups=3, scale=1)
    found = []
    for layout in LAYOUTS:
        described = in_layout(typical, layout)
        names = frozenset(map(pattern, layout.names(described).values()))
        found.append(KnownNames(name=f"{layout.name}'s ShuffleNet", layout=layout, keys=names))
    for card in cards().values():
        if not isinstance(card.description, ShuffleNetConfig):
            keys = keys_of(card.description)
            found.append(KnownNames(name=card.name, layout=None, keys=keys, card=card.name))
            found += _renamed(card.name, card.description, keys)
    return tuple(found)


def _renamed(card: str, description: Description, keys: frozenset[str]) -> list[KnownNames]:
    found = []
    for renamed in RENAMED_LAYOUTS:
        if form := renamed.form(description):
            theirs = frozenset(key for ours in keys if (key := renamed.theirs(ours, form)))
            name = f"{renamed.name}'s {renamed.network}"
            found.append(
                KnownNames(name=name, layout=None, keys=theirs, card=card, renamed=renamed)
            )
    return found


def in_layout(description: ShuffleNetConfig, layout: Layout) -> ShuffleNetConfig:
    """``description`` with the stem that ``layout`` has."""
    return description.model_copy(update={"bare_stem": layout.stem_bn is None})
