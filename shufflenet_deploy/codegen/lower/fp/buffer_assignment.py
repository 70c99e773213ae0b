"""Buffer assignment for planar maps: values are stored at their final destination.

Shuffle, concatenation and flattening cost nothing: the op before them stores where they would move
its channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from shufflenet_deploy.codegen.cpu_target import CpuTarget
from shufflenet_deploy.codegen.ir.activations import CLAMPS, FUSED
from shufflenet_deploy.codegen.ir.element_ops import Apply
from shufflenet_deploy.codegen.ir.op import outputs_of
from shufflenet_deploy.codegen.ir.ops import Copy, PhaseSplit
from shufflenet_deploy.codegen.ir.planar import (
    INPUT,
    OUTPUT,
    Layout,
    PlanarProgram,
    PlanarView,
    flat_layout,
    planar_layout,
    vector_layout,
)
from shufflenet_deploy.codegen.ir.window_geometry import Shape, WindowGeometry
from shufflenet_deploy.codegen.lower.buffer_assignment import BufferAssigner
from shufflenet_deploy.codegen.lower.traversal import Traversal
from shufflenet_deploy.codegen.passes.activations import compose_activations
from shufflenet_deploy.codegen.schedule.row_strides import assign_row_strides
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Concat,
    Conv,
    Dense,
    Elementwise,
    Flatten,
    Graph,
    Layer,
    Multiply,
    Pool,
    Shuffle,
)
from shufflenet_deploy.records import Precision

#: Activations that a copy applies.
COPIED = CLAMPS | {Activation.SIGMOID}


class PlanarLayout:
    """The layout policy of planar maps: rows in whole vectors, strides that flat loops share."""

    def __init__(self, graph: Graph, cpu: CpuTarget, program: PlanarProgram) -> None:
        self.graph, self.cpu, self.program = graph, cpu, program
        self.row_strides = assign_row_strides(graph)

    def allocate(self, value: str) -> PlanarView:
        """A new buffer for a value."""
        shape = self.graph.shapes[value]
        if is_vector(shape):
            return self.new_buffer(vector_layout(shape[0]))
        if len(shape) != 3:
            return self.new_buffer(flat_layout(prod(shape), self.cpu.lanes))
        channels, height, width = shape
        return self.new_buffer(
            planar_layout(channels, height, width, self.row_strides[value], self.cpu.lanes)
        )

    def is_flat(self, value: str) -> bool:
        """True if a value's elements lie in order: it is a vector, or no map."""
        shape = self.graph.shapes[value]
        return len(shape) != 3 or is_vector(shape)

    def new_buffer(self, layout: Layout) -> PlanarView:
        """A view with a buffer of its own."""
        buffer = self.program.buffer(layout.channels * layout.channel_stride)
        return PlanarView(
            buffer=buffer,
            dtype=self.cpu.precision,
            layout=layout,
            planes=tuple(range(layout.channels)),
        )


