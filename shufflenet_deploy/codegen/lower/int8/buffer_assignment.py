"""Where the values of an int8 network are: their memory, scales and borders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeGuard, TypeVar

import numpy as np

from shufflenet_deploy.codegen.ir import int8 as ir
from shufflenet_deploy.codegen.ir.int8 import (
    Int8Program,
    Padding,
    PixelOp,
    PixelView,
    Requantization,
    padded_channels,
)
from shufflenet_deploy.codegen.ir.planar import INPUT, OUTPUT
from shufflenet_deploy.codegen.lower.int8.lookup_tables import activation_table, preimage
from shufflenet_deploy.codegen.lower.int8.requantize import ScaleTooSmallError
from shufflenet_deploy.codegen.lower.traversal import Traversal
from shufflenet_deploy.errors import ExportError, UnsupportedError
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Concat,
    Conv,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    Multiply,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.network.quantization.ranges import Ranges, activation_scale

#: Activations that a byte's limits do, since ranges are of what comes after them.
CLAMPED_BY_RANGE = {Activation.NONE, Activation.RELU, Activation.RELU6}
NO_PADDING = (0, 0, 0, 0)

_Found = TypeVar("_Found")


def is_padded(layer: Layer) -> TypeGuard[Conv | Pool]:
    """Whether a layer looks at pixels around what it reads."""
    return isinstance(layer, Conv | Pool) and any(layer.padding)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a step writes, and which value is complete then.

    With ``final`` a table makes of what is at ``place`` what belongs there. Whichever writes last
    shuffles the channels in ``groups``.
    """

    place: PixelView
    value: str
    groups: int = 1
    final: PixelView | None = None
    activation: Activation = Activation.NONE

    def coarser(self, place: PixelView) -> Target:
        """The same by way of another place."""
        return replace(self, place=place, final=self.final or self.place)


