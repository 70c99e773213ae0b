"""Activations in any spelling: a function of one value is known by what it computes.

Exporters write GELU as four operations with ``Erf``, networks write hard-swish as
``x * clip(x + 3, 0, 6) / 6``, and every one in its own order. Each value that depends on one other
value alone, element by element, is computed on sample numbers here; where the results are those of
an activation, the layers become that activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    Add,
    Arithmetic,
    ArithmeticKind,
    Clip,
    Elementwise,
    Graph,
    Layer,
    Multiply,
)

Samples = NDArray[np.float64]

#: How many layers back a function may begin: the longest spelling of GELU has nine.
_LONGEST = 12
_GRID: Samples = np.concatenate(
    [
        np.linspace(-12, 12, 481),
        [-1e4, -1e3, -100.0, -40.0, 40.0, 100.0, 1e3, 1e4],
        [3.0, -3.0, 6.0, -6.0, 0.0],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Erf(Layer):
    """The error function: part of GELU; lives only until ``recognise``."""


@dataclass(frozen=True, kw_only=True)
class Softplus(Layer):
    """``log(1 + exp(x))``: part of Mish; lives only until ``recognise``."""


def recognise(graph: Graph) -> Graph:
    """Replace layers that compute an activation together by that activation.

    What the layers computed on the way stays where something else reads it, and is removed as
    unread by ``simplify`` where nothing does.

    Raises:
        ExportError: an error function or a softplus is part of no known activation.
    """
    functions: dict[str, dict[str, Samples]] = {graph.input: {graph.input: _GRID}}
    last_reader = {name: layer.name for layer in graph.layers for name in layer.inputs}
    layers: list[Layer] = []
    for original in graph.layers:
        layer = original
        found = _functions_of(layer, functions)
        for root, samples in found.items():
            activation = _activation_like(samples)
            fits = graph.shapes[root] == graph.shapes[layer.output]
            if activation is not None and fits and not _is(layer, activation):
                layer = _activated(original, root, activation)
                break
        layers.append(layer)
        functions[layer.output] = found | {layer.output: _GRID}
        for name in {name for name in original.inputs if last_reader[name] == original.name}:
            functions.pop(name, None)
    return _complete(replace(graph, layers=tuple(layers)))


def _activated(layer: Layer, root: str, activation: Activation) -> Layer:
    return Elementwise(name=layer.name, inputs=(root,), output=layer.output, activation=activation)


def _is(layer: Layer, activation: Activation) -> bool:
    return isinstance(layer, Elementwise) and layer.activation is activation


def _complete(graph: Graph) -> Graph:
    """Drop the parts that are unread now; refuse those that are not."""
    needed = set(graph.outputs)
    kept: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.output not in needed:
            continue
        if isinstance(layer, (Erf, Softplus)):
            word = type(layer).__name__
            raise ExportError(
                f"cannot export {graph.name}: '{layer.name}' is {word} outside of GELU and Mish, "
                "which no layer computes"
            )
        kept.append(layer)
        needed.update(layer.inputs)
    shapes = {name: shape for name, shape in graph.shapes.items() if name in needed}
    return replace(graph, layers=tuple(reversed(kept)), shapes={**shapes})


def _functions_of(layer: Layer, known: dict[str, dict[str, Samples]]) -> dict[str, Samples]:
    """The layer as a function of each value that it depends on alone, the furthest first."""
    compute = _FUNCTIONS.get(type(layer))
    if compute is None:
        return {}
    operands = [known.get(name, {}) for name in layer.inputs]
    roots = [root for root in operands[0] if all(root in other for other in operands[1:])]
    found: dict[str, Samples] = {}
    with np.errstate(all="ignore"):
        for root in roots[-_LONGEST:]:
            samples = compute(layer, *(operand[root] for operand in operands))
            if samples is not None:
                found[root] = samples
    return found


def _activation_like(samples: Samples) -> Activation | None:
    # A few numbers tell most functions apart.
    for index in np.flatnonzero(_close(samples[_FEW], _VALUES[:, _FEW])):
        if np.isfinite(samples).all() and _close(samples, _VALUES[index]).all():
            return _KINDS[index]
    return None


def _close(found: Samples, expected: Samples) -> NDArray[np.bool_]:
    """True for each row of ``expected`` that ``found`` is equal to."""
    with np.errstate(invalid="ignore"):
        same = np.abs(found - expected) <= 2e-6 + 2e-5 * np.abs(expected)
    return np.asarray(same.all(axis=-1))


def _arithmetic(layer: Layer, *operands: Samples) -> Samples | None:
    assert isinstance(layer, Arithmetic)
    values = list(operands)
    if layer.constant is not None:
        if layer.constant.size != 1 or layer.constant.ndim > 3:
            return None
        number = np.float64(layer.constant.reshape(-1)[0])
        values.insert(0 if layer.reverse else 1, np.full_like(operands[0], number))
    result: Samples = _OPERATIONS[layer.kind](*values)
    return _then(layer.activation, result)


def _add(layer: Layer, a: Samples, b: Samples) -> Samples:
    assert isinstance(layer, Add)
    return _then(layer.activation, a + b)


def _product(_: Layer, a: Samples, b: Samples) -> Samples:
    return a * b


def _clip(layer: Layer, x: Samples) -> Samples:
    assert isinstance(layer, Clip)
    return np.clip(x, layer.low, layer.high)


def _elementwise(layer: Layer, x: Samples) -> Samples:
    assert isinstance(layer, Elementwise)
    return _then(layer.activation, x)


def _erf(_: Layer, x: Samples) -> Samples:
    return _error_function(x)


def _softplus(_: Layer, x: Samples) -> Samples:
    return np.asarray(np.logaddexp(0, x))


def _then(activation: Activation, x: Samples) -> Samples:
    return _ACTIVATIONS[activation](x)


def _sigmoid(x: Samples) -> Samples:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def _error_function(x: Samples) -> Samples:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _gelu_tanh(x: Samples) -> Samples:
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1 + np.tanh(inner)))


_ACTIVATIONS: dict[Activation, Callable[[Samples], Samples]] = {
    Activation.NONE: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.RELU6: lambda x: np.clip(x, 0, 6),
    Activation.SIGMOID: _sigmoid,
    Activation.HARD_SIGMOID: lambda x: np.clip(x / 6 + 0.5, 0, 1),
    Activation.TANH: np.tanh,
    Activation.HARD_SWISH: lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    Activation.SILU: lambda x: x * _sigmoid(x),
    Activation.GELU: lambda x: 0.5 * x * (1 + _error_function(x / math.sqrt(2))),
    Activation.GELU_TANH: _gelu_tanh,
    Activation.MISH: lambda x: x * np.tanh(np.logaddexp(0, x)),
}

_KINDS = [activation for activation in _ACTIVATIONS if activation is not Activation.NONE]
_VALUES: Samples = np.stack([_ACTIVATIONS[activation](_GRID) for activation in _KINDS])
_FEW = slice(None, None, 60)

_OPERATIONS: dict[ArithmeticKind, Callable[[Samples, Samples], Samples]] = {
    ArithmeticKind.ADD: np.add,
    ArithmeticKind.SUBTRACT: np.subtract,
    ArithmeticKind.MULTIPLY: np.multiply,
    ArithmeticKind.DIVIDE: np.divide,
    ArithmeticKind.MAXIMUM: np.maximum,
    ArithmeticKind.MINIMUM: np.minimum,
}

_FUNCTIONS: dict[type[Layer], Callable[..., Samples | None]] = {
    Arithmetic: _arithmetic,
    Add: _add,
    Multiply: _product,
    Clip: _clip,
    Elementwise: _elementwise,
    Erf: _erf,
    Softplus: _softplus,
}
