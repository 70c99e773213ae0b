"""Activations of real numbers in float64, and the inputs of which their calibrated outputs are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.network.graph import Activation

Float64Array = NDArray[np.float64]
Span = tuple[float, float]

#: Beyond this a sigmoid is 0 or 1, as far as a byte can tell.
_SATURATED_LOGIT = 8.0
#: Beyond this a tanh is -1 or 1, as far as a byte can tell.
_SATURATED_TANH = 4.0
#: Below this what dips below zero is zero again, as far as a byte can tell.
_RETURNS_TO_ZERO = {
    Activation.HARD_SWISH: -3.0,
    Activation.SILU: -8.0,
    Activation.GELU: -4.0,
    Activation.GELU_TANH: -4.0,
    Activation.MISH: -8.0,
}
_BISECTIONS = 60
#: Of larger numbers float64 has no exponential.
_LARGEST_EXPONENT = 700.0


def _sigmoid(x: Float64Array) -> Float64Array:
    falling = np.exp(-np.clip(x, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
    found: Float64Array = 1.0 / (1.0 + falling)
    return found


def _gelu(x: Float64Array) -> Float64Array:
    found: Float64Array = x * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0))) / 2.0
    return found


def _gelu_tanh(x: Float64Array) -> Float64Array:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return x * (1.0 + np.tanh(inner)) / 2.0


_FUNCTIONS: dict[Activation, Callable[[Float64Array], Float64Array]] = {
    Activation.NONE: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0.0),
    Activation.RELU6: lambda x: np.clip(x, 0.0, 6.0),
    Activation.SIGMOID: _sigmoid,
    Activation.HARD_SIGMOID: lambda x: np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    Activation.TANH: np.tanh,
    Activation.HARD_SWISH: lambda x: x * np.clip(x / 6.0 + 0.5, 0.0, 1.0),
    Activation.SILU: lambda x: x * _sigmoid(x),
    Activation.GELU: _gelu,
    Activation.GELU_TANH: _gelu_tanh,
    Activation.MISH: lambda x: x * np.tanh(np.logaddexp(0.0, x)),
}


def apply_activation(activation: Activation, x: Float64Array) -> Float64Array:
    """An activation of real numbers."""
    return _FUNCTIONS[activation](x)


def preimage(activation: Activation, span: Span) -> Span:
    """The input range that an activation maps to ``span``, but for inputs that it saturates.

    Of what dips below zero and returns, as SiLU does, it begins where the output is zero again.
    """
    if activation in _RETURNS_TO_ZERO:
        return _RETURNS_TO_ZERO[activation], _largest_input(activation, max(span[1], 0.0))
    if activation is Activation.HARD_SIGMOID:
        low, high = (min(3.0, max(-3.0, 6.0 * end - 3.0)) for end in span)
        return low, high
    if activation is Activation.TANH:
        most = math.tanh(_SATURATED_TANH)
        low, high = (math.atanh(min(most, max(-most, end))) for end in span)
        return low, high
    least = 1.0 / (1.0 + math.exp(_SATURATED_LOGIT))
    low, high = (min(1.0 - least, max(least, end)) for end in span)
    return math.log(low / (1.0 - low)), math.log(high / (1.0 - high))


def _largest_input(activation: Activation, output: float) -> float:
    """The input above zero of an output, by bisection: all of these functions increase there."""
    low, high = 0.0, output + 4.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        if float(apply_activation(activation, np.array(middle))) < output:
            low = middle
        else:
            high = middle
    return high
