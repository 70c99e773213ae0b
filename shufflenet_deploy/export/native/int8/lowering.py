"""From a ``Graph`` and calibrated ranges to an int8 ``Program``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8 import tables
from shufflenet_deploy.export.native.int8.folding import (
    Folded,
    TooFineError,
    average,
    fold,
    fractions,
    mean,
)
from shufflenet_deploy.export.native.int8.placing import NO_PADDING, STORED, Placing, Target
from shufflenet_deploy.export.native.int8.program import Numbers, Place, Program, Step
from shufflenet_deploy.export.native.program import INPUT
from shufflenet_deploy.export.quantize import Ranges, corrected

_Found = TypeVar("_Found")


def lower(graph: Graph, ranges: Ranges, numbers: Numbers) -> Program:
    """The int8 program of ``graph``; biases are corrected for the rounding of the weights.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    return _Lowering(corrected(graph, ranges), ranges, numbers).run()


class _Lowering(Placing):
    def __init__(self, graph: Graph, ranges: Ranges, numbers: Numbers) -> None:
        super().__init__(graph, ranges, numbers)
        #: Gates that are an activation of another value: where that is.
        self.gates: dict[str, tuple[Place, Activation]] = {}

    def run(self) -> Program:
        self._picture()
        for layer in self.walk:
            self._lower(layer)
        last = self.places.get(self.graph.output)
        if last is not None:
            self.emit(steps.Real(name="output", sources=(last,), target=self.scores()))
        return self.program

    def _lower(self, layer: Layer) -> None:
        match layer:
            case Conv():
                self._convolution(layer)
            case Dense():
                self._dense(layer)
            case Pool():
                self._pool(layer)
            case AdaptiveAveragePool():
                self._adaptive(layer)
            case Concat():
                self._concat(layer)
            case Flatten():
                self.places[layer.output] = self.places[layer.inputs[0]]
            case Add():
                self._add(layer)
            case Multiply():
                self._multiply(layer)
            case LocalResponseNorm():
                self._normalise(layer)
            case Elementwise():
                self._elementwise(layer)
            case Shuffle():
                to = self.target(layer, Activation.NONE)
                self.look_up(layer.name, self._read(layer), to.place, groups=layer.groups)
                self.finished(layer.name, to)
            case _:
                raise self.unknown(layer)

    def _picture(self) -> None:
        value = self.graph.input
        shape = self.graph.shapes[value]
        if len(shape) != 3 or shape[0] > 4:
            raise ExportError(f"{self.graph.name}: the input is {shape}, not a picture")
        place = self.place(value, *self.scale(value))
        place = replace(place, pixel=4, room=0)
        place = replace(place, buffer=self.program.buffer(place.size))
        source = Place(buffer=INPUT, channels=shape[0], height=shape[1], width=shape[2], pixel=4)
        inverse = float(np.float32(1) / np.float32(place.scale))
        self.emit(steps.Picture(name="input", sources=(source,), target=place, inverse=inverse))
        self.places[value] = place
        self.finished("input", Target(place=place, value=value))

    def _read(self, layer: Layer, at: int = 0) -> Place:
        value = layer.inputs[at]
        place = self.places[value]
        if (place.channels, place.height, place.width) != self.size(value):
            raise self.unknown(layer, f"a map that was flattened, in {type(layer).__name__}")
        return place

    def _numbers(self, to: Target, make: Callable[[Place], _Found]) -> tuple[_Found, Target]:
        """What ``make`` says about the target, which is another if its steps are too fine."""
        try:
            return make(to.place), to
        except TooFineError as error:
            place = to.place
            size = (place.channels, place.height, place.width)
            to = to.coarser(self.memory(size, place.scale * error.times, place.zero))
            return make(to.place), to

    # -- sums of products -------------------------------------------------------------------

    def _convolution(self, layer: Conv) -> None:
        source = self._read(layer)
        if self._summed(layer, source):
            return
        quick = self._is_quick(layer)
        to = self.target(layer, layer.activation, shuffles=not quick)
        folded, to = self._numbers(
            to, lambda place: fold(self.numbers, layer, layer.weight, source, place)
        )
        groups = to.groups if to.final is None else 1
        if groups > 1 and layer.groups == 1:
            folded, groups = folded.shuffled(groups), 1
        if quick:
            self.emit(
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
            step = self._products(layer, (source,), to.place, folded)
            self.emit(replace(step, shuffle=groups))
        self.finished(layer.name, to)

    def _is_quick(self, layer: Conv) -> bool:
        """Whether there are kernels for a depthwise convolution."""
        quick = layer.weight.shape[2:] == (3, 3) and layer.stride in {(1, 1), (2, 2)}
        return layer.depthwise and layer.weight.shape[0] > 1 and quick

    def _products(
        self, layer: Conv, sources: tuple[Place, ...], target: Place, folded: Folded
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

    def _summed(self, layer: Conv, source: Place) -> bool:
        """Whether a layer's step could add its output, which nobody else reads, to a value.

        The scale of the sum is such that the other's is a whole number of its fractions.
        """
        found = self.walk.addition(layer)
        if found is None or layer.activation is not Activation.NONE or self._is_quick(layer):
            return False
        addition, known = found
        if addition.activation not in STORED:
            return False
        other, value = self._read(addition, addition.inputs.index(known)), addition.output
        scale, zero = self.scale(value)
        parts = fractions(layer, source, other, scale)
        if parts is None:
            return False
        target = self._sum_place(layer, source, found, parts.scale, zero)
        try:
            folded = fold(
                self.numbers, layer, layer.weight, source, target,
                other=other, residual=parts.number, fraction=parts.power,
            )  # fmt: skip
        except TooFineError:
            return False
        self.walk.merge(addition)
        self.places[value] = target
        step = self._products(layer, (source, other), target, folded)
        self.emit(replace(step, residual=parts.number, fraction=parts.power))
        self.finished(layer.name, Target(place=target, value=value))
        return True

    def _sum_place(
        self, layer: Conv, source: Place, found: tuple[Add, str], scale: float, zero: int
    ) -> Place:
        """Where a sum goes: over the known value, if that is not needed any more."""
        (addition, known), value = found, found[0].output
        other = self.places[known]
        here = [name for name, place in self.places.items() if place.buffer == other.buffer]
        free = self.graph.output not in here and all(
            self.walk.is_past(self.readers(name), layer, addition) for name in here
        )
        needed, maxima = self.border(value, zero)
        whole = other.first == 0 and other.channels + other.room == other.pixel
        if free and whole and needed == other.border and other.buffer != source.buffer:
            fill = self.numbers.lowest if maxima else zero
            return replace(other, scale=scale, zero=zero, fill=fill)
        return self.place(value, scale, zero)

    def _dense(self, layer: Dense) -> None:
        """A convolution whose window is the whole map, as flattening orders it."""
        source = self.places[layer.inputs[0]]
        weight = layer.weight.reshape(-1, source.channels, source.height, source.width)
        window = Conv(
            name=layer.name, inputs=layer.inputs, output=layer.output, weight=weight,
            bias=layer.bias, activation=layer.activation,
        )  # fmt: skip
        if layer.output == self.graph.output and layer.activation is Activation.NONE:
            folded = fold(self.numbers, window, weight, source, None)
            step = self._products(window, (source,), self.scores(), folded)
            self.emit(replace(step, real=True))
            return
        to = self.target(layer, layer.activation)
        folded, to = self._numbers(
            to, lambda place: fold(self.numbers, window, weight, source, place)
        )
        self.emit(self._products(window, (source,), to.place, folded))
        self.finished(layer.name, to)

    # -- windows ----------------------------------------------------------------------------

    def _pool(self, layer: Pool) -> None:
        source = self._read(layer)
        if layer.kind is PoolKind.MAX:
            self._maximum(layer, source)
            return
        to = self.target(layer, layer.activation)
        if layer.count_padding or not any(layer.padding):
            step = self._average(layer, source, to.place)
            if step is not None:
                self.emit(step)
                self.finished(layer.name, to)
                return
        target, kernel, stride, padding = to.place, layer.kernel, layer.stride, layer.padding
        self._areas(
            layer,
            to,
            tables.inside(source.height, target.height, kernel[0], stride[0], padding[0]),
            tables.inside(source.width, target.width, kernel[1], stride[1], padding[1]),
            kernel[0] * kernel[1] if layer.count_padding else None,
        )

    def _average(self, layer: Pool, source: Place, target: Place) -> Step | None:
        """The step of a pool whose sums fit 16 bits."""
        pixels = layer.kernel[0] * layer.kernel[1]
        found = average(self.numbers, source, target, pixels)
        if found is None:
            return None
        start, factor, up = found
        return steps.Average(
            name=layer.name, sources=(source,), target=target, kernel=layer.kernel,
            stride=layer.stride, padding=layer.padding, start=start, factor=factor, up=up,
        )  # fmt: skip

    def _areas(
        self, layer: Layer, to: Target, rows: tables.Ends, columns: tables.Ends,
        divisor: int | None = None,
    ) -> None:  # fmt: skip
        source = self._read(layer)
        found, to = self._numbers(
            to,
            lambda place: tables.areas(
                layer.name, self.numbers, source, place, rows, columns, divisor
            ),
        )
        self.emit(
            steps.Areas(
                name=layer.name, sources=(source,), target=to.place, rows=rows, columns=columns,
                start=found.start, factor=found.factor, shift=found.shift,
            )
        )  # fmt: skip
        self.finished(layer.name, to)

    def _maximum(self, layer: Pool, source: Place) -> None:
        """A maximum keeps the scale of what it reads."""
        lowest = self.numbers.lowest
        if any(layer.padding) and source.fill != lowest:
            source = self._copied(layer, source)
        plain = layer.activation is Activation.NONE or (
            layer.activation is Activation.RELU and source.zero == lowest
        )
        if plain:
            place = self.place(layer.output, source.scale, source.zero)
            self.places[layer.output] = place
            to = Target(place=place, value=layer.output)
        else:
            to = self.target(layer, Activation.NONE)
            place = self.memory(self.size(layer.output), source.scale, source.zero)
            to = replace(to.coarser(place), activation=layer.activation)
        self.emit(
            steps.Maximum(
                name=layer.name,
                sources=(source,),
                target=to.place,
                kernel=layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
            )
        )
        self.finished(layer.name, to)

    def _copied(self, layer: Pool, source: Place) -> Place:
        """A value once more, with the border that a maximum needs."""
        size = (source.channels, source.height, source.width)
        place = self.memory(size, source.scale, source.zero, layer.padding, self.numbers.lowest)
        self.look_up(layer.name, source, place)
        self.emit(steps.Border(name=layer.name, sources=(place,), target=place))
        return place

    def _adaptive(self, layer: AdaptiveAveragePool) -> None:
        source = self._read(layer)
        if self.unchanged(layer):
            self.places[layer.output] = source
            return
        if layer.size != (1, 1):
            height, width = layer.size
            rows = tables.parts(source.height, height)
            to = self.target(layer, Activation.NONE)
            self._areas(layer, to, rows, tables.parts(source.width, width))
            return
        # Whole vectors are stored, so that it is never part of something else.
        to = Target(place=self.home(layer.output), value=layer.output)
        (start, factor, shift), to = self._numbers(
            to, lambda place: mean(layer.name, self.numbers, source, place)
        )
        self.emit(
            steps.Mean(
                name=layer.name,
                sources=(source,),
                target=to.place,
                start=start,
                factor=factor,
                shift=shift,
            )
        )
        self.finished(layer.name, to)

    # -- element by element -----------------------------------------------------------------

    def _add(self, layer: Add) -> None:
        one, two = self._read(layer), self._read(layer, 1)
        found, to = self._numbers(
            self.target(layer, layer.activation),
            lambda place: tables.sum_numbers(layer.name, one, two, place),
        )
        self.emit(
            steps.Sum(
                name=layer.name, sources=(one, two), target=to.place, factors=found.factors,
                start=found.start, power=found.power,
            )
        )  # fmt: skip
        self.finished(layer.name, to)

    def _multiply(self, layer: Multiply) -> None:
        value, name = self._read(layer), layer.inputs[1]
        if name in self.gates:
            by, activation = self.gates[name]
        else:
            by, activation = self._read(layer, 1), Activation.NONE
        if (by.height, by.width) != (1, 1):
            raise self.unknown(layer, "a product of maps")
        (factors, power), to = self._numbers(
            self.target(layer, Activation.NONE),
            lambda place: tables.gate(layer.name, self.numbers, value, by, place, activation),
        )
        self.emit(
            steps.Gate(
                name=layer.name, sources=(value, by), target=to.place, factors=factors, power=power
            )
        )
        self.finished(layer.name, to)

    def _normalise(self, layer: LocalResponseNorm) -> None:
        source = self._read(layer)
        (factors, power), to = self._numbers(
            self.target(layer, Activation.NONE),
            lambda place: tables.normalisation(layer, source, place),
        )
        self.emit(
            steps.Normalise(
                name=layer.name, sources=(source,), target=to.place, size=layer.size,
                factors=factors, power=power,
            )
        )  # fmt: skip
        self.finished(layer.name, to)

    def _elementwise(self, layer: Elementwise) -> None:
        """A table of its own, unless its only reader is a product, which then has one."""
        source = self._read(layer)
        if self.is_gate(layer):
            self.gates[layer.output] = (source, layer.activation)
            return
        to = self.target(layer, Activation.NONE, shuffles=True)
        self.look_up(layer.name, source, to.place, layer.activation, to.groups)
        self.finished(layer.name, to)

    def _concat(self, layer: Concat) -> None:
        """Parts that are already elsewhere are copied with the scale of the whole."""
        if layer.activation in STORED:
            to = Target(place=self.home(layer.output), value=layer.output)
        else:
            to = self.target(layer, layer.activation)
        for at, value in enumerate(layer.inputs):
            if value in self.places:
                self._copy(layer, self._read(layer, at), self.part(to.place, layer, at))
        self.finished(layer.name, to)

    def _copy(self, layer: Layer, source: Place, target: Place) -> None:
        """An average over one pixel, if that fits 16 bits: faster than a table."""
        found = average(self.numbers, source, target, 1)
        if found is None:
            self.look_up(layer.name, source, target)
            return
        start, factor, up = found
        self.emit(
            steps.Average(
                name=layer.name, sources=(source,), target=target, kernel=(1, 1), stride=(1, 1),
                padding=NO_PADDING, start=start, factor=factor, up=up,
            )
        )  # fmt: skip
