"""Limits of what a card may ask for, and the heads of a network: what all configurations share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

#: Channels of a layer and repetitions of a unit: what a network for phones could have, and so what
#: a card or a checkpoint from elsewhere may ask for.
Channels = Annotated[int, Field(gt=0, le=16_384)]
Groups = Annotated[int, Field(gt=0, le=1024)]
Classes = Annotated[int, Field(gt=0, le=100_000)]
ThreeWidths = tuple[Channels, Channels, Channels]
Repeat = Annotated[int, Field(gt=0, le=64)]
ThreeRepeats = tuple[Repeat, Repeat, Repeat]
#: Weights of a network in all; VGG-16 has 138M.
MAX_PARAMETERS = 1 << 28


class Head(StrEnum):
    """The last part of a network, from its last feature map on.

    ``FIXED`` averages a map down to the size that fully connected layers were made for; ``DENSE``
    applies them at every position, as convolutions, and averages the logits. With ``NONE`` there is
    no classifier, and the network's output is the feature map.
    """

    FIXED = "fixed"
    DENSE = "dense"
    NONE = "none"


def refuse_enormous(parameters: int) -> None:
    """Raise ``ValueError`` for a network of more than ``MAX_PARAMETERS`` weights."""
    if parameters > MAX_PARAMETERS:
        raise ValueError(f"a network of {parameters / 1e9:.1f} thousand million weights")
