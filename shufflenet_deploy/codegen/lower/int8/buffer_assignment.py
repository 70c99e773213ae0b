"""Buffer assignment for int8 NHWC maps: memory, scales, zero points and borders."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeGuard, TypeVar

import numpy as np

from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.codegen.ir.element_ops import Move, Walk
from shufflenet_deploy.codegen.ir.int8 import (
    Int8Program,
    Padding,
    PixelView,
    Requantization,
    padded_channels,
)
from shufflenet_deploy.codegen.ir.op import outputs_of
from shufflenet_deploy.codegen.ir.planar import INPUT, OUTPUT
from shufflenet_deploy.codegen.lower.buffer_assignment import BufferAssigner
from shufflenet_deploy.codegen.lower.int8 import axes
from shufflenet_deploy.codegen.lower.int8.activation_functions import preimage
from shufflenet_deploy.codegen.lower.int8.lookup_tables import activation_table
from shufflenet_deploy.codegen.lower.int8.requantize import NoInt8CodeError, ScaleTooSmallError
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
    Slice,
)
from shufflenet_deploy.network.quantization.ranges import Ranges, activation_scale
from shufflenet_deploy.records import Precision

#: Activations that a byte's limits do, since ranges are of what comes after them.
CLAMPED_BY_RANGE = {Activation.NONE, Activation.RELU, Activation.RELU6}
NO_PADDING = (0, 0, 0, 0)

_Found = TypeVar("_Found")


def is_padded(layer: Layer) -> TypeGuard[Conv | Pool]:
    """True if a layer reads pixels around its input."""
    return isinstance(layer, Conv | Pool) and any(layer.padding)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The view that an op writes, and the value that is complete then.

    With ``final`` a lookup table converts what is at ``view``. Whichever op writes last shuffles
    the channels in ``groups``.
    """

    view: PixelView
    value: str
    groups: int = 1
    final: PixelView | None = None
    activation: Activation = Activation.NONE

    def via(self, view: PixelView) -> Target:
        """The same target by way of another view."""
        return replace(self, view=view, final=self.final or self.view)


class NhwcLayout:
    """The layout policy of int8 maps: padded pixels, calibrated scales, borders for padding."""

    def __init__(
        self, graph: Graph, ranges: Ranges, program: Int8Program, traversal: Traversal
    ) -> None:
        self.graph, self.ranges, self.program = graph, ranges, program
        self.arithmetic, self.traversal = program.arithmetic, traversal

    def allocate(self, value: str) -> PixelView:
        """A new buffer for a value, with its own scale and the border that its readers need."""
        return self.allocate_with(value, *self.scale(value))

    def scale(self, value: str) -> tuple[float, int]:
        """A value's scale and zero point in the byte type of the arithmetic."""
        if value not in self.ranges.spans:
            raise ExportError(f"'{value}' has no calibrated range: calibrate this very graph")
        return self.byte_scale(self.ranges.spans[value])

    def byte_scale(self, span: tuple[float, float]) -> tuple[float, int]:
        scale, zero_point = activation_scale(span)
        return scale, zero_point + 128 + self.arithmetic.lowest

    def size(self, value: str) -> tuple[int, int, int]:
        """Channels, height and width of a value's view."""
        return axes.size_of(self.graph.shapes[value])

    def allocate_with(self, value: str, scale: float, zero_point: int) -> PixelView:
        """A new buffer for a value, with the border that its readers need."""
        border, maxima = self.border(value, zero_point)
        fill = self.arithmetic.lowest if maxima else zero_point
        return self.new_buffer(self.size(value), scale, zero_point, border, fill)

    def new_buffer(
        self,
        size: tuple[int, int, int],
        scale: float,
        zero_point: int,
        border: Padding = NO_PADDING,
        fill: int = 0,
    ) -> PixelView:
        """A view with a buffer of its own."""
        channels, height, width = size
        view = PixelView(
            buffer=0,
            channels=channels,
            height=height,
            width=width,
            pixel_stride=padded_channels(channels),
            scale=scale,
            zero_point=zero_point,
            border=border,
            fill=fill,
            overwrite_slack=padded_channels(channels) - channels,
        )
        return replace(view, buffer=self.program.buffer(view.size))

    def border(self, value: str, zero_point: int) -> tuple[Padding, bool]:
        """The border that a value's readers need, and True if only max pools read it.

        Where convolutions need the zero point there and max pools the lowest byte, max pools read a
        copy.
        """
        wanted: dict[bool, list[Padding]] = {False: [], True: []}
        for reader in self.readers(value):
            if is_padded(reader):
                maximum = isinstance(reader, Pool) and reader.kind is PoolKind.MAX
                wanted[maximum].append(reader.padding)
        maxima = not wanted[False]
        found = wanted[maxima]
        if not maxima and zero_point == self.arithmetic.lowest:
            found = wanted[False] + wanted[True]
        top, left, bottom, right = (max(side) for side in zip(NO_PADDING, *found, strict=True))
        return (top, left, bottom, right), maxima and bool(found)

    def readers(self, value: str) -> list[Layer]:
        """Layers that read a value's memory."""
        found = []
        for layer in self.traversal.readers(value):
            same = isinstance(layer, Flatten) or self.unchanged(layer) or self.is_gate(layer)
            same = same or self.is_part(layer)
            found += self.readers(layer.output) if same else [layer]
        return found

    def unchanged(self, layer: Layer) -> bool:
        """True if an adaptive pool has nothing to do."""
        shapes = self.graph.shapes
        return (
            isinstance(layer, AdaptiveAveragePool)
            and shapes[layer.inputs[0]] == shapes[layer.output]
        )

    def is_part(self, layer: Layer) -> bool:
        """True if a slice is a view of neighbouring channels."""
        return (
            isinstance(layer, Slice)
            and layer.axis == 0
            and layer.step == 1
            and len(self.graph.shapes[layer.output]) <= axes.MOST_AXES
        )

    def is_gate(self, layer: Layer) -> bool:
        """True if the activation is folded into the only product that reads it."""
        product = self.traversal.only_reader(layer.output)
        return (
            isinstance(layer, Elementwise)
            and isinstance(product, Multiply)
            and product.inputs.index(layer.output) == 1
        )