class PlanarAssigner(BufferAssigner[PlanarView]):
    """Assigns planar views; ``stored`` are values that went into a later value's buffer."""

    program: PlanarProgram

    def __init__(
        self,
        graph: Graph,
        cpu: CpuTarget,
        program: PlanarProgram | None = None,
        traversal: Traversal | None = None,
    ) -> None:
        """Start from the caller's image; a segment of a larger program is given that.

        Raises:
            ExportError: the input is no image.
        """
        shape = graph.shapes[graph.input]
        if len(shape) != 3:
            raise ExportError(f"{graph.name}: the input is {shape}, not (channels, H, W)")
        program = program or _program_of(graph)
        self.cpu = cpu
        self.layout = PlanarLayout(graph, cpu, program)
        super().__init__(graph, program, traversal or Traversal(graph), self.layout)
        self.views[graph.input] = PlanarView(
            buffer=INPUT,
            dtype=Precision.FP32,
            layout=_dense_layout(shape),
            planes=tuple(range(shape[0])),
        )
        self.stored: set[str] = set()
        self.aliased: set[int] = set()
        """Buffers in which several values lie over one another: nothing is overwritten there."""

    def unsupported(self, layer: Layer, why: str = "") -> ExportError:
        """The error for a layer without floating-point code."""
        what = why or type(layer).__name__
        return ExportError(
            f"{layer.name}: the native format has no code for {what}: export onnx or tflite"
        )

    def emit_input(self) -> None:
        """Convert the caller's image to fp16, if that is what is computed in."""
        if self.cpu.is_fp16:
            self.read(self.graph.input)

    def emit_output(self) -> None:
        """Copy the network's outputs to the caller."""
        self.emit_outputs(range(len(self.graph.outputs)))

    def emit_outputs(self, numbers: Iterable[int]) -> None:
        """Copy some of the outputs to the caller."""
        for at in numbers:
            output = self.graph.outputs[at]
            last, shape = self.views[output], self.graph.shapes[output]
            layout = last.layout
            if len(shape) == 3 and not is_vector(shape):
                layout = _dense_layout(shape)
            elif is_vector(shape):
                layout = vector_layout(shape[0])
            planes = tuple(range(layout.channels))
            target = PlanarView(
                buffer=OUTPUT - at, dtype=Precision.FP32, layout=layout, planes=planes
            )
            name = f"output {at}" if at else "output"
            self.emit(Copy(name=name, sources=(last,), target=target))

    # -- sources of ops -----------------------------------------------------------------------

    def read(self, value: str) -> PlanarView:
        """The view of a value in whole vectors; the caller's input is copied first."""
        view = self.views[value]
        if view.buffer != INPUT:
            return view
        copy = self.layout.allocate(value)
        self.emit(Copy(name="input", sources=(view,), target=copy))
        self.views[value] = copy
        return copy

    def phase_split(
        self, layer: Conv | Pool, windows: WindowGeometry, outside: float
    ) -> PlanarView:
        """Emit padding and phase split of a layer's input: its windows have stride 1 then."""
        source = self.views[layer.inputs[0]]
        row = max(self.layout.row_strides[layer.output], windows.min_row_stride)
        target = self.layout.new_buffer(
            windows.phase_split_layout(source.layout.channels, row, self.cpu.lanes)
        )
        self.emit(
            PhaseSplit(
                name=layer.name,
                sources=(source,),
                target=target,
                stride=windows.stride,
                top=windows.padding[0],
                left=windows.padding[1],
                phases=windows.phases,
                outside=outside,
            )
        )
        return target

    def flattened(self, layer: Dense | Flatten) -> PlanarView:
        """The input of a layer as one vector, channel by channel."""
        source, shape = self.views[layer.inputs[0]], self.graph.shapes[layer.inputs[0]]
        if source.layout.channel_stride == 1 and source.buffer != INPUT:
            return source
        size = prod(shape)
        if len(shape) != 3:
            self.aliased.add(source.buffer)
            return replace(source, layout=vector_layout(size), planes=tuple(range(size)))
        height, width = source.layout.height, source.layout.width
        layout = Layout(
            channels=shape[0],
            height=height,
            width=width,
            row_stride=width,
            channel_stride=height * width,
        )
        target = PlanarView(
            buffer=self.program.buffer(size),
            dtype=self.cpu.precision,
            layout=layout,
            planes=tuple(range(shape[0])),
        )
        self.emit(Copy(name=layer.name, sources=(source,), target=target))
        return replace(target, layout=vector_layout(size), planes=tuple(range(size)))

    # -- targets of ops -----------------------------------------------------------------------

    def vector_aligned_view(self, target: PlanarView) -> PlanarView:
        """A view to store whole vectors in: not ``target`` if its planes are single elements."""
        if target.layout.channel_stride > 1:
            return target
        return self.layout.new_buffer(planar_layout(len(target.planes), 1, 1, 1, self.cpu.lanes))

    def widened(self, target: PlanarView, row: int) -> PlanarView:
        """A view to store rows of a stride of ``row`` in: not ``target`` if its own is another."""
        layout = target.layout
        if layout.row_stride >= row:
            return target
        return self.layout.new_buffer(
            planar_layout(len(target.planes), layout.height, layout.width, row, self.cpu.lanes)
        )

    def emit_epilogue(
        self, name: str, kept: PlanarView, target: PlanarView, left: Activation
    ) -> None:
        """Copy to ``target``, and apply the activation, where the op itself could not."""
        copied = left if left in COPIED else Activation.NONE
        if kept is not target or copied is not Activation.NONE:
            self.emit(Copy(name=name, sources=(kept,), target=target, activation=copied))
        if left is not copied:
            self.emit(Apply(name=name, sources=(target,), target=target, function=left))

    def target(self, value: str, activation: Activation) -> tuple[PlanarView, Activation]:
        """The view to store ``value`` in, and the activation to fuse."""
        last, channels, later, between = self.final_destination(value)
        both = compose_activations(activation, later)
        if last == value or both is None:
            return self.buffer_of(value), activation
        self.stored.update(between)
        home = self.buffer_of(last)
        moved = tuple(home.planes[at] for at in channels)
        return replace(home, planes=moved), both

    def with_fused_addition(
        self, layer: Conv | Multiply, source: PlanarView
    ) -> tuple[PlanarView, tuple[PlanarView, ...], Activation]:
        """As ``target`` for a layer's output, and the residual to add before the activation.

        A residual is fused if it exists already and is all that the output is added to.
        """
        activation = Activation.NONE
        if isinstance(layer, Conv):
            activation = layer.activation
            if self.graph.shapes[layer.output][1:] == (1, 1):  # stored elsewhere, see ``whole``
                return self._without_addition(layer.output, activation)
        found = self.traversal.fusable_add(layer)
        if found is None or activation is not Activation.NONE or found[0].activation not in FUSED:
            return self._without_addition(layer.output, activation)
        addition, value = found
        other = self.read(value)
        self.traversal.merge(addition)
        if (
            self.traversal.is_last_use(self.traversal.readers(value), layer, addition)
            and self.final_destination(addition.output)[0] == addition.output
            and other.buffer != source.buffer
            and other.buffer not in self.aliased
            and value not in self.graph.outputs
        ):
            self.views[addition.output] = other
            return other, (other,), addition.activation
        target, activation = self.target(addition.output, addition.activation)
        return target, (other,), activation

    def _without_addition(
        self, value: str, activation: Activation
    ) -> tuple[PlanarView, tuple[PlanarView, ...], Activation]:
        target, activation = self.target(value, activation)
        return target, (), activation

    def plane_count(self, value: str) -> int:
        """Planes of a value: its channels, or one if it is neither a map nor a vector."""
        shape = self.graph.shapes[value]
        return shape[0] if len(shape) in {1, 3} else 1

    def final_destination(
        self, value: str
    ) -> tuple[str, tuple[int, ...], Activation, tuple[str, ...]]:
        """Follow a value through layers that only move it.

        Returns the last value, each channel's position in it, the activation on the way, and the
        values in between.
        """
        user = self.traversal.only_reader(value)
        moved = self._moved_channels(user, value) if user else None
        if user is None or moved is None:
            return value, tuple(range(self.plane_count(value))), Activation.NONE, ()
        own = user.activation if isinstance(user, Concat | Elementwise) else Activation.NONE
        last, views, rest, between = self.final_destination(user.output)
        both = compose_activations(own, rest)
        if both is None:
            return user.output, moved, own, (value,)
        return last, tuple(views[at] for at in moved), both, (value, *between)

    def _moved_channels(self, user: Layer, value: str) -> tuple[int, ...] | None:
        """The channel order of a layer that only moves ``value``; None if it computes."""
        channels = self.plane_count(value)
        match user:
            case Shuffle() if len(self.graph.shapes[value]) in {1, 3}:
                return shuffle_order(channels, user.groups)
            case Concat() if joins_planes(user, self.graph):
                before = user.inputs[: user.inputs.index(value)]
                first = sum(self.graph.shapes[one][0] for one in before)
                return tuple(range(first, first + channels))
            case Elementwise() if user.activation is not Activation.SIGMOID:
                return tuple(range(channels))
            case Flatten() | AdaptiveAveragePool() if is_identity(user, self.graph):
                return tuple(range(channels))
            case _:
                return None


