"""C expressions for fused activations."""

from __future__ import annotations

from typing import Any

from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.ops import StripConvPool
from shufflenet_deploy.network.graph import Activation


def activation_expr(activation: Activation, value: str, suffix: str = "") -> str:
    """A C expression: the activation of a vector."""
    if activation is Activation.RELU:
        return f"MAX{suffix}({value}, zero)"
    if activation is Activation.RELU6:
        return f"MIN{suffix}(MAX{suffix}({value}, zero), six)"
    if activation is Activation.HARD_SWISH:
        return f"HARD_SWISH{suffix}({value})"
    return value


def scalar_expr(activation: Activation, value: str) -> str:
    """A C expression: the activation of one number, by a function of that name."""
    return f"{activation.value.replace('-', '_')}({value})"


def header_of(op: Op[Any]) -> str | None:
    """The C header that the activation fused into an op needs besides the common one."""
    if isinstance(op, StripConvPool):
        return header_of(op.pool)
    epilogue = getattr(op, "epilogue", None)
    fused = {getattr(op, "activation", None), getattr(epilogue, "activation", epilogue)}
    return "c/hard_swish.h" if Activation.HARD_SWISH in fused else None


def activation_constants(activation: Activation, kind: str = "vf") -> list[str]:
    """Declarations of the constants in ``activation_expr``."""
    lines = []
    if activation in {Activation.RELU, Activation.RELU6}:
        lines.append(f"const {kind} zero = {{0}};")
    if activation is Activation.RELU6:
        lines.append(f"const {kind} six = (real)6.0f - ({kind}){{0}};")
    return lines