class BufferAssigner:
    """Gives every value of a graph its place while a program grows."""

    def __init__(self, graph: Graph, ranges: Ranges, numbers: Requantization) -> None:
        self.graph = graph
        self.ranges = ranges
        self.numbers = numbers
        self.program = Int8Program(
            name=graph.name,
            numbers=numbers,
            input_shape=graph.shapes[graph.input],
            output_shape=graph.shapes[graph.output],
        )
        self.walk = Traversal(graph)
        #: Gates that are an activation of another value: where that is.
        self.gates: dict[str, tuple[PixelView, Activation]] = {}
        self.places: dict[str, PixelView] = {}

    def unknown(self, layer: Layer, why: str = "") -> ExportError:
        """The error about a layer that there is no code for."""
        what = why or type(layer).__name__
        return UnsupportedError(f"{layer.name}: the native format has no int8 code for {what}")

    def emit(self, step: PixelOp) -> None:
        """Append a step."""
        self.program.steps.append(step)

    def take_in(self) -> None:
        """Make bytes of the caller's picture.

        Raises:
            ExportError: the input is no picture.
        """
        value = self.graph.input
        shape = self.graph.shapes[value]
        if len(shape) != 3 or shape[0] > 4:
            raise ExportError(f"{self.graph.name}: the input is {shape}, not a picture")
        place = self.place(value, *self.scale(value))
        place = replace(place, pixel=4, room=0)
        place = replace(place, buffer=self.program.buffer(place.size))
        source = PixelView(
            buffer=INPUT, channels=shape[0], height=shape[1], width=shape[2], pixel=4
        )
        inverse = float(np.float32(1) / np.float32(place.scale))
        self.emit(ir.QuantizeInput(name="input", sources=(source,), target=place, inverse=inverse))
        self.places[value] = place
        self.finished("input", Target(place=place, value=value))

    def hand_out(self) -> None:
        """Make floats of the network's output, unless its last step did."""
        last = self.places.get(self.graph.output)
        if last is not None:
            self.emit(ir.DequantizeOutput(name="output", sources=(last,), target=self.scores()))

    def read(self, layer: Layer, at: int = 0) -> PixelView:
        """Where an input of a layer is.

        Raises:
            ExportError: it is a map that was flattened, which only dense layers read.
        """
        value = layer.inputs[at]
        place = self.places[value]
        if (place.channels, place.height, place.width) != self.size(value):
            raise self.unknown(layer, f"a map that was flattened, in {type(layer).__name__}")
        return place

    def fitted(self, to: Target, make: Callable[[PixelView], _Found]) -> tuple[_Found, Target]:
        """What ``make`` says about the target, which is another if its steps are too fine."""
        try:
            return make(to.place), to
        except ScaleTooSmallError as error:
            place = to.place
            size = (place.channels, place.height, place.width)
            to = to.coarser(self.memory(size, place.scale * error.times, place.zero))
            return make(to.place), to

    def scores(self) -> PixelView:
        """The caller's output."""
        channels = int(np.prod(self.program.output_shape))
        return PixelView(buffer=OUTPUT, channels=channels, height=1, width=1, pixel=4 * channels)

    def scale(self, value: str) -> tuple[float, int]:
        """A value's scale, and its zero in the bytes of these numbers."""
        if value not in self.ranges.spans:
            raise ExportError(f"'{value}' has no calibrated range: calibrate this very graph")
        return self._bytes(self.ranges.spans[value])

    def _bytes(self, span: tuple[float, float]) -> tuple[float, int]:
        scale, zero = activation_scale(span)
        return scale, zero + 128 + self.numbers.lowest

    def size(self, value: str) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = (*self.graph.shapes[value], 1, 1)[:3]
        return channels, height, width

    def place(self, value: str, scale: float, zero: int) -> PixelView:
        """New memory for a value, with the border that its readers need."""
        border, maxima = self.border(value, zero)
        fill = self.numbers.lowest if maxima else zero
        return self.memory(self.size(value), scale, zero, border, fill)

    def memory(
        self, size: tuple[int, int, int], scale: float, zero: int,
        border: Padding = NO_PADDING, fill: int = 0,
    ) -> PixelView:  # fmt: skip
        """A new place with a buffer of its own."""
        channels, height, width = size
        place = PixelView(
            buffer=0,
            channels=channels,
            height=height,
            width=width,
            pixel=padded_channels(channels),
            scale=scale,
            zero=zero,
            border=border,
            fill=fill,
            room=padded_channels(channels) - channels,
        )
        return replace(place, buffer=self.program.buffer(place.size))

    def border(self, value: str, zero: int) -> tuple[Padding, bool]:
        """The pixels around a value that its readers look at, and whether only maxima do.

        Where sums need zeros there and maxima something less, maxima read a copy.
        """
        wanted: dict[bool, list[Padding]] = {False: [], True: []}
        for reader in self.readers(value):
            if is_padded(reader):
                maximum = isinstance(reader, Pool) and reader.kind is PoolKind.MAX
                wanted[maximum].append(reader.padding)
        maxima = not wanted[False]
        found = wanted[maxima]
        if not maxima and zero == self.numbers.lowest:
            found = wanted[False] + wanted[True]
        top, left, bottom, right = (max(side) for side in zip(NO_PADDING, *found, strict=True))
        return (top, left, bottom, right), maxima and bool(found)

    def readers(self, value: str) -> list[Layer]:
        """The layers that read a value's memory."""
        found = []
        for layer in self.walk.readers(value):
            same = isinstance(layer, Flatten) or self.unchanged(layer) or self.is_gate(layer)
            found += self.readers(layer.output) if same else [layer]
        return found

    def unchanged(self, layer: Layer) -> bool:
        """Whether an adaptive pool has nothing to do."""
        shapes = self.graph.shapes
        return (
            isinstance(layer, AdaptiveAveragePool)
            and shapes[layer.inputs[0]] == shapes[layer.output]
        )

    def is_gate(self, layer: Layer) -> bool:
        """Whether a layer is an activation that the one product which reads it does."""
        product = self.walk.only_reader(layer.output)
        return (
            isinstance(layer, Elementwise)
            and isinstance(product, Multiply)
            and product.inputs.index(layer.output) == 1
        )

    def home(self, value: str) -> PixelView:
        """A value's own place."""
        if value not in self.places:
            self.places[value] = self.place(value, *self.scale(value))
        return self.places[value]

    def target(self, layer: Layer, activation: Activation, *, shuffles: bool = False) -> Target:
        """Where a layer's output goes; only a step that ``shuffles`` does that as well."""
        if activation in CLAMPED_BY_RANGE:
            return self._target(layer.output, {activation}, shuffles=shuffles)
        to = self._target(layer.output, set(), shuffles=True)
        scale, zero = self._bytes(preimage(activation, self.ranges.spans[layer.output]))
        place = self.memory(self.size(layer.output), scale, zero)
        return replace(to, place=place, final=to.place, activation=activation)

    def _target(self, value: str, activations: set[Activation], *, shuffles: bool) -> Target:
        user = self.walk.only_reader(value)
        if isinstance(user, Elementwise) and user.activation in CLAMPED_BY_RANGE:
            self.walk.merge(user)
            both = activations | {user.activation}
            return self._target(user.output, both, shuffles=shuffles)
        if isinstance(user, Shuffle) and shuffles:
            self.walk.merge(user)
            return Target(place=self.home(user.output), value=user.output, groups=user.groups)
        whole = user if isinstance(user, Concat) and user.activation in CLAMPED_BY_RANGE else None
        if whole is not None and self._limited(whole.output, activations):
            at = whole.inputs.index(value)
            return Target(place=self.part(self.home(whole.output), whole, at), value=value)
        return Target(place=self.home(value), value=value)

    def _limited(self, whole: str, activations: set[Activation]) -> bool:
        """Whether the limits of a value's bytes do what is done to a part of it."""
        scale, zero = self.scale(whole)
        most = (self.numbers.highest - zero) * scale
        below = activations <= {Activation.NONE} or zero == self.numbers.lowest
        return below and (Activation.RELU6 not in activations or most < 6 + scale / 2)

    def part(self, whole: PixelView, layer: Concat, at: int) -> PixelView:
        """The channels of one input of a concatenation."""
        channels = [self.graph.shapes[one][0] for one in layer.inputs]
        return whole.part(sum(channels[:at]), channels[at])

    def finished(self, name: str, to: Target) -> None:
        """Do what is left after a layer's step: a table, and the border of a whole value.

        A border is there for the layer that reads it.
        """
        if to.final is not None:
            self.look_up(name, to.place, to.final, to.activation, to.groups)
        place = self.places.get(to.value)
        if place is not None and any(place.border):
            reader = next(each for each in self.readers(to.value) if is_padded(each))
            self.emit(ir.FillPadding(name=reader.name, sources=(place,), target=place))

    def look_up(
        self, name: str, source: PixelView, target: PixelView,
        activation: Activation = Activation.NONE, groups: int = 1,
    ) -> None:  # fmt: skip
        """A table's step."""
        found = activation_table(self.numbers, source, target, activation)
        self.emit(
            ir.LookupTable(name=name, sources=(source,), target=target, table=found, shuffle=groups)
        )
