"""From a ``Graph`` and calibrated ranges to an int8 ``Program``."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from shufflenet_deploy.errors import ExportError, UnsupportedError
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
    Pair,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.export.native.int8 import program as steps
from shufflenet_deploy.export.native.int8.folding import (
    Folded,
    Fractions,
    average,
    fold,
    fractions,
    mean,
)
from shufflenet_deploy.export.native.int8.program import (
    Numbers,
    Padding,
    Place,
    Program,
    Step,
    rounded,
)
from shufflenet_deploy.export.native.program import INPUT, OUTPUT
from shufflenet_deploy.export.quantize import Ranges, activation_scale, corrected

_STORED = {Activation.NONE, Activation.RELU, Activation.RELU6}
_NO_PADDING = (0, 0, 0, 0)


def lower(graph: Graph, ranges: Ranges, numbers: Numbers) -> Program:
    """The int8 program of ``graph``; biases are corrected for the rounding of the weights.

    Raises:
        ExportError: a layer that there is no int8 code for; the message names it.
    """
    return _Lowering(corrected(graph, ranges), ranges, numbers).run()


class _Lowering:
    def __init__(self, graph: Graph, ranges: Ranges, numbers: Numbers) -> None:
        self.graph = graph
        self.ranges = ranges
        self.numbers = numbers
        self.program = Program(
            name=graph.name,
            numbers=numbers,
            input_shape=graph.shapes[graph.input],
            output_shape=graph.shapes[graph.output],
        )
        self.consumers: dict[str, list[Layer]] = defaultdict(list)
        for layer in graph.layers:
            for value in layer.inputs:
                self.consumers[value].append(layer)
        self.order = {layer.name: at for at, layer in enumerate(graph.layers)}
        self.places: dict[str, Place] = {}
        self.merged: set[str] = set()  # names of layers whose work another step does
        self.done: set[str] = set()

    def run(self) -> Program:
        self._picture()
        for layer in self.graph.layers:
            if layer.name not in self.merged:
                self._lower(layer)
            self.done.add(layer.output)
        last = self.places.get(self.graph.output)
        if last is not None:
            self._emit(steps.Real(name="output", sources=(last,), target=self._output()))
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
            case _:
                raise self._unknown(layer)

    def _unknown(self, layer: Layer, why: str = "") -> ExportError:
        what = why or type(layer).__name__
        return UnsupportedError(f"{layer.name}: the native format has no int8 code for {what}")

    def _emit(self, step: Step) -> None:
        self.program.steps.append(step)

    def _output(self) -> Place:
        channels = int(np.prod(self.program.output_shape))
        return Place(buffer=OUTPUT, channels=channels, height=1, width=1, pixel=4 * channels)

    # -- where values are -------------------------------------------------------------------

    def _scale(self, value: str) -> tuple[float, int]:
        """A value's scale, and its zero in the bytes of these numbers."""
        if value not in self.ranges.spans:
            raise ExportError(f"'{value}' has no calibrated range: calibrate this very graph")
        scale, zero = activation_scale(self.ranges.spans[value])
        return scale, zero + 128 + self.numbers.lowest

    def _place(self, value: str, scale: float, zero: int) -> Place:
        """New memory for a value, with the border that its readers need."""
        shape = self.graph.shapes[value]
        channels, height, width = (*shape, 1, 1)[:3]
        border, maxima = self._border(value)
        fill = self.numbers.lowest if maxima else zero
        place = Place(
            buffer=0,
            channels=channels,
            height=height,
            width=width,
            pixel=rounded(channels),
            scale=scale,
            zero=zero,
            border=border,
            fill=fill,
            room=rounded(channels) - channels,
        )
        return replace(place, buffer=self.program.buffer(place.size))

    def _border(self, value: str) -> tuple[Padding, bool]:
        """The pixels around a value that its readers look at, and whether maxima do."""
        found, kinds = [0, 0, 0, 0], set()
        for reader in self._readers(value):
            if isinstance(reader, Conv | Pool) and any(reader.padding):
                found = [max(pair) for pair in zip(found, reader.padding, strict=True)]
                maximum = isinstance(reader, Pool) and reader.kind is PoolKind.MAX
                kinds.add(maximum)
        lowest = self._scale(value)[1] == self.numbers.lowest
        if len(kinds) == 2 and not lowest:
            raise ExportError(f"'{value}' is padded with zeros and for a maximum: no int8 code")
        return (found[0], found[1], found[2], found[3]), kinds == {True}

    def _readers(self, value: str) -> list[Layer]:
        """The layers that read a value's memory."""
        found = []
        for layer in self.consumers[value]:
            same = isinstance(layer, Flatten) or self._unchanged(layer)
            found += self._readers(layer.output) if same else [layer]
        return found

    def _unchanged(self, layer: Layer) -> bool:
        shapes = self.graph.shapes
        return (
            isinstance(layer, AdaptiveAveragePool)
            and shapes[layer.inputs[0]] == shapes[layer.output]
        )

    def _home(self, value: str) -> Place:
        if value not in self.places:
            self.places[value] = self._place(value, *self._scale(value))
        return self.places[value]

    def _target(self, layer: Layer, activation: Activation) -> tuple[Place, int, str]:
        """Where a layer's output goes, in how many groups it is shuffled, and what it is then."""
        if activation not in _STORED:
            raise self._unknown(layer, str(activation))
        value = layer.output
        users = self.consumers[value]
        user = users[0] if len(users) == 1 and value != self.graph.output else None
        if isinstance(user, Elementwise) and user.activation in _STORED:
            self.merged.add(user.name)
            return self._target(user, user.activation)
        if isinstance(user, Shuffle):
            self.merged.add(user.name)
            return self._home(user.output), user.groups, user.output
        if isinstance(user, Concat) and user.activation in _STORED:
            return self._part(user, value), 1, value
        return self._home(value), 1, value

    def _part(self, user: Concat, value: str) -> Place:
        before = user.inputs[: user.inputs.index(value)]
        first = sum(self.graph.shapes[one][0] for one in before)
        return self._home(user.output).part(first, self.graph.shapes[value][0])

    def _finished(self, name: str, value: str) -> None:
        """Fill the border of a value that is complete."""
        place = self.places.get(value)
        if place is not None and any(place.border):
            self._emit(steps.Border(name=name, sources=(place,), target=place))

    # -- layers -----------------------------------------------------------------------------

    def _picture(self) -> None:
        value = self.graph.input
        shape = self.graph.shapes[value]
        if len(shape) != 3 or shape[0] > 4:
            raise ExportError(f"{self.graph.name}: the input is {shape}, not a picture")
        place = self._place(value, *self._scale(value))
        place = replace(place, pixel=4, room=0)
        place = replace(place, buffer=self.program.buffer(place.size))
        source = Place(buffer=INPUT, channels=shape[0], height=shape[1], width=shape[2], pixel=4)
        inverse = float(np.float32(1) / np.float32(place.scale))
        self._emit(steps.Picture(name="input", sources=(source,), target=place, inverse=inverse))
        self.places[value] = place
        self._finished("input", value)

    def _read(self, layer: Layer, at: int = 0) -> Place:
        return self.places[layer.inputs[at]]

    def _convolution(self, layer: Conv) -> None:
        source = self._read(layer)
        merged = self._residual(layer, source)
        if merged is not None:
            target, other, value, parts = merged
            residual, fraction = parts.number, parts.power
            groups = 1
            sources: tuple[Place, ...] = (source, other)
        else:
            fraction = 0
            target, groups, value = self._target(layer, layer.activation)
            residual, sources = None, (source,)
        folded = fold(
            self.numbers, layer, layer.weight, source, target,
            other=sources[1] if residual is not None else None,
            residual=residual, fraction=fraction,
        )  # fmt: skip
        if groups > 1 and layer.groups == 1:
            folded, groups = folded.shuffled(groups), 1
        if layer.depthwise and layer.weight.shape[0] > 1:
            if groups > 1:
                raise self._unknown(layer, "a shuffled depthwise convolution")
            step: Step = self._depthwise(layer, source, target, folded)
        else:
            step = steps.Convolution(
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
                fraction=fraction,
                residual=residual,
                shuffle=groups,
            )
        self._emit(step)
        self._finished(layer.name, value)

    def _depthwise(self, layer: Conv, source: Place, target: Place, folded: Folded) -> Step:
        kernel, stride = layer.weight.shape[2:], layer.stride
        if kernel != (3, 3) or stride not in {(1, 1), (2, 2)}:
            raise self._unknown(layer, f"a depthwise kernel {kernel} with stride {stride}")
        return steps.Depthwise(
            name=layer.name,
            sources=(source,),
            target=target,
            weight=folded.weight[:, 0],
            bias=folded.bias,
            factor=folded.factor,
            stride=stride[0],
            padding=layer.padding,
            shift=folded.shift,
        )

    def _residual(self, layer: Conv, source: Place) -> tuple[Place, Place, str, Fractions] | None:
        """For a layer whose output is only added to a value: target, that value, the sum, ...

        The scale of the sum is such that the other's is a whole number of its fractions.
        """
        users = self.consumers[layer.output]
        if len(users) != 1 or not isinstance(users[0], Add) or layer.output == self.graph.output:
            return None
        addition = users[0]
        others = [value for value in addition.inputs if value != layer.output]
        if len(others) != 1 or others[0] not in self.places or layer.depthwise:
            raise self._unknown(addition)
        if layer.activation is not Activation.NONE or addition.activation not in _STORED:
            raise self._unknown(addition)
        self.merged.add(addition.name)
        other = self.places[others[0]]
        value = addition.output
        scale, zero = self._scale(value)
        parts = fractions(layer, source, other, scale)
        scale = parts.scale
        now = self.order[layer.name]
        free = all(
            user is addition or self.order[user.name] <= now for user in self.consumers[others[0]]
        )
        needed, maxima = self._border(value)
        whole = other.first == 0 and other.channels + other.room == other.pixel
        if free and whole and needed == other.border and other.buffer != source.buffer:
            fill = self.numbers.lowest if maxima else zero
            self.places[value] = replace(other, scale=scale, zero=zero, fill=fill)
        else:
            self.places[value] = self._place(value, scale, zero)
        return self.places[value], other, value, parts

    def _dense(self, layer: Dense) -> None:
        """A convolution whose window is the whole map, as flattening orders it."""
        source = self._read(layer)
        weight = layer.weight.reshape(-1, source.channels, source.height, source.width)
        last = layer.output == self.graph.output and layer.activation is Activation.NONE
        if last:
            target: Place | None = None
        else:
            target = self._target(layer, layer.activation)[0]
        folded = fold(self.numbers, layer, weight, source, target)
        self._emit(
            steps.Convolution(
                name=layer.name,
                sources=(source,),
                target=target or self._output(),
                weight=folded.weight,
                bias=folded.bias,
                factor=folded.factor,
                groups=1,
                stride=(1, 1),
                padding=_NO_PADDING,
                shift=folded.shift,
                real=last,
            )
        )

    def _pool(self, layer: Pool) -> None:
        source = self._read(layer)
        if layer.kind is PoolKind.MAX:
            self._maximum(layer, source)
            return
        if any(layer.padding) and not layer.count_padding:
            raise self._unknown(layer, "an average that leaves out the padding")
        target, groups, value = self._target(layer, layer.activation)
        if groups > 1:
            raise self._unknown(layer, "a shuffled pool")
        self._average(layer.name, source, target, layer.kernel, layer.stride, layer.padding)
        self._finished(layer.name, value)

    def _average(
        self, name: str, source: Place, target: Place, kernel: Pair, stride: Pair, padding: Padding
    ) -> None:
        start, factor, up = average(name, self.numbers, source, target, kernel[0] * kernel[1])
        self._emit(
            steps.Average(
                name=name,
                sources=(source,),
                target=target,
                kernel=kernel,
                stride=stride,
                padding=padding,
                start=start,
                factor=factor,
                up=up,
            )
        )

    def _maximum(self, layer: Pool, source: Place) -> None:
        """A maximum keeps the scale of what it reads."""
        if layer.activation is not Activation.NONE and source.zero != self.numbers.lowest:
            raise self._unknown(layer, str(layer.activation))
        place = self._place(layer.output, source.scale, source.zero)
        self.places[layer.output] = place
        self._emit(
            steps.Maximum(
                name=layer.name,
                sources=(source,),
                target=place,
                kernel=layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
            )
        )
        self._finished(layer.name, layer.output)

    def _adaptive(self, layer: AdaptiveAveragePool) -> None:
        source = self._read(layer)
        if self._unchanged(layer):
            self.places[layer.output] = source
            return
        if layer.size != (1, 1):
            raise self._unknown(layer, f"an adaptive pool of {layer.size}")
        target = self._home(layer.output)
        start, factor, shift = mean(self.numbers, source, target)
        self._emit(
            steps.Mean(
                name=layer.name,
                sources=(source,),
                target=target,
                start=start,
                factor=factor,
                shift=shift,
            )
        )

    def _concat(self, layer: Concat) -> None:
        """Parts that are already elsewhere are copied with the scale of the whole."""
        if layer.activation not in _STORED:
            raise self._unknown(layer, str(layer.activation))
        for value in layer.inputs:
            if value in self.places:
                part = self._part(layer, value)
                self._average(layer.name, self.places[value], part, (1, 1), (1, 1), _NO_PADDING)
        self._finished(layer.name, layer.output)