class NhwcAssigner(BufferAssigner[PixelView]):
    """Assigns NHWC views; ``folded_activations`` of gates are where the value itself is."""

    program: Int8Program

    def __init__(self, graph: Graph, ranges: Ranges, arithmetic: Requantization) -> None:
        outputs = outputs_of(graph)
        program = Int8Program(
            name=graph.name,
            arithmetic=arithmetic,
            input_shape=graph.shapes[graph.input],
            output_shape=outputs[0].shape,
        )
        if len(outputs) > 1:
            program.outputs = outputs
            program.output_shape = (sum(math.prod(one.shape) for one in outputs),)
        traversal = Traversal(graph)
        self.arithmetic = arithmetic
        self.layout = NhwcLayout(graph, ranges, program, traversal)
        super().__init__(graph, program, traversal, self.layout)
        program.places = self.views
        self.folded_activations: dict[str, tuple[PixelView, Activation]] = {}

    def unsupported(self, layer: Layer, why: str = "") -> ExportError:
        """The error for a layer without int8 code."""
        what = why or type(layer).__name__
        return NoInt8CodeError(layer.name, what)

    def emit_input(self) -> None:
        """Quantize the caller's image.

        Raises:
            ExportError: the input is no image.
        """
        value = self.graph.input
        shape = self.graph.shapes[value]
        if len(shape) != 3 or shape[0] > 4:
            raise UnsupportedError(
                f"{self.graph.name}: the input is {shape}, and the native format has int8 code for "
                "maps of up to 4 channels: export onnx or tflite"
            )
        view = self.layout.allocate_with(value, *self.layout.scale(value))
        view = replace(view, pixel_stride=4, overwrite_slack=0)
        view = replace(view, buffer=self.program.buffer(view.size))
        source = PixelView(
            buffer=INPUT,
            dtype=Precision.FP32,
            channels=shape[0],
            height=shape[1],
            width=shape[2],
            pixel_stride=4,
        )
        inverse = float(np.float32(1) / np.float32(view.scale))
        self.emit(ir.QuantizeInput(name="input", sources=(source,), target=view, inverse=inverse))
        self.views[value] = view
        self.emit_epilogue("input", Target(view=view, value=value))

    def emit_output(self) -> None:
        """Dequantize the network's outputs, unless the last op did."""
        for at, output in enumerate(self.graph.outputs):
            last = self.views.get(output)
            if last is not None:
                name, target = f"output {at}" if at else "output", self.output_view(at)
                self.emit(ir.DequantizeOutput(name=name, sources=(last,), target=target))

    def read_map(self, layer: Layer, at: int = 0) -> PixelView:
        """The view of an input of a layer that takes maps only.

        Raises:
            ExportError: it is no map.
        """
        count = len(self.graph.shapes[layer.inputs[at]])
        if count != axes.MOST_AXES:
            raise self.unsupported(layer, f"{type(layer).__name__} of a value of {count} axes")
        return self.read(layer, at)

    def read(self, layer: Layer, at: int = 0) -> PixelView:
        """The view of a layer's input; of a map that was flattened a vector is made."""
        value = layer.inputs[at]
        view = self.views[value]
        if (view.channels, view.height, view.width) != self.layout.size(value):
            self.views[value] = view = self.unrolled(layer.name, view)
        return view

    def unrolled(self, name: str, view: PixelView) -> PixelView:
        """A copy of a map as a vector, channel by channel."""
        size = (view.channels, view.height, view.width)
        vector = (math.prod(size), 1, 1)
        target = self.layout.new_buffer(vector, view.scale, view.zero_point)
        self.emit_copy(name, view, target, axes.unrolled(size))
        return target

    def with_requantize_fallback(
        self, to: Target, make: Callable[[PixelView], _Found]
    ) -> tuple[_Found, Target]:
        """``make`` of the target's view; if that scale is too small, of a coarser one."""
        try:
            return make(to.view), to
        except ScaleTooSmallError as error:
            view = to.view
            size = (view.channels, view.height, view.width)
            to = to.via(self.layout.new_buffer(size, view.scale * error.times, view.zero_point))
            return make(to.view), to

    def stored(self, value: str) -> Target:
        """Where a value that is no layer's is stored: it may be a part of another."""
        return self._target(value, set(), shuffles=False)

    def is_only_output(self, value: str) -> bool:
        """True if a value is an output and nobody reads it, so that it may be float."""
        return self.graph.outputs.count(value) == 1 and not self.traversal.readers(value)

    def output_view(self, at: int) -> PixelView:
        """The view of one of the caller's outputs."""
        channels = math.prod(self.graph.shapes[self.graph.outputs[at]])
        return PixelView(
            buffer=OUTPUT - at,
            dtype=Precision.FP32,
            channels=channels,
            height=1,
            width=1,
            pixel_stride=4 * channels,
        )

    def target(self, layer: Layer, activation: Activation, *, shuffles: bool = False) -> Target:
        """The target of a layer's output; a following shuffle is fused if the op ``shuffles``."""
        if activation in CLAMPED_BY_RANGE:
            return self._target(layer.output, {activation}, shuffles=shuffles)
        to = self._target(layer.output, set(), shuffles=True)
        scale, zero_point = self.layout.byte_scale(
            preimage(activation, self.layout.ranges.spans[layer.output])
        )
        view = self.layout.new_buffer(self.layout.size(layer.output), scale, zero_point)
        return replace(to, view=view, final=to.view, activation=activation)

    def _target(self, value: str, activations: set[Activation], *, shuffles: bool) -> Target:
        user = self.traversal.only_reader(value)
        if isinstance(user, Elementwise) and user.activation in CLAMPED_BY_RANGE:
            self.traversal.merge(user)
            both = activations | {user.activation}
            return self._target(user.output, both, shuffles=shuffles)
        if isinstance(user, Shuffle) and shuffles and self.is_shuffled_map(user):
            self.traversal.merge(user)
            return Target(view=self.buffer_of(user.output), value=user.output, groups=user.groups)
        whole = user if isinstance(user, Concat) and self.joins_channels(user) else None
        if whole is not None and self._limited(whole.output, activations):
            at = whole.inputs.index(value)
            return Target(view=self.part(self.buffer_of(whole.output), whole, at), value=value)
        return Target(view=self.buffer_of(value), value=value)

    def is_shuffled_map(self, layer: Shuffle) -> bool:
        """True if a shuffle is one of a view's channels."""
        return len(self.graph.shapes[layer.output]) <= axes.MOST_AXES

    def joins_channels(self, layer: Concat) -> bool:
        """True if the inputs of a concatenation may be stored in it by those who make them."""
        return self.of_channels(layer) and layer.activation in CLAMPED_BY_RANGE

    def of_channels(self, layer: Concat) -> bool:
        """True if the inputs of a concatenation are channels of the whole."""
        return layer.axis == 0 and len(self.graph.shapes[layer.output]) <= axes.MOST_AXES

    def _limited(self, whole: str, activations: set[Activation]) -> bool:
        """True if the byte range of the whole already applies the activations of a part."""
        scale, zero_point = self.layout.scale(whole)
        most = (self.arithmetic.highest - zero_point) * scale
        below = activations <= {Activation.NONE} or zero_point == self.arithmetic.lowest
        return below and (Activation.RELU6 not in activations or most < 6 + scale / 2)

    def part(self, whole: PixelView, layer: Concat, at: int) -> PixelView:
        """The channels of one input of a concatenation."""
        channels = [self.graph.shapes[one][0] for one in layer.inputs]
        return whole.part(sum(channels[:at]), channels[at])

    def emit_epilogue(self, name: str, to: Target) -> None:
        """Emit the lookup table and the border fill that an op leaves to be done.

        The fill is attributed to the layer that reads the border.
        """
        if to.final is not None:
            self.emit_lookup_table(name, to.view, to.final, to.activation, to.groups)
        view = self.views.get(to.value)
        if view is not None and any(view.border):
            reader = next(each for each in self.layout.readers(to.value) if is_padded(each))
            self.emit(ir.FillPadding(name=reader.name, sources=(view,), target=view))

    def emit_lookup_table(
        self,
        name: str,
        source: PixelView,
        target: PixelView,
        activation: Activation = Activation.NONE,
        groups: int = 1,
    ) -> None:
        """Emit a lookup table."""
        found = activation_table(self.arithmetic, source, target, activation)
        self.emit(
            ir.LookupTable(name=name, sources=(source,), target=target, table=found, shuffle=groups)
        )

    def emit_copy(self, name: str, source: PixelView, target: PixelView, walk: Walk) -> None:
        """Emit a copy of elements, through a lookup table if the scales differ."""
        table = None
        if (source.scale, source.zero_point) != (target.scale, target.zero_point):
            table = activation_table(self.arithmetic, source, target, Activation.NONE)
        op = Move(name=name, sources=(source,), target=target, walk=walk, epilogue=table)
        self.emit(op)
