"""Loading of networks that are not the zoo's: module, weights, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends import recording
from shufflenet_deploy.records import WeightsInfo
from shufflenet_deploy.zoo import network_files, python_code
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.checkpoint import Candidate, find_state_dicts, shown
from shufflenet_deploy.zoo.config import Preprocessing
from shufflenet_deploy.zoo.key_matching import match_to
from shufflenet_deploy.zoo.model import Model
from shufflenet_deploy.zoo.own_network import FileConfig, PythonConfig
from shufflenet_deploy.zoo.weights_digest import file_identity, stored_weights, untrained_identity

_SHOWN = 3
_MOST_CLASSES = 100_000


def load(card: Architecture, weights: Path | None, seed: int) -> Model:
    """The network that ``card`` describes, with the weights of a file or those it comes with.

    The returned ``architecture`` states the channels and classes that the network was found to
    have.

    Raises:
        UsageError: the code or file is faulty, or the checkpoint is unreadable or of another
            network.
    """
    description = card.description
    assert isinstance(description, PythonConfig | FileConfig)
    notes: tuple[str, ...] = ()
    caffemodel = weights if weights is not None and weights.suffix == ".caffemodel" else None
    if isinstance(description, PythonConfig):
        module, trained = python_code.seeded(description, seed)
    else:
        module = network_files.read(description, card.resolution, weights=caffemodel)
        trained = True
    identity = untrained_identity(card, seed)
    if weights is not None and card.weights is not None:
        _check_unchanged(weights, card)
    if caffemodel is not None and isinstance(description, FileConfig):
        info = WeightsInfo.checkpoint(
            str(weights), sha256=file_identity(caffemodel), layout=description.family
        )
    elif weights is not None:
        notes = load_weights(module, weights, card.name)
        info = WeightsInfo.checkpoint(
            str(weights), sha256=file_identity(weights), layout=description.family
        )
    elif trained:
        info = WeightsInfo.within(card.source, sha256=identity, layout=description.family)
    else:
        info = WeightsInfo.seeded(seed, sha256=identity)
    channels = description.channels or _first_channels(module) or card.preprocessing.channels
    preprocessing = _preprocessing(card, channels)
    found = {
        "channels": channels,
        "classes": _classes(module, channels, card),
    }
    architecture = card.model_copy(
        update={
            "description": description.model_copy(update=found),
            "preprocessing": preprocessing,
        }
    )
    return Model(
        architecture=architecture,
        module=module,
        weights=info,
        preprocessing=preprocessing,
        notes=notes,
    )


def _check_unchanged(weights: Path, card: Architecture) -> None:
    """Refuse weights of a card that are not those it was written for."""
    assert card.weights is not None
    own = stored_weights(card)
    if weights == own and file_identity(weights) != card.weights.sha256:
        raise UsageError(
            f"{weights} has changed since it was imported: its sha256 is not the card's; import "
            "the original file again"
        )


def load_weights(module: nn.Module, path: Path, name: str) -> tuple[str, ...]:
    """Load a checkpoint into ``module``; returns what was left out of the file, a line each.

    Of several state dicts in a file the first that fits is taken. Prefixes that all keys share are
    removed, as for the zoo's networks.

    Raises:
        UsageError: the file cannot be read, or lacks weights of the network or has them of another
            shape.
    """
    wanted = {
        key: tensor
        for key, tensor in module.state_dict().items()
        if tensor.is_floating_point() and tensor.ndim
    }
    if not wanted:
        raise UsageError(f"{name} has no weights, so that {path} cannot be loaded into it")
    failure: UsageError | None = None
    for candidate in find_state_dicts(path)[:8]:
        tensors, left_out = _read(candidate, name, frozenset(wanted))
        problem = _problem(tensors, wanted)
        if not problem:
            module.load_state_dict(
                {key: tensors[key].to(one.dtype) for key, one in wanted.items()}, strict=False
            )
            extra = [*left_out, *(key for key in tensors if key not in wanted)]
            return (f"left out, as no part of the network: {_listed(extra)}",) if extra else ()
        failure = failure or UsageError(f"{path} does not fit {name}: of its keys, {problem}")
    assert failure is not None
    raise failure


def _read(
    candidate: Candidate, name: str, keys: frozenset[str]
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    """The tensors of a state dict by the network's own keys, and those left out."""
    tensors = candidate.read().tensors
    if keys <= set(tensors):
        return tensors, ()
    matched = match_to(tensors, name, keys)
    return matched.tensors, matched.ignored


def _problem(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What is missing, of the wrong shape or not finite, and what is unexpected; "" if it fits."""
    missing = [key for key in wanted if key not in tensors]
    misshapen = [
        f"{shown(key)} is {_shape(tensors[key])} instead of {_shape(one)}"
        for key, one in wanted.items()
        if key in tensors and tensors[key].shape != one.shape
    ]
    broken = [
        key
        for key in wanted
        if key in tensors and not misshapen and not torch.isfinite(tensors[key]).all()
    ]
    if not (missing or misshapen or broken):
        return ""
    unexpected = [key for key in tensors if key not in wanted]
    kinds = (
        ("missing", missing),
        ("of the wrong shape", misshapen),
        ("with NaN or infinity", broken),
        ("unexpected", unexpected),
    )
    return "; ".join(f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in kinds if keys)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, names[:_SHOWN])) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _first_channels(module: nn.Module) -> int | None:
    """Input channels of the first convolution, None where the first layer is another."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            return child.in_channels
    return None


def _preprocessing(card: Architecture, channels: int) -> Preprocessing:
    """The card's preprocessing, if it is for as many channels; else what is usual for them.

    Raises:
        UsageError: the card states its own, for another number of channels.
    """
    stated = card.preprocessing
    if stated.channels == channels:
        return stated
    if stated != Preprocessing.usual(stated.channels):
        raise UsageError(
            f"{card.name} takes {channels} channels and its preprocessing has {stated.channels}: "
            f"give --mean and --std {channels} numbers each"
        )
    return Preprocessing.usual(channels)


def _classes(module: nn.Module, channels: int, card: Architecture) -> int | None:
    """Numbers in the first output if it is a vector, found by running the module once.

    Raises:
        UsageError: the module raises, or returns no tensor.
    """
    size = card.resolution
    image = torch.zeros(1, channels, size.height, size.width)
    asked = f"{card.source} on an input of 1x{channels}x{size.height}x{size.width}"
    with python_code.user_code(asked, _code(card)), torch.inference_mode():
        output = module(image)
    several = recording.outputs(output)
    if several:
        output = several[0]
    if not isinstance(output, Tensor):
        raise UsageError(f"{card.source} returns a {type(output).__name__}, which is no tensor")
    if output.ndim < 2 or output.shape[0] != 1:
        raise UsageError(
            f"{asked} returns a tensor of {_shape(output) or 'no dimension'}: its first dimension "
            "must be the batch of 1"
        )
    flat = output.ndim == 2 and output.shape[1] <= _MOST_CLASSES
    return int(output.shape[1]) if flat else None


def _code(card: Architecture) -> str:
    return card.description.code if isinstance(card.description, PythonConfig) else ""
