"""Composition of activations, for every fusion that meets two in a row."""

from __future__ import annotations

from shufflenet_deploy.codegen.ir.activations import CLAMPS
from shufflenet_deploy.network.graph import Activation


def compose_activations(first: Activation, second: Activation) -> Activation | None:
    """One activation equal to ``first`` then ``second``; None if there is none."""
    if Activation.NONE in {first, second}:
        return second if first is Activation.NONE else first
    if not {first, second} <= CLAMPS:
        return None
    return Activation.RELU if first is second is Activation.RELU else Activation.RELU6
