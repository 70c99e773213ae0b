"""Activations as operations of their own, composed where TFLite has none."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.export.tflite.program_builder import ProgramBuilder
from shufflenet_deploy.network.graph import Activation

#: Activations that TFLite's operations have built in, by their names in its schema.
FUSED_ACTIVATIONS = {Activation.RELU: "RELU", Activation.RELU6: "RELU6"}

#: Activations of which no value is below zero.
NON_NEGATIVE = frozenset(
    {Activation.RELU, Activation.RELU6, Activation.SIGMOID, Activation.HARD_SIGMOID}
)

_CODES = {
    Activation.RELU: "RELU",
    Activation.RELU6: "RELU6",
    Activation.SIGMOID: "LOGISTIC",
    Activation.TANH: "TANH",
    Activation.HARD_SWISH: "HARD_SWISH",
}

#: From here on tanh(log(1 + exp(x))) is 1 in single precision, and exp(x)^2 still finite.
_SATURATED = 20.0


def activate(
    program: ProgramBuilder,
    activation: Activation,
    source: str,
    target: str,
    shape: tuple[int, ...],
    *,
    rearranges: str | None = None,
) -> None:
    """Append an activation of ``source`` that writes ``target``."""
    if activation is Activation.HARD_SIGMOID:
        _hard_sigmoid(program, source, target, shape, rearranges)
    elif activation is Activation.SILU:
        gate = f"{target}:sigmoid"
        program.write("LOGISTIC", (source,), gate, shape, {})
        binary(program, "MUL", (source, gate), target, shape, rearranges=rearranges)
    elif activation is Activation.MISH:
        _mish(program, source, target, shape, rearranges)
    elif activation in (Activation.GELU, Activation.GELU_TANH):
        options = {"approximate": activation is Activation.GELU_TANH}
        program.write("GELU", (source,), target, shape, options, rearranges=rearranges)
    else:
        program.write(_CODES[activation], (source,), target, shape, {}, rearranges=rearranges)


def binary(
    program: ProgramBuilder,
    code: str,
    operands: tuple[str, str],
    target: str,
    shape: tuple[int, ...],
    *,
    rearranges: str | None = None,
    real: bool = False,
) -> str:
    """Append an operation of two operands without an activation; returns ``target``."""
    fuses = code in ("ADD", "SUB", "MUL", "DIV")
    options = {"fusedActivationFunction": "NONE"} if fuses else {}
    program.write(code, operands, target, shape, options, rearranges=rearranges, real=real)
    return target


def scalar(program: ProgramBuilder, value: float) -> str:
    """A constant of one element, shared by all who need it."""
    return program.constant(f"scalar:{value!r}", np.array(value, np.float32))


def _hard_sigmoid(
    program: ProgramBuilder,
    source: str,
    target: str,
    shape: tuple[int, ...],
    rearranges: str | None,
) -> None:
    three = program.constant("three", np.array(3, np.float32))
    sixth = program.constant("sixth", np.array(1 / 6, np.float32))
    middle = f"{target}:times-six"
    options = {"fusedActivationFunction": "RELU6"}
    program.write("ADD", (source, three), middle, shape, options, span=(0.0, 6.0))
    binary(program, "MUL", (middle, sixth), target, shape, rearranges=rearranges)


def _mish(
    program: ProgramBuilder,
    source: str,
    target: str,
    shape: tuple[int, ...],
    rearranges: str | None,
) -> None:
    """Mish: x tanh(log(1 + e)) with e = exp(x) is x n / (n + 2) with n = e (e + 2)."""

    def step(code: str, operands: tuple[str, ...], word: str) -> str:
        name = f"{target}:{word}"
        if len(operands) == 1:
            program.write(code, operands, name, shape, {}, real=True)
            return name
        return binary(program, code, (operands[0], operands[1]), name, shape, real=True)

    two = scalar(program, 2.0)
    bounded = step("MINIMUM", (source, scalar(program, _SATURATED)), "bounded")
    power = step("EXP", (bounded,), "exp")
    product = step("MUL", (power, step("ADD", (power, two), "exp-and-two")), "numerator")
    share = step("DIV", (product, step("ADD", (product, two), "denominator")), "share")
    binary(program, "MUL", (source, share), target, shape, rearranges=rearranges)
