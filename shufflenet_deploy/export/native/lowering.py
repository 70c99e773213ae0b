"""From a ``Graph`` to a ``Program``: which layers merge, where values are stored and how."""

from __future__ import annotations

from dataclasses import replace

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
    FloatArray,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pair,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.export.native import floors, frequencies, maxima, winograd
from shufflenet_deploy.export.native import program as steps
from shufflenet_deploy.export.native.banding import Banding, banded, pooled
from shufflenet_deploy.export.native.geometry import Shape, Windows, is_direct, is_pointwise
from shufflenet_deploy.export.native.machine import Machine
from shufflenet_deploy.export.native.moving import activations_moved_on, biases_moved_on, fused
from shufflenet_deploy.export.native.program import (
    INPUT,
    OUTPUT,
    Layout,
    Place,
    Program,
    Step,
)
from shufflenet_deploy.export.native.rows import row_lengths


def lower(graph: Graph, machine: Machine) -> Program:
    """The program that computes ``graph`` on ``machine``.

    Raises:
        ExportError: a layer that there is no code for; the message names it.
    """
    program = _Lowering(graph, machine).run()
    if machine.by_lane:
        floors.apply(program)
    return program


class _Lowering:
    def __init__(self, graph: Graph, machine: Machine) -> None:
        graph = activations_moved_on(biases_moved_on(graph))
        self.graph = graph
        self.machine = machine
        self.program = Program(
            name=graph.name,
            input_shape=graph.shapes[graph.input],
            output_shape=graph.shapes[graph.output],
        )
        self.consumers = graph.users()
        self.order = {layer.name: at for at, layer in enumerate(graph.layers)}
        self.places: dict[str, Place] = {}
        self.stored: set[str] = set()  # values that went straight into a later value's place
        self.done: set[str] = {graph.input}
        self.merged: set[str] = set()  # names of layers whose work another step does
        self.rows = row_lengths(graph)

    def run(self) -> Program:
        shape = self.program.input_shape
        if len(shape) != 3:
            raise ExportError(f"{self.graph.name}: the input is {shape}, not (channels, H, W)")
        tight = _tight(shape)
        self.places[self.graph.input] = Place(
            buffer=INPUT, layout=tight, planes=tuple(range(shape[0]))
        )
        if self.machine.computes_in_halves:
            self._read(self.graph.input)
        for layer in self.graph.layers:
            if layer.name not in self.merged:
                self._lower(layer)
            self.done.add(layer.output)
        last = self.places[self.graph.output]
        target = Place(buffer=OUTPUT, layout=_tight(self.program.output_shape), planes=last.planes)
        if self.program.output_shape[1:] in {(), (1, 1)}:
            target = Place(
                buffer=OUTPUT, layout=steps.vector(last.layout.channels), planes=last.planes
            )
        self._emit(steps.Copy(name="output", sources=(last,), target=target))
        return self.program

    def _lower(self, layer: Layer) -> None:
        match layer:
            case Conv():
                self._convolution(layer)
            case Dense():
                self._dense(layer.name, layer.inputs[0], layer.output, layer)
            case Pool():
                self._pool(layer)
            case AdaptiveAveragePool():
                self._adaptive(layer)
            case Add():
                self._add(layer)
            case Multiply():
                self._multiply(layer)
            case Shuffle() | Concat() | Elementwise() | Flatten():
                self._move(layer)
            case LocalResponseNorm():
                self._normalise(layer)
            case _:
                raise ExportError(
                    f"{layer.name}: the native format has no code for {type(layer).__name__}"
                )

    # -- where values are -------------------------------------------------------------------

    def _layout(self, value: str) -> Layout:
        shape = self.graph.shapes[value]
        if len(shape) == 1 or shape[1:] == (1, 1):
            return steps.vector(shape[0])
        row = self.rows[value]
        return steps.planes(shape[0], shape[1], shape[2], row, self.machine.lanes)

    def _new(self, layout: Layout) -> Place:
        buffer = self.program.buffer(layout.channels * layout.plane)
        return Place(buffer=buffer, layout=layout, planes=tuple(range(layout.channels)))

    def _home(self, value: str) -> Place:
        if value not in self.places:
            self.places[value] = self._new(self._layout(value))
        return self.places[value]

    def _read(self, value: str) -> Place:
        """A value's place, in whole vectors: the caller's input picture is copied first."""
        place = self.places[value]
        if place.buffer != INPUT:
            return place
        copy = self._new(self._layout(value))
        self._emit(steps.Copy(name="input", sources=(place,), target=copy))
        self.places[value] = copy
        return copy

    def _follow(self, value: str) -> tuple[str, tuple[int, ...], Activation, tuple[str, ...]]:
        """Where a value ends up when everything after it only moves it.

        Returns the last value, each channel's place in it, the activation on the way, and the
        values in between.
        """
        identity = tuple(range(self.graph.shapes[value][0]))
        stay = (value, identity, Activation.NONE, ())
        users = self.consumers[value]
        if len(users) != 1 or value == self.graph.output:
            return stay
        user = users[0]
        moved = self._moved(user, value)
        if moved is None:
            return stay
        own = user.activation if isinstance(user, Concat | Elementwise) else Activation.NONE
        last, places, rest, between = self._follow(user.output)
        both = fused(own, rest)
        if both is None:
            return user.output, moved, own, (value,)
        return last, tuple(places[at] for at in moved), both, (value, *between)

    def _moved(self, user: Layer, value: str) -> tuple[int, ...] | None:
        """Where a layer that computes nothing puts the channels of ``value``."""
        channels = self.graph.shapes[value][0]
        match user:
            case Shuffle():
                return shuffled(channels, user.groups)
            case Concat():
                before = user.inputs[: user.inputs.index(value)]
                first = sum(self.graph.shapes[one][0] for one in before)
                return tuple(range(first, first + channels))
            case Elementwise() if user.activation is not Activation.SIGMOID:
                return tuple(range(channels))
            case Flatten() | AdaptiveAveragePool() if self._unchanged(user):
                return tuple(range(channels))
            case _:
                return None

    def _unchanged(self, layer: Layer) -> bool:
        before, after = self.graph.shapes[layer.inputs[0]], self.graph.shapes[layer.output]
        if isinstance(layer, Flatten):
            return len(before) == 1 or before[1:] == (1, 1)
        return before == after

    def _target(self, value: str, activation: Activation) -> tuple[Place, Activation]:
        """Where to store ``value``, and the activation to apply on the way."""
        last, channels, later, between = self._follow(value)
        both = fused(activation, later)
        if last == value or both is None:
            return self._home(value), activation
        self.stored.update(between)
        home = self._home(last)
        return (
            Place(
                buffer=home.buffer,
                layout=home.layout,
                planes=tuple(home.planes[at] for at in channels),
            ),
            both,
        )

    def _emit(self, step: Step) -> None:
        self.program.steps.append(step)

    def _residual(
        self, layer: Conv | Multiply, source: Place
    ) -> tuple[Place, Place, Activation] | None:
        """For a layer whose output is only added to a value that exists: (target, other, act)."""
        users = self.consumers[layer.output]
        if len(users) != 1 or not isinstance(users[0], Add) or layer.output == self.graph.output:
            return None
        addition = users[0]
        others = [value for value in addition.inputs if value != layer.output]
        activation = layer.activation if isinstance(layer, Conv) else Activation.NONE
        if len(others) != 1 or others[0] not in self.done or activation is not Activation.NONE:
            return None
        if addition.activation is Activation.SIGMOID:
            return None
        other = self._read(others[0])
        self.merged.add(addition.name)
        last = self._follow(addition.output)[0]
        now = self.order[layer.name]
        free = all(
            user is addition or self.order[user.name] <= now for user in self.consumers[others[0]]
        )
        if free and last == addition.output and other.buffer != source.buffer:
            self.places[addition.output] = other
            return other, other, addition.activation
        target, activation = self._target(addition.output, addition.activation)
        return target, other, activation

    # -- layers -----------------------------------------------------------------------------

    def _convolution(self, layer: Conv) -> None:
        shape_in = self.graph.shapes[layer.inputs[0]]
        shape_out = self.graph.shapes[layer.output]
        direct = is_direct(layer, shape_in, shape_out)
        tiles = winograd.tiles(layer, shape_in, shape_out, self.machine)
        if tiles and not direct:
            self._in_frequencies(layer, tiles)
            return
        if self._banded(layer):
            return
        whole = layer.weight.shape[2:] == shape_in[1:] and not any(layer.padding)
        if layer.groups == 1 and whole and shape_out[1:] == (1, 1):
            flat = Dense(
                name=layer.name,
                inputs=layer.inputs,
                output=layer.output,
                weight=layer.weight.reshape(shape_out[0], -1),
                bias=layer.bias,
                activation=layer.activation,
            )
            self._dense(layer.name, layer.inputs[0], layer.output, flat)
        elif direct:
            self._direct(layer)
        else:
            self._flat_convolution(layer, shape_in, shape_out)

    def _in_frequencies(self, layer: Conv, tiles: steps.Tiles) -> None:
        source, out = self._read(layer.inputs[0]), layer.weight.shape[0]
        given, made = (
            frequencies.place(self.program, channels, tiles, self.machine.lanes)
            for channels in (source.layout.channels, out)
        )
        self._emit(
            steps.ToFrequencies(
                name=layer.name,
                sources=(source,),
                target=given,
                tiles=tiles,
                top=layer.padding[0],
                left=layer.padding[1],
            )
        )
        weight = winograd.in_frequencies(layer.weight, tiles.side)
        target, *others, activation = self._residual(layer, made) or self._target(
            layer.output, layer.activation
        )
        self._emit(
            steps.Products(
                name=layer.name,
                sources=(given,),
                target=made,
                weight=weight,
                bias=np.zeros(len(weight), np.float32),
                groups=tiles.frequencies * layer.groups,
                taps=(0,),
                spread=1,
                activation=Activation.NONE,
                tiles=tiles,
                pixels=target.pixels,
            )
        )
        self._emit(
            steps.FromFrequencies(
                name=layer.name,
                sources=(made, *others),
                target=target,
                tiles=tiles,
                bias=layer.bias,
                activation=_kernel_activation(activation),
            )
        )
        self._finish(layer.name, target, activation)

    def _flat_convolution(self, layer: Conv, shape_in: Shape, shape_out: Shape) -> None:
        out, per_group, *kernel = layer.weight.shape
        if is_pointwise(layer) and shape_in[1:] != (1, 1):
            source = self._read(layer.inputs[0])
            taps: tuple[int, ...] = (0,)
            spread = 1
        else:
            windows = Windows(
                (kernel[0], kernel[1]),
                layer.stride,
                layer.padding,
                (shape_in[1], shape_in[2]),
                (shape_out[1], shape_out[2]),
            )
            source = self._split(layer.name, layer.inputs[0], windows, self._row(layer.output), 0.0)
            taps, spread = windows.taps(source.layout), len(windows.phases)
        small = shape_out[1:] == (1, 1)
        merged = None if small else self._residual(layer, source)
        if merged is None:
            target, activation = self._target(layer.output, layer.activation)
            sources: tuple[Place, ...] = (source,)
        else:
            target, other, activation = merged
            sources = (source, other)
        kept = target
        if small:
            kept = self._new(steps.planes(out, 1, 1, 1, self.machine.lanes))
        self._emit(
            steps.Convolution(
                name=layer.name,
                sources=sources,
                target=kept,
                weight=layer.weight.reshape(out, per_group, -1),
                bias=layer.bias,
                groups=layer.groups,
                taps=taps,
                spread=spread,
                activation=_kernel_activation(activation),
                kernel=(kernel[0], kernel[1]),
            )
        )
        if small:
            left = activation if activation is Activation.SIGMOID else Activation.NONE
            self._emit(steps.Copy(name=layer.name, sources=(kept,), target=target, activation=left))
        else:
            self._finish(layer.name, target, activation)

    def _banded(self, layer: Conv) -> bool:
        """Whether this convolution and the pool behind it are one step, which it then emits."""
        users = self.consumers[layer.output]
        if len(users) != 1 or not isinstance(users[0], Pool) or layer.output == self.graph.output:
            return False
        pool, shapes = users[0], self.graph.shapes
        pair = Banding(
            conv=layer,
            pool=pool,
            picture=shapes[layer.inputs[0]],
            map=shapes[layer.output],
            pooled=shapes[pool.output],
        )
        row, source = self.rows[layer.output], self.places[layer.inputs[0]]
        if not source.contiguous or not pair.suits(row, self.machine):
            return False
        target, activation = self._target(pool.output, pool.activation)
        pair = replace(pair, pool=replace(pool, activation=_kernel_activation(activation)))
        buffer = self.program.buffer
        if maxima.suits(layer, pair.picture[2], pair.map[2], self.machine):
            self._emit(pooled(pair, self.machine, source, target, buffer))
        else:
            self._emit(banded(pair, self.machine, row, source, target, buffer))
        self.merged.add(pool.name)
        self._finish(layer.name, target, activation)
        return True

    def _finish(self, name: str, target: Place, activation: Activation) -> None:
        """Apply in place what the kernel before could not."""
        if activation is Activation.SIGMOID:
            self._emit(
                steps.Copy(name=name, sources=(target,), target=target, activation=activation)
            )

    def _row(self, value: str) -> int:
        return self.rows[value]

    def _split(self, name: str, value: str, windows: Windows, row: int, outside: float) -> Place:
        source = self.places[value]
        layout = windows.sorted(source.layout.channels, row, self.machine.lanes)
        target = self._new(layout)
        self._emit(
            steps.Split(
                name=name,
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

    def _dense(self, name: str, value: str, output: str, layer: Dense) -> None:
        source = self.places[value]
        shape = self.graph.shapes[value]
        if source.layout.plane != 1 or source.buffer == INPUT:
            source = self._flat(name, source, shape)
        target, activation = self._target(output, layer.activation)
        kept = target
        if not target.contiguous or len(target.planes) != target.layout.channels:
            kept = self._new(steps.vector(layer.weight.shape[0]))
        self._emit(
            steps.FullyConnected(
                name=name,
                sources=(source,),
                target=kept,
                weight=layer.weight,
                bias=layer.bias,
                activation=activation,
            )
        )
        if kept is not target:
            self._emit(steps.Copy(name=name, sources=(kept,), target=target))

    def _flat(self, name: str, source: Place, shape: Shape) -> Place:
        """A map's pixels side by side, channel by channel."""
        size = int(np.prod(shape))
        buffer = self.program.buffer(size)
        height, width = source.layout.height, source.layout.width
        layout = Layout(
            channels=shape[0], height=height, width=width, row=width, plane=height * width
        )
        target = Place(buffer=buffer, layout=layout, planes=tuple(range(shape[0])))
        self._emit(steps.Copy(name=name, sources=(source,), target=target))
        return Place(buffer=buffer, layout=steps.vector(size), planes=tuple(range(size)))

    def _direct(self, layer: Conv | Pool) -> None:
        target, activation = self._target(layer.output, layer.activation)
        convolution = layer if isinstance(layer, Conv) else None
        self._emit(
            steps.Window3x3(
                name=layer.name,
                sources=(self._read(layer.inputs[0]),),
                target=target,
                stride=layer.stride[0],
                top=layer.padding[0],
                left=layer.padding[1],
                weight=convolution.weight.reshape(-1, 9) if convolution else None,
                bias=convolution.bias if convolution else None,
                kind=layer.kind if isinstance(layer, Pool) else PoolKind.AVERAGE,
                scale=1 / 9,
                activation=_kernel_activation(activation),
            )
        )
        self._finish(layer.name, target, activation)

    def _pool(self, layer: Pool) -> None:
        shape_in = self.graph.shapes[layer.inputs[0]]
        shape_out = self.graph.shapes[layer.output]
        average = layer.kind is PoolKind.AVERAGE and layer.activation is Activation.NONE
        if average and layer.kernel == shape_in[1:] and not any(layer.padding):
            self._mean(layer.name, layer.inputs[0], layer.output, (1, 1))
            return
        if is_direct(layer, shape_in, shape_out):
            self._direct(layer)
            return
        windows = Windows(
            layer.kernel,
            layer.stride,
            layer.padding,
            (shape_in[1], shape_in[2]),
            (shape_out[1], shape_out[2]),
        )
        largest = layer.kind is PoolKind.MAX
        outside = float("-inf") if largest else 0.0
        source = self._split(layer.name, layer.inputs[0], windows, self._row(layer.output), outside)
        target, activation = self._target(layer.output, layer.activation)
        scale: FloatArray | None = None
        if not largest:
            area = layer.kernel[0] * layer.kernel[1]
            counts = np.full(shape_out[1:], area, np.float32)
            if not layer.count_padding and any(layer.padding):
                counts = windows.inside()
            scale = (np.float32(1) / counts).astype(np.float32)
            if (scale == scale[0, 0]).all():
                scale = scale[:1, :1]
        small = shape_out[1:] == (1, 1)
        kept = (
            self._new(steps.planes(shape_out[0], 1, 1, 1, self.machine.lanes)) if small else target
        )
        self._emit(
            steps.Window(
                name=layer.name,
                sources=(source,),
                target=kept,
                kind=layer.kind,
                taps=windows.taps(source.layout),
                spread=len(windows.phases),
                scale=scale,
                activation=_kernel_activation(activation),
            )
        )
        if small:
            left = activation if activation is Activation.SIGMOID else Activation.NONE
            self._emit(steps.Copy(name=layer.name, sources=(kept,), target=target, activation=left))
        else:
            self._finish(layer.name, target, activation)

    def _adaptive(self, layer: AdaptiveAveragePool) -> None:
        if self._unchanged(layer):
            self._move(layer)
            return
        self._mean(layer.name, layer.inputs[0], layer.output, layer.size)

    def _mean(self, name: str, value: str, output: str, size: Pair) -> None:
        source = self.places[value]
        target, activation = self._target(output, Activation.NONE)
        kind = steps.GlobalAverage if size == (1, 1) else steps.AdaptiveAverage
        self._emit(kind(name=name, sources=(source,), target=target))
        if activation is not Activation.NONE:
            self._emit(
                steps.Copy(name=name, sources=(target,), target=target, activation=activation)
            )

    def _add(self, layer: Add) -> None:
        target, activation = self._target(layer.output, layer.activation)
        sources = tuple(self._read(value) for value in layer.inputs)
        self._emit(
            steps.Sum(
                name=layer.name,
                sources=sources,
                target=target,
                activation=_kernel_activation(activation),
            )
        )
        self._finish(layer.name, target, activation)

    def _multiply(self, layer: Multiply) -> None:
        one, two = layer.inputs
        if self.graph.shapes[one][1:] == (1, 1) != self.graph.shapes[two][1:]:
            one, two = two, one
        value, gate = self._read(one), self._read(two)
        merged = self._residual(layer, value)
        if merged is None:
            target, activation = self._target(layer.output, Activation.NONE)
            sources: tuple[Place, ...] = (value, gate)
        else:
            target, other, activation = merged
            sources = (value, gate, other)
        self._emit(
            steps.Gate(
                name=layer.name,
                sources=sources,
                target=target,
                activation=_kernel_activation(activation),
            )
        )
        self._finish(layer.name, target, activation)

    def _normalise(self, layer: LocalResponseNorm) -> None:
        source = self._read(layer.inputs[0])
        target, activation = self._target(layer.output, Activation.NONE)
        self._emit(
            steps.Normalise(
                name=layer.name,
                sources=(source,),
                target=target,
                size=layer.size,
                alpha=layer.alpha,
                beta=layer.beta,
                k=layer.k,
            )
        )
        if activation is not Activation.NONE:
            self._emit(
                steps.Copy(name=layer.name, sources=(target,), target=target, activation=activation)
            )

    def _move(self, layer: Layer) -> None:
        """A layer that only moves data: whatever its producers did not store in place already."""
        if all(value in self.stored for value in layer.inputs):
            return
        if isinstance(layer, Flatten) and not self._unchanged(layer):
            flat = self._flat(
                layer.name, self.places[layer.inputs[0]], self.graph.shapes[layer.inputs[0]]
            )
            last, _, later, between = self._follow(layer.output)
            if last == layer.output:
                self.places[layer.output] = flat
            else:
                self.stored.update(between)
                self.places[layer.output] = flat
                self._copy_to(layer, flat, last, later)
            return
        own = layer.activation if isinstance(layer, Concat | Elementwise) else Activation.NONE
        target, activation = self._target(layer.output, own)
        first = 0
        for value in layer.inputs:
            channels = self.graph.shapes[value][0]
            if value not in self.stored:
                where = tuple(range(channels))
                if isinstance(layer, Shuffle):
                    where = shuffled(channels, layer.groups)
                part = Place(
                    buffer=target.buffer,
                    layout=target.layout,
                    planes=tuple(target.planes[first + at] for at in where),
                )
                self._emit(
                    steps.Copy(
                        name=layer.name,
                        sources=(self.places[value],),
                        target=part,
                        activation=activation,
                    )
                )
            first += channels

    def _copy_to(self, layer: Layer, source: Place, last: str, activation: Activation) -> None:
        channels = self._follow(layer.output)[1]
        home = self._home(last)
        target = Place(
            buffer=home.buffer,
            layout=home.layout,
            planes=tuple(home.planes[at] for at in channels),
        )
        self._emit(
            steps.Copy(name=layer.name, sources=(source,), target=target, activation=activation)
        )


def shuffled(channels: int, groups: int) -> tuple[int, ...]:
    """Where a shuffle puts each channel."""
    size = channels // groups
    return tuple((channel % size) * groups + channel // size for channel in range(channels))


def _kernel_activation(activation: Activation) -> Activation:
    return Activation.NONE if activation is Activation.SIGMOID else activation


def _tight(shape: Shape) -> Layout:
    channels, height, width = shape if len(shape) == 3 else (shape[0], 1, 1)
    return Layout(channels=channels, height=height, width=width, row=width, plane=height * width)
