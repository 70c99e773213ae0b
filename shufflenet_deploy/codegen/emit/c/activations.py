"""C expressions for fused activations."""

from __future__ import annotations

from shufflenet_deploy.network.graph import Activation


def activation_expr(activation: Activation, value: str, suffix: str = "") -> str:
    """A C expression: the activation of a vector."""
    if activation is Activation.RELU:
        return f"MAX{suffix}({value}, zero)"
    if activation is Activation.RELU6:
        return f"MIN{suffix}(MAX{suffix}({value}, zero), six)"
    return value


def activation_constants(activation: Activation, kind: str = "vf") -> list[str]:
    """Declarations of the constants in ``activation_expr``."""
    lines = []
    if activation in {Activation.RELU, Activation.RELU6}:
        lines.append(f"const {kind} zero = {{0}};")
    if activation is Activation.RELU6:
        lines.append(f"const {kind} six = (real)6.0f - ({kind}){{0}};")
    return lines
