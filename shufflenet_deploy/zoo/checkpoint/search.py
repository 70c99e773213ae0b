"""Search for the state dicts in a checkpoint, by looking for tensors, not by names of keys.

Training scripts put them next to optimisers, averages and settings, under any key and at any depth;
a whole pickled module holds its own in ``_parameters``, ``_buffers`` and ``_modules``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from shufflenet_deploy.zoo.checkpoint.pickle_reader import Instance
from shufflenet_deploy.zoo.checkpoint.tensors import TensorRef, tensor_of

_MAX_DEPTH = 12
_MAX_NODES = 2_000_000
#: Longer lists are an optimiser's or a log, and longer keys no name of a tensor.
_MAX_LIST, _MAX_KEY = 64, 300
_MODULE_FIELDS = ("_parameters", "_buffers")
#: Keys of what is saved with a network: its averages, and an optimiser's state of each weight.
_AVERAGE = re.compile(r"(^|[._])(ema|swa|averaged?|avg|shadow|polyak)([._]|$)")
_OPTIMISER = re.compile(r"optim|momentum|exp_avg|grad")


@dataclass(frozen=True, kw_only=True)
class StateDict:
    """Tensors by name, and the ``path`` of keys they were found under ("" at the top)."""

    path: str
    tensors: Mapping[str, TensorRef]

    @property
    def weights(self) -> int:
        """Number of tensors of two dimensions or more, as those of layers are."""
        return sum(len(one.shape) > 1 or bool(one.fault) for one in self.tensors.values())

    @property
    def is_average(self) -> bool:
        """True where its key names a moving average of the weights."""
        return names_average(self.path)


def names_average(path: str) -> bool:
    """True where keys such as ``ema`` or ``state_dict_ema`` are part of a path."""
    return bool(_AVERAGE.search(path.lower()))


def state_dicts(content: object) -> list[StateDict]:
    """Every state dict in ``content``, the likeliest first.

    That is the one with most tensors of two dimensions or more; of equal ones the trained weights
    before their averages and both before an optimiser's, then in the order of the file. Where
    there are several, all of them together come last: a network may be saved in parts.
    """
    found = [one for one in _walk(content) if one.tensors]
    found.sort(key=_rank)
    if len(found) > 1:
        joined = {
            f"{one.path}.{name}" if one.path else name: tensor
            for one in found
            if not _OPTIMISER.search(one.path.lower())
            for name, tensor in one.tensors.items()
        }
        found.append(StateDict(path="", tensors=joined))
    return found


def _rank(found: StateDict) -> tuple[int, bool, bool]:
    return -found.weights, bool(_OPTIMISER.search(found.path.lower())), found.is_average


def _walk(content: object) -> Iterator[StateDict]:
    """Every mapping that holds tensors itself, each once, whatever the references."""
    seen: set[int] = set()
    waiting: list[tuple[object, str, int]] = [(content, "", 0)]
    while waiting and len(seen) < _MAX_NODES:
        node, path, depth = waiting.pop()
        if id(node) in seen or depth > _MAX_DEPTH:
            continue
        seen.add(id(node))
        if isinstance(node, Instance) and _is_module(node):
            yield StateDict(path=path, tensors=_module_tensors(node))
            continue
        entries = _entries(node)
        tensors = {key: tensor for key, value in entries if (tensor := tensor_of(value))}
        if tensors:
            yield StateDict(path=path, tensors=tensors)
        below = [(value, f"{path}.{key}" if path else key) for key, value in entries]
        waiting += [
            (value, where, depth + 1)
            for value, where in reversed(below)
            if isinstance(value, (dict, list, tuple, Instance)) and tensor_of(value) is None
        ]


def _entries(node: object) -> list[tuple[str, object]]:
    """Entries of a value by name: items, attributes, or (of short lists) indices."""
    if isinstance(node, dict):
        return [
            (key, value)
            for key, value in node.items()
            if isinstance(key, str) and len(key) <= _MAX_KEY
        ]
    if isinstance(node, Instance):
        state = node.state if isinstance(node.state, (dict, tuple)) else {}
        return [*_entries(node.items), *_entries(state), *_entries(node.args)]
    if isinstance(node, (list, tuple)) and len(node) <= _MAX_LIST:
        return [(str(place), value) for place, value in enumerate(node)]
    return []


def _is_module(node: Instance) -> bool:
    return isinstance(node.state, dict) and isinstance(node.state.get("_modules"), dict)


def _module_tensors(module: Instance) -> dict[str, TensorRef]:
    """The state dict of a module that was pickled whole."""
    found: dict[str, TensorRef] = {}
    seen: set[int] = set()
    waiting: list[tuple[Instance, str, int]] = [(module, "", 0)]
    while waiting:
        node, prefix, depth = waiting.pop()
        if id(node) in seen or depth > _MAX_DEPTH or not isinstance(node.state, dict):
            continue
        seen.add(id(node))
        passing = node.state.get("_non_persistent_buffers_set")
        unsaved = passing if isinstance(passing, list) else []
        for field in _MODULE_FIELDS:
            for key, value in _entries(node.state.get(field)):
                if (tensor := tensor_of(value)) and key not in unsaved:
                    found[f"{prefix}{key}"] = tensor
        waiting += [
            (value, f"{prefix}{key}.", depth + 1)
            for key, value in reversed(_entries(node.state.get("_modules")))
            if isinstance(value, Instance)
        ]
    return found
