"""Sums of products: convolutions, with the sum behind them where it is exact, and dense layers."""

from __future__ import annotations

from dataclasses import replace

from shufflenet_deploy.export.graph import Activation, Add, Conv, Dense
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8.folding import Folded, TooFineError, fold, fractions
from shufflenet_deploy.export.native.int8.lowering.placing import STORED, Placing, Target
from shufflenet_deploy.export.native.int8.program import Place


def convolution(layer: Conv, values: Placing) -> None:
    """The step of a convolution, and of the sum behind it where it can add."""
    source = values.read(layer)
    if _is_summed(layer, source, values):
        return
    quick = _is_quick(layer)
    to = values.target(layer, layer.activation, shuffles=not quick)
    folded, to = values.fitted(
        to, lambda place: fold(values.numbers, layer, layer.weight, source, place)
    )
    groups = to.groups if to.final is None else 1
    if groups > 1 and layer.groups == 1:
        folded, groups = folded.shuffled(groups), 1
    if quick:
        values.emit(
            steps.Depthwise(
                name=layer.name,
                sources=(source,),
                target=to.place,
                weight=folded.weight[:, 0],
                bias=folded.bias,
                factor=folded.factor,
                stride=layer.stride[0],
                padding=layer.padding,
                shift=folded.shift,
            )
        )
    else:
        step = _products(layer, (source,), to.place, folded)
        values.emit(replace(step, shuffle=groups))
    values.finished(layer.name, to)


def dense(layer: Dense, values: Placing) -> None:
    """A convolution whose window is the whole map, as flattening orders it."""
    source = values.places[layer.inputs[0]]
    weight = layer.weight.reshape(-1, source.channels, source.height, source.width)
    window = Conv(
        name=layer.name, inputs=layer.inputs, output=layer.output, weight=weight,
        bias=layer.bias, activation=layer.activation,
    )  # fmt: skip
    if layer.output == values.graph.output and layer.activation is Activation.NONE:
        folded = fold(values.numbers, window, weight, source, None)
        step = _products(window, (source,), values.scores(), folded)
        values.emit(replace(step, real=True))
        return
    to = values.target(layer, layer.activation)
    folded, to = values.fitted(
        to, lambda place: fold(values.numbers, window, weight, source, place)
    )
    values.emit(_products(window, (source,), to.place, folded))
    values.finished(layer.name, to)


def _is_quick(layer: Conv) -> bool:
    """Whether there are kernels for a depthwise convolution."""
    quick = layer.weight.shape[2:] == (3, 3) and layer.stride in {(1, 1), (2, 2)}
    return layer.depthwise and layer.weight.shape[0] > 1 and quick


def _products(
    layer: Conv, sources: tuple[Place, ...], target: Place, folded: Folded
) -> steps.Convolution:
    return steps.Convolution(
        name=layer.name,
        sources=sources,
        target=target,
        weight=folded.weight,
        bias=folded.bias,
        factor=folded.factor,
        groups=layer.groups,
        stride=layer.stride,
        padding=layer.padding,
        shift=folded.shift,
    )


def _is_summed(layer: Conv, source: Place, values: Placing) -> bool:
    """Whether a layer's step does the sum behind it, too; it is emitted then.

    The scale of the sum is such that the other's is a whole number of its fractions.
    """
    found = values.walk.addition(layer)
    if found is None or layer.activation is not Activation.NONE or _is_quick(layer):
        return False
    addition, known = found
    if addition.activation not in STORED:
        return False
    other, value = values.read(addition, addition.inputs.index(known)), addition.output
    scale, zero = values.scale(value)
    parts = fractions(layer, source, other, scale)
    if parts is None:
        return False
    target = _sum_place(layer, source, found, parts.scale, zero, values)
    try:
        folded = fold(
            values.numbers, layer, layer.weight, source, target,
            other=other, residual=parts.number, fraction=parts.power,
        )  # fmt: skip
    except TooFineError:
        return False
    values.walk.merge(addition)
    values.places[value] = target
    step = _products(layer, (source, other), target, folded)
    values.emit(replace(step, residual=parts.number, fraction=parts.power))
    values.finished(layer.name, Target(place=target, value=value))
    return True


def _sum_place(
    layer: Conv, source: Place, found: tuple[Add, str], scale: float, zero: int, values: Placing
) -> Place:
    """Where a sum goes: over the known value, if that is not needed any more."""
    (addition, known), value = found, found[0].output
    other = values.places[known]
    here = [name for name, place in values.places.items() if place.buffer == other.buffer]
    free = values.graph.output not in here and all(
        values.walk.is_past(values.readers(name), layer, addition) for name in here
    )
    needed, maxima = values.border(value, zero)
    whole = other.first == 0 and other.channels + other.room == other.pixel
    if free and whole and needed == other.border and other.buffer != source.buffer:
        fill = values.numbers.lowest if maxima else zero
        return replace(other, scale=scale, zero=zero, fill=fill)
    return values.place(value, scale, zero)
