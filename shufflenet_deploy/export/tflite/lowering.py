"""From a graph to the operations of an NHWC runtime such as LiteRT, before any file format.

Every rewrite is exact. What can be written in several ways (a shuffle, a padded average) is a
choice in a ``Plan``, so that measurements can decide.

A tensor carries the name of the graph's value where it holds just that value, in NHWC; tensors
that exist only because of the lowering have a colon in their name, such as ``pool:padded``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.tflite.lowering_plans import (
    PadBorder,
    PaddedAverage,
    Plan,
    rearranged,
)
from shufflenet_deploy.network.graph import (
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
    Pair,
    Pool,
    PoolKind,
    Shuffle,
)
from shufflenet_deploy.network.passes.shuffle_rewrites import BlockShuffle
from shufflenet_deploy.network.passes.width_to_depth import fold_columns

Padding = tuple[int, int, int, int]
Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """``real = scale * (stored - zero_point)``; more than one scale means one per ``axis``."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True, kw_only=True)
class TfliteTensor:
    """A value at run time, or a constant when ``data`` is there.

    ``rearranges`` names the value of the graph whose channels it holds in another order. ``span``
    is the range of a value that calibration does not know because no layer makes it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None
    quantization: Quantization | None = None
    rearranges: str | None = None
    span: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class TfliteOperation:
    """One operation; ``code`` and the keys of ``options`` are those of TFLite's schema."""

    code: str
    inputs: tuple[str, ...]
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TfliteProgram:
    """Operations in order, and every tensor they name."""

    name: str
    input: str
    output: str
    operations: tuple[TfliteOperation, ...]
    tensors: Mapping[str, TfliteTensor]


def lower(graph: Graph, choices: Plan) -> TfliteProgram:
    """Write a graph as NHWC operations.

    Raises:
        ExportError: a layer has no exact counterpart.
    """
    return _Lowering(rearranged(graph, choices), choices).program()


