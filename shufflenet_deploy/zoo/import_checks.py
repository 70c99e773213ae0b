"""Common parts of weight imports: the fit of a state dict, its errors, its result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution, first_problem
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.checkpoint import Checkpoint, shown
from shufflenet_deploy.zoo.config import Description, Preprocessing, ShuffleNetConfig
from shufflenet_deploy.zoo.config_limits import RGB_CHANNELS
from shufflenet_deploy.zoo.mobile_config import ResNetConfig
from shufflenet_deploy.zoo.registry import architecture
from shufflenet_deploy.zoo.weights_digest import file_identity

#: Metadata of the safetensors files that ``import`` writes.
DESCRIPTION_KEY = "shufflenet_deploy.description"
PREPROCESSING_KEY = "shufflenet_deploy.preprocessing"

_SHOWN = 3
_DESCRIPTION: TypeAdapter[Description] = TypeAdapter(Description)
_PREPROCESSING = TypeAdapter(Preprocessing)
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


@cache
def state_shapes(description: Description) -> Mapping[str, tuple[int, ...]]:
    """Our keys of the network of ``description`` -> their shapes; counters left out."""
    with torch.device("meta"):
        state = description.build().state_dict()
    return {
        key: tuple(tensor.shape)
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked")
    }


def listed(names: list[str]) -> str:
    """The first few names from a file, for a message."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, names[:_SHOWN])) + more


def refuse_not_finite(checkpoint: Checkpoint, keys: list[str]) -> None:
    """Raise ``UsageError`` for the first of ``keys`` that holds a NaN or an infinity."""
    for key in keys:
        if not torch.isfinite(checkpoint.tensors[key]).all():
            raise UsageError(
                f"{checkpoint.path} holds NaN or infinity in {shown(key)}; training went wrong"
            )


def problems(checkpoint: Checkpoint, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
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


def misfit(checkpoint: Checkpoint, name: str, layout: str, faults: list[str]) -> UsageError:
    """The error for a file that is not the network ``name``, for these ``faults``."""
    phrases = "; ".join(dict.fromkeys(faults))
    return MisfitError(
        f"{checkpoint.path} does not fit {name}: of its keys, {phrases};"
        f" the nearest that is known is {layout}"
    )


def holds_another(checkpoint: Checkpoint, layout: str, name: str, card: Architecture) -> UsageError:
    """The error for a file that is whole and holds the network ``name`` instead of ``card``."""
    try:
        advice = f"use --model {architecture(name).name}"
    except UsageError:  # No model that is known here: it needs a card.
        words = ("shufflenet-deploy", "import", str(checkpoint.path))
        advice = f"make a card of it: {shlex.join(words)}"
    return MisfitError(
        f"{checkpoint.path} holds {name} ({layout}'s layout), not {card.name}; {advice}"
    )


def adapted(
    card: Architecture,
    description: Description,
    usual: Preprocessing | None,
    checkpoint: Checkpoint,
) -> Architecture:
    """``card`` with what these weights bring: their description, preprocessing and resolution."""
    preprocessing = _stored_preprocessing(checkpoint) or usual
    changes: dict[str, object] = {"description": description}
    if description != card.description:
        changes["counts"] = None
    channels = description.channels or RGB_CHANNELS
    if (preprocessing or card.preprocessing).channels != channels:
        preprocessing = Preprocessing.usual(channels)
    if preprocessing:
        changes["preprocessing"] = preprocessing
    small = isinstance(description, ShuffleNetConfig | ResNetConfig) and description.small_pictures
    if small:
        changes["resolution"] = Resolution(height=32, width=32)
    return card.model_copy(update=changes)


def imported(
    checkpoint: Checkpoint, card: Architecture, state: Mapping[str, Tensor], layout: str
) -> ImportedWeights:
    """The result: ``state`` in our keys, and where it came from."""
    return ImportedWeights(
        architecture=card,
        state=state,
        layout=layout,
        source=str(checkpoint.path),
        sha256=file_identity(checkpoint.path),
    )


def stored_description(checkpoint: Checkpoint) -> Description | None:
    """The network that ``import`` wrote into the metadata of a file; None in any other.

    Raises:
        UsageError: this version does not understand it.
    """
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