def _program_of(graph: Graph) -> PlanarProgram:
    """An empty program."""
    outputs = outputs_of(graph)
    program = PlanarProgram(
        name=graph.name,
        input_shape=graph.shapes[graph.input],
        output_shape=outputs[0].shape,
    )
    if len(outputs) > 1:
        program.outputs = outputs
        program.output_shape = (sum(prod(one.shape) for one in outputs),)
    return program


def is_vector(shape: Shape) -> bool:
    """True if a shape is that of a vector, or of a map of one pixel."""
    return len(shape) == 1 or (len(shape) == 3 and shape[1:] == (1, 1))


def shuffle_order(channels: int, groups: int) -> tuple[int, ...]:
    """The destination of each channel under a channel shuffle."""
    size = channels // groups
    return tuple((channel % size) * groups + channel // size for channel in range(channels))


def split_activation(activation: Activation) -> tuple[Activation, Activation]:
    """Split an activation into what kernels fuse and what ``emit_epilogue`` applies."""
    if activation in FUSED:
        return activation, Activation.NONE
    return Activation.NONE, activation


def joins_planes(layer: Concat, graph: Graph) -> bool:
    """True if a concatenation is one of whole channels of maps, or of vectors."""
    return layer.axis == 0 and len(graph.shapes[layer.output]) in {1, 3}


def is_identity(layer: Flatten | AdaptiveAveragePool, graph: Graph) -> bool:
    """True if a layer leaves every element where it was."""
    before, after = graph.shapes[layer.inputs[0]], graph.shapes[layer.output]
    if isinstance(layer, Flatten):
        return is_vector(before)
    return before == after


def _dense_layout(shape: Shape) -> Layout:
    channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
    return Layout(
        channels=channels,
        height=height,
        width=width,
        row_stride=width,
        channel_stride=height * width,
    )