class _Lowering:
    """Emits operations layer by layer; ``_maps`` knows where each value of the graph lies."""

    def __init__(self, graph: Graph, choices: Plan) -> None:
        self._graph = graph
        self._choices = choices
        self._producers = {layer.output: layer for layer in graph.layers}
        self._readers = Counter(name for layer in graph.layers for name in layer.inputs)
        self._readers[graph.output] += 1
        self._tensors: dict[str, TfliteTensor] = {}
        self._operations: list[TfliteOperation] = []
        self._early = self._activations_before_concat()
        self._places: dict[str, str] = {}  # value -> its tensor, (1, H, W, C) or (1, F)
        self._planar: dict[str, str] = {}  # value -> a tensor in the graph's own (C, H, W) order
        self._rows: dict[str, Array] = {}  # vector -> for each element its place in the tensor

    def program(self) -> TfliteProgram:
        source = self._graph.input
        if self._choices.planar_input:
            self._value(source, (1, *self._graph.shapes[source]))
        else:
            self._places[source] = self._value(source, _nhwc(self._graph.shapes[source]))
        for layer in self._graph.layers:
            _LOWERINGS[type(layer)](self, layer)
        output = self._place(self._graph.output)
        if self._graph.output in self._rows:
            raise AssertionError("only a fully connected layer reads a reordered vector")
        return TfliteProgram(
            name=self._graph.name,
            input=source,
            output=output,
            operations=tuple(self._operations),
            tensors=self._tensors,
        )

    # One method per kind of layer.

    def conv(self, layer: Conv) -> None:
        if self._folds(layer):
            self._folded_conv(layer)
            return
        grouped = layer.groups > 1
        depthwise = grouped and layer.weight.shape[1] == 1
        source, padding = self._window(layer, layer.weight.shape[2:], layer.stride, layer.padding)
        options = {"padding": padding, "strideH": layer.stride[0], "strideW": layer.stride[1]}
        if depthwise:
            weight = layer.weight.transpose(1, 2, 3, 0)
            options["depthMultiplier"] = layer.weight.shape[0] // layer.groups
        else:
            weight = layer.weight.transpose(0, 2, 3, 1)
        inputs = (
            source,
            self._constant(f"{layer.name}:weight", weight),
            self._constant(f"{layer.name}:bias", layer.bias),
        )
        self._emit(layer, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, options)

    def _folds(self, layer: Conv) -> bool:
        columns = self._choices.fold_columns
        width = self._graph.shapes[self._graph.input][2]
        return (
            columns > 1
            and self._choices.planar_input
            and layer.inputs == (self._graph.input,)
            and layer.groups == 1
            and width % columns == 0
            and columns % layer.stride[1] == 0
            and self._graph.shapes[layer.output][2] * layer.stride[1] == width
            and layer.activation in _FUSED
        )

    def _folded_conv(self, layer: Conv) -> None:
        """A convolution of the planar image with several columns side by side as channels."""
        columns, source = self._choices.fold_columns, layer.inputs[0]
        channels, height, width = self._graph.shapes[source]
        blocks = width // columns
        names = [f"{source}:{word}" for word in ("columns", "moved", "folded")]
        self._reshape(source, names[0], (1, channels, height, blocks, columns))
        self._transpose(names[0], names[1], (0, 2, 3, 1, 4))
        self._reshape(names[1], names[2], (1, height, blocks, channels * columns))
        wide, (left, right) = fold_columns(layer, columns)
        outputs, rows, many = self._graph.shapes[layer.output]
        padding = (layer.padding[0], left, layer.padding[2], right)
        inputs = (
            self._bordered(names[2], f"{names[2]}:padded", padding, zeros=True),
            self._constant(f"{layer.name}:weight", wide.weight.transpose(0, 2, 3, 1)),
            self._constant(f"{layer.name}:bias", wide.bias),
        )
        options = {
            "padding": "VALID",
            "strideH": wide.stride[0],
            "strideW": wide.stride[1],
            "fusedActivationFunction": _FUSED[layer.activation],
        }
        side_by_side = f"{layer.output}:folded"
        shape = (1, rows, blocks, outputs * many // blocks)
        self._write("CONV_2D", inputs, side_by_side, shape, options)
        self._reshape(side_by_side, layer.output, (1, rows, many, outputs))
        self._places[layer.output] = layer.output

    def dense(self, layer: Dense) -> None:
        order = self._rows.get(layer.inputs[0])
        weight = layer.weight if order is None else layer.weight.take(order, axis=1)
        inputs = (
            self._place(layer.inputs[0]),
            self._constant(f"{layer.name}:weight", weight),
            self._constant(f"{layer.name}:bias", layer.bias),
        )
        self._emit(layer, "FULLY_CONNECTED", inputs, {})

    def pool(self, layer: Pool) -> None:
        if layer.kind is PoolKind.MAX and self._choices.split_pools:
            self._rows_then_columns(layer)
        elif layer.kind is PoolKind.MAX:
            source, padding = self._window(
                layer, layer.kernel, layer.stride, layer.padding, lowest=True
            )
            self._emit(layer, "MAX_POOL_2D", (source,), _pool_options(layer, padding))
        elif not any(layer.padding):
            source = self._place(layer.inputs[0])
            self._emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "VALID"))
        elif layer.count_padding:
            self._padded_average(layer)
        elif self._same(layer.inputs[0], layer.kernel, layer.stride) == layer.padding:
            # The runtime divides by the pixels inside, as asked.
            source = self._place(layer.inputs[0])
            self._emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "SAME"))
        else:
            self._inside_average(layer)

    def _rows_then_columns(self, layer: Pool) -> None:
        """A maximum over rows, a whole row being one pixel of many channels, then over columns."""
        source, zeros = layer.inputs[0], self._non_negative(layer.inputs[0])
        channels, height, width = self._graph.shapes[source]
        rows = self._graph.shapes[layer.output][1]
        names = [f"{layer.output}:{word}" for word in ("rows", "highest-rows", "highest")]
        self._reshape(self._place(source), names[0], (1, height, 1, width * channels))
        top, left, bottom, right = layer.padding
        tall = self._bordered(names[0], f"{names[0]}:padded", (top, 0, bottom, 0), zeros=zeros)
        options = _window_options((layer.kernel[0], 1), (layer.stride[0], 1), "VALID")
        self._write("MAX_POOL_2D", (tall,), names[1], (1, rows, 1, width * channels), options)
        self._reshape(names[1], names[2], (1, rows, width, channels))
        broad = self._bordered(names[2], f"{names[2]}:padded", (0, left, 0, right), zeros=zeros)
        options = _window_options((1, layer.kernel[1]), (1, layer.stride[1]), "VALID")
        self._emit(layer, "MAX_POOL_2D", (broad,), options)

    def _padded_average(self, layer: Pool) -> None:
        if self._choices.padded_average is PaddedAverage.POOL:
            source = self._padded(layer.inputs[0], layer.padding)
            self._emit(layer, "AVERAGE_POOL_2D", (source,), _pool_options(layer, "VALID"))
            return
        channels = self._graph.shapes[layer.output][0]
        self.conv(
            Conv(
                name=layer.name,
                inputs=layer.inputs,
                output=layer.output,
                weight=np.full((channels, 1, *layer.kernel), 1 / math.prod(layer.kernel), "f4"),
                bias=np.zeros(channels, np.float32),
                stride=layer.stride,
                padding=layer.padding,
                groups=channels,
                activation=layer.activation,
            )
        )

    def _inside_average(self, layer: Pool) -> None:
        """Average over all of the window, then correct where it left the image."""
        _, height, width = self._graph.shapes[layer.inputs[0]]
        top, left, bottom, right = layer.padding
        inside = np.pad(np.ones((height, width)), ((top, bottom), (left, right)))
        rows, columns = self._graph.shapes[layer.output][1:]
        (kh, kw), (sh, sw) = layer.kernel, layer.stride
        counted = np.array(
            [
                [inside[y * sh : y * sh + kh, x * sw : x * sw + kw].sum() for x in range(columns)]
                for y in range(rows)
            ]
        )
        whole = f"{layer.output}:whole"
        shape = _nhwc(self._graph.shapes[layer.output])
        self._write(
            "AVERAGE_POOL_2D",
            (self._padded(layer.inputs[0], layer.padding),),
            whole,
            shape,
            _pool_options(layer, "VALID"),
        )
        share = (kh * kw / counted).astype(np.float32)[None, :, :, None]
        inputs = (whole, self._constant(f"{layer.name}:share", share))
        self._emit(layer, "MUL", inputs, {})

    def adaptive_pool(self, layer: AdaptiveAveragePool) -> None:
        height, width = self._graph.shapes[layer.inputs[0]][1:]
        if layer.size == (1, 1):
            axes = self._constant("axes:1,2", np.array([1, 2], np.int32))
            inputs = (self._place(layer.inputs[0]), axes)
            self._emit(layer, "MEAN", inputs, {"keepDims": True})
            return
        windows = tuple(
            _even_windows(extent, count)
            for extent, count in zip((height, width), layer.size, strict=True)
        )
        if all(windows):
            rows, columns = (pair for pair in windows if pair)
            kernel, stride = (rows[0], columns[0]), (rows[1], columns[1])
            options = _window_options(kernel, stride, "VALID")
            source = self._place(layer.inputs[0])
            self._emit(layer, "AVERAGE_POOL_2D", (source,), options)
            return
        self._uneven_average(layer)

    def _uneven_average(self, layer: AdaptiveAveragePool) -> None:
        """One matrix product over the pixels of each channel; leaves the map planar."""
        height, width = self._graph.shapes[layer.inputs[0]][1:]
        weight = np.kron(_averages(height, layer.size[0]), _averages(width, layer.size[1]))
        flat = f"{layer.output}:pixels"
        channels, cells = self._graph.shapes[layer.output][0], math.prod(layer.size)
        self._reshape(self._place(layer.inputs[0]), flat, (height * width, channels))
        self._transpose(flat, f"{layer.output}:channels", (1, 0))
        planar = f"{layer.output}:planar"
        inputs = (
            f"{layer.output}:channels",
            self._constant(f"{layer.name}:weight", weight.astype(np.float32)),
            self._constant(f"{layer.name}:bias", np.zeros(cells, np.float32)),
        )
        self._write("FULLY_CONNECTED", inputs, planar, (channels, cells), {})
        self._planar[layer.output] = planar

    def add(self, layer: Add) -> None:
        inputs = tuple(self._place(name) for name in layer.inputs)
        self._emit(layer, "ADD", inputs, {})

    def multiply(self, layer: Multiply) -> None:
        inputs = tuple(self._place(name) for name in layer.inputs)
        self._emit(layer, "MUL", inputs, {})

    def concat(self, layer: Concat) -> None:
        if layer.output in self._early.values():
            layer = replace(layer, activation=Activation.NONE)
        inputs = tuple(self._place(name) for name in layer.inputs)
        self._emit(layer, "CONCATENATION", inputs, {"axis": 3})

    def shuffle(self, layer: Shuffle) -> None:
        channels, height, width = self._graph.shapes[layer.output]
        split = (height * width, layer.groups, channels // layer.groups)
        self._reshape(self._place(layer.inputs[0]), f"{layer.output}:split", split)
        self._transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1))
        self._reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
        self._places[layer.output] = layer.output

    def block_shuffle(self, layer: BlockShuffle) -> None:
        channels, height, width = self._graph.shapes[layer.output]
        split = (height * width, layer.groups, layer.groups, layer.block)
        self._reshape(self._place(layer.inputs[0]), f"{layer.output}:split", split)
        self._transpose(f"{layer.output}:split", f"{layer.output}:mixed", (0, 2, 1, 3))
        self._reshape(f"{layer.output}:mixed", layer.output, (1, height, width, channels))
        self._places[layer.output] = layer.output

    def response_norm(self, layer: LocalResponseNorm) -> None:
        if layer.size % 2 == 0:
            raise ExportError(f"'{layer.name}' normalises over an even number of channels")
        options = {
            "radius": layer.size // 2,
            "bias": layer.k,
            "alpha": layer.alpha / layer.size,
            "beta": layer.beta,
        }
        inputs = (self._place(layer.inputs[0]),)
        self._emit(layer, "LOCAL_RESPONSE_NORMALIZATION", inputs, options)

    def elementwise(self, layer: Elementwise) -> None:
        self._activate(
            layer.activation,
            self._place(layer.inputs[0]),
            layer.output,
            self._file_shape(layer.output),
        )
        self._places[layer.output] = layer.output

    def flatten(self, layer: Flatten) -> None:
        source = layer.inputs[0]
        channels, height, width = self._graph.shapes[source]
        size = channels * height * width
        if source in self._planar or height * width == 1:
            tensor = self._planar.get(source) or self._place(source)
            self._reshape(tensor, layer.output, (1, size))
            self._places[layer.output] = layer.output
        elif all(isinstance(reader, Dense) for reader in self._reading(layer.output)):
            # Leave the pixels as they lie; the layers that read them reorder their weights.
            self._reshape(self._place(source), f"{layer.output}:nhwc", (1, size))
            self._places[layer.output] = f"{layer.output}:nhwc"
            order = np.arange(size).reshape(channels, height, width).transpose(1, 2, 0)
            self._rows[layer.output] = order.ravel()
        else:
            self._transpose(self._place(source), f"{layer.output}:nchw", (0, 3, 1, 2))
            self._reshape(f"{layer.output}:nchw", layer.output, (1, size))
            self._places[layer.output] = layer.output

    # What the layers share.

    def _reading(self, value: str) -> list[Layer | None]:
        """The layers that read a value; None stands for the caller of the network."""
        readers: list[Layer | None] = [
            layer for layer in self._graph.layers if value in layer.inputs
        ]
        return readers + [None] * (value == self._graph.output)

    def _activations_before_concat(self) -> dict[str, str]:
        """Values that get the activation of the concat they flow into, and that concat's value.

        Runtimes have no fused activation there, but max(0, cat(a, b)) = cat(max(0, a), max(0, b)).
        """
        early: dict[str, str] = {}
        for layer in self._graph.layers:
            if not isinstance(layer, Concat) or layer.activation is Activation.NONE:
                continue
            todo = [
                name
                for name in layer.inputs
                if layer.activation is not Activation.RELU or not self._non_negative(name)
            ]
            if layer.activation in _FUSED and all(self._can_activate(name) for name in todo):
                early.update(dict.fromkeys(todo, layer.output))
        return early

    def _early_activation(self, value: str) -> Activation:
        concat = self._producers[self._early[value]]
        assert isinstance(concat, Concat)
        return concat.activation

    def _can_activate(self, value: str) -> bool:
        producer = self._producers.get(value)
        return (
            isinstance(producer, (Conv, Pool, Add, Multiply))
            and getattr(producer, "activation", Activation.NONE) is Activation.NONE
            and self._readers[value] == 1
        )

    def _non_negative(self, value: str) -> bool:
        """True where a value is known to be at least zero everywhere."""
        producer = self._producers.get(value)
        if producer is None:
            return False
        activation = getattr(producer, "activation", Activation.NONE)
        if activation is not Activation.NONE:
            return True
        passing = (Pool, AdaptiveAveragePool, Concat, Shuffle, Multiply, LocalResponseNorm, Add)
        return isinstance(producer, passing) and all(
            self._non_negative(name) for name in producer.inputs
        )

    def _place(self, value: str) -> str:
        """The tensor that holds a value in NHWC, moved there when it lies planar."""
        if value not in self._places and value == self._graph.input:
            self._transpose(value, f"{value}:channels-last", (0, 2, 3, 1))
            self._places[value] = f"{value}:channels-last"
        elif value not in self._places:
            channels, height, width = self._graph.shapes[value]
            self._transpose(self._planar[value], f"{value}:cells", (1, 0))
            self._value(value, (1, height, width, channels))
            self._reshape(f"{value}:cells", value, (1, height, width, channels))
            self._places[value] = value
        return self._places[value]

    def _file_shape(self, value: str) -> tuple[int, ...]:
        return _nhwc(self._graph.shapes[value])

    def _window(
        self,
        layer: Layer,
        kernel: Pair | tuple[int, ...],
        stride: Pair,
        padding: Padding,
        *,
        lowest: bool = False,
    ) -> tuple[str, str]:
        """The tensor to slide over and how the runtime pads it, if it can do so itself."""
        source = layer.inputs[0]
        if not any(padding):
            return self._place(source), "VALID"
        if self._same(source, kernel, stride) == padding:
            return self._place(source), "SAME"
        pooled = not isinstance(layer, Conv)
        return self._padded(source, padding, lowest=lowest, pooled=pooled), "VALID"

    def _same(self, value: str, kernel: Pair | tuple[int, ...], stride: Pair) -> Padding:
        """The padding that the runtime's SAME means for this map."""
        before, after = [], []
        for extent, size, step in zip(self._graph.shapes[value][1:], kernel, stride, strict=True):
            total = max(0, (math.ceil(extent / step) - 1) * step + size - extent)
            before.append(total // 2)
            after.append(total - total // 2)
        return (before[0], before[1], after[0], after[1])

    def _padded(
        self, value: str, padding: Padding, *, lowest: bool = False, pooled: bool = True
    ) -> str:
        """A map with a border of zeros, or of the lowest number for a maximum."""
        top, left, bottom, right = padding
        zeros = not lowest or self._non_negative(value)
        name = f"{value}:padded-{top}-{left}-{bottom}-{right}{'' if zeros else '-lowest'}"
        if name in self._tensors:
            return name
        if pooled and self._choices.border is PadBorder.CONCAT:
            return self._joined(self._place(value), name, padding, zeros=zeros)
        return self._bordered(self._place(value), name, padding, zeros=zeros)

    def _bordered(self, source: str, name: str, padding: Padding, *, zeros: bool) -> str:
        """A tensor with a border, written as one operation; none where there is no border."""
        if not any(padding):
            return source
        top, left, bottom, right = padding
        _, height, width, channels = self._tensors[source].shape
        amounts = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs: tuple[str, ...] = (
            source,
            self._constant(f"padding:{top},{left},{bottom},{right}", amounts),
        )
        if not zeros:
            inputs = (*inputs, self._constant("lowest", np.array(_LOWEST, np.float32)))
        shape = (1, height + top + bottom, width + left + right, channels)
        self._write("PAD" if zeros else "PADV2", inputs, name, shape, {})
        return name

    def _joined(self, source: str, name: str, padding: Padding, *, zeros: bool) -> str:
        """A tensor with a border, joined to it side by side."""
        (top, left, bottom, right), fill = padding, 0.0 if zeros else _LOWEST
        sides = [(axis, pair) for axis, pair in ((2, (left, right)), (1, (top, bottom)))]
        sides = [(axis, pair) for axis, pair in sides if any(pair)]
        for index, (axis, pair) in enumerate(sides):
            shape = list(self._tensors[source].shape)
            parts = [source]
            for place, width in zip((0, len(parts) + pair[0]), pair, strict=True):
                if width:
                    shape[axis] = width
                    content = np.full(shape, fill, np.float32)
                    border = f"border:{name}:{axis}:{place}"
                    parts.insert(place, self._constant(border, content))
            shape[axis] = self._tensors[source].shape[axis] + sum(pair)
            target = name if index == len(sides) - 1 else f"{name}:axis-{axis}"
            options = {"axis": axis}
            self._write("CONCATENATION", tuple(parts), target, tuple(shape), options)
            source = target
        return source

    def _emit(
        self, layer: Layer, code: str, inputs: tuple[str, ...], options: Mapping[str, Any]
    ) -> None:
        """Write a layer's own operation and, where it cannot be fused, its activation."""
        shape = self._file_shape(layer.output)
        activation = getattr(layer, "activation", Activation.NONE)
        target = layer.output
        if layer.output in self._early:
            activation = self._early_activation(layer.output)
            target = f"{layer.output}:{activation}"
        elif activation is not Activation.NONE and not (activation in _FUSED and code in _FUSING):
            linear = f"{layer.output}:linear"
            self._write(code, inputs, linear, shape, options)
            self._activate(activation, linear, target, shape)
            self._places[layer.output] = target
            return
        fused = (
            {"fusedActivationFunction": _FUSED.get(activation, "NONE")} if code in _FUSING else {}
        )
        self._write(code, inputs, target, shape, {**options, **fused})
        self._places[layer.output] = target

    def _activate(
        self, activation: Activation, source: str, target: str, shape: tuple[int, ...]
    ) -> None:
        if activation is Activation.HARD_SIGMOID:
            three = self._constant("three", np.array(3, np.float32))
            sixth = self._constant("sixth", np.array(1 / 6, np.float32))
            middle = f"{target}:times-six"
            options = {"fusedActivationFunction": "RELU6"}
            self._write("ADD", (source, three), middle, shape, options, span=(0.0, 6.0))
            options = {"fusedActivationFunction": "NONE"}
            self._write("MUL", (middle, sixth), target, shape, options)
            return
        codes = {
            Activation.RELU: "RELU",
            Activation.RELU6: "RELU6",
            Activation.SIGMOID: "LOGISTIC",
        }
        self._write(codes[activation], (source,), target, shape, {})

    def _reshape(self, source: str, target: str, shape: tuple[int, ...]) -> None:
        sizes = self._constant(f"shape:{shape}", np.array(shape, np.int32))
        self._write("RESHAPE", (source, sizes), target, shape, {"newShape": shape})

    def _transpose(self, source: str, target: str, order: tuple[int, ...]) -> None:
        shape = tuple(self._tensors[source].shape[axis] for axis in order)
        axes = self._constant(f"order:{order}", np.array(order, np.int32))
        self._write("TRANSPOSE", (source, axes), target, shape, {})

    def _write(
        self,
        code: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
        options: Mapping[str, Any],
        *,
        span: tuple[float, float] | None = None,
    ) -> None:
        self._value(output, shape, span)
        self._operations.append(
            TfliteOperation(code=code, inputs=inputs, output=output, options=options)
        )

    def _value(
        self, name: str, shape: tuple[int, ...], span: tuple[float, float] | None = None
    ) -> str:
        # The rewrites of shuffles name a rearranged value so; a lowering's own tensors are none.
        rearranges = name.partition(":")[0] if name in self._graph.shapes else None
        self._tensors[name] = TfliteTensor(name=name, shape=shape, rearranges=rearranges, span=span)
        return name

    def _constant(self, name: str, data: Array) -> str:
        """A constant; several layers may share one that is named by its content."""
        if name not in self._tensors:
            held = np.ascontiguousarray(data)
            self._tensors[name] = TfliteTensor(
                name=name, shape=data.shape, dtype=str(data.dtype), data=held
            )
        return name


_LOWERINGS: dict[type[Layer], Callable[[_Lowering, Any], None]] = {
    Conv: _Lowering.conv,
    Dense: _Lowering.dense,
    Pool: _Lowering.pool,
    AdaptiveAveragePool: _Lowering.adaptive_pool,
    Add: _Lowering.add,
    Multiply: _Lowering.multiply,
    Concat: _Lowering.concat,
    Shuffle: _Lowering.shuffle,
    BlockShuffle: _Lowering.block_shuffle,
    LocalResponseNorm: _Lowering.response_norm,
    Elementwise: _Lowering.elementwise,
    Flatten: _Lowering.flatten,
}

_LOWEST = float(np.finfo(np.float32).min)

_FUSED = {Activation.RELU: "RELU", Activation.RELU6: "RELU6"}

#: Operations with an activation of their own.
_FUSING = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "ADD",
        "MUL",
    }
)


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape[1:], shape[0])


def _pool_options(layer: Pool, padding: str) -> dict[str, Any]:
    return _window_options(layer.kernel, layer.stride, padding)


def _window_options(kernel: Pair, stride: Pair, padding: str) -> dict[str, Any]:
    return {
        "padding": padding,
        "strideH": stride[0],
        "strideW": stride[1],
        "filterHeight": kernel[0],
        "filterWidth": kernel[1],
    }


def _bounds(extent: int, count: int) -> list[tuple[int, int]]:
    """PyTorch's windows of an adaptive pool: from floor(i n / m) to ceil((i + 1) n / m)."""
    return [(i * extent // count, -(-(i + 1) * extent // count)) for i in range(count)]


def _even_windows(extent: int, count: int) -> Pair | None:
    """Kernel and stride, when the windows of an adaptive pool happen to be a plain pool's."""
    bounds = _bounds(extent, count)
    size, step = bounds[0][1], (bounds[1][0] if count > 1 else 1)
    even = all(bound == (i * step, i * step + size) for i, bound in enumerate(bounds))
    return (size, step) if even and step and (extent - size) // step + 1 == count else None


def _averages(extent: int, count: int) -> Array:
    """The matrix (count, extent) that averages each window of an adaptive pool."""
    matrix = np.zeros((count, extent))
    for row, (start, end) in enumerate(_bounds(extent, count)):
        matrix[row, start:end] = 1 / (end - start)
    return matrix
