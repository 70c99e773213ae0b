"""Lowering state of one graph: the layout of each value, and the operation of each layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from shufflenet_deploy.export.tflite.lowering_plans import PadBorder, Plan
from shufflenet_deploy.export.tflite.program import Array
from shufflenet_deploy.export.tflite.program_builder import Padding, ProgramBuilder
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Concat,
    Conv,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pair,
    Pool,
    Shuffle,
)

#: Activations that TFLite's operations have built in, by their names in its schema.
FUSED_ACTIVATIONS = {Activation.RELU: "RELU", Activation.RELU6: "RELU6"}

#: Operations with a fused activation.
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


class GraphLowering(ProgramBuilder):
    """A program builder that knows the layout of each value of the graph.

    ``in_nhwc`` maps a value to its tensor (1, H, W, C) or (1, F), ``planar`` to a tensor in the
    graph's own (C, H, W) order. ``element_order`` of a vector holds, for each element of its
    tensor, the index in the value. ``hoisted`` maps a value to the concatenation whose activation
    it takes.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        super().__init__(graph.shapes)
        self.graph = graph
        self.plan = plan
        self._producers = {layer.output: layer for layer in graph.layers}
        self._reader_counts = Counter(name for layer in graph.layers for name in layer.inputs)
        self._reader_counts.update(graph.outputs)
        self.in_nhwc: dict[str, str] = {}
        self.planar: dict[str, str] = {}
        self.element_order: dict[str, Array] = {}
        self.hoisted = self._activations_before_concat()

    def readers(self, value: str) -> list[Layer | None]:
        """Layers that read a value; None stands for the caller of the network."""
        readers: list[Layer | None] = [
            layer for layer in self.graph.layers if value in layer.inputs
        ]
        return readers + [None] * (value == self.graph.output)

    def _activations_before_concat(self) -> dict[str, str]:
        """Hoist activations above concatenations: each value to activate, and the concatenation.

        Runtimes fuse no activation into one, but max(0, cat(a, b)) = cat(max(0, a), max(0, b)).
        """
        hoisted: dict[str, str] = {}
        for layer in self.graph.layers:
            if not isinstance(layer, Concat) or layer.activation is Activation.NONE:
                continue
            todo = [
                name
                for name in layer.inputs
                if layer.activation is not Activation.RELU or not self.is_non_negative(name)
            ]
            if layer.activation in FUSED_ACTIVATIONS and all(
                self._can_activate(name) for name in todo
            ):
                hoisted.update(dict.fromkeys(todo, layer.output))
        return hoisted

    def _hoisted_activation(self, value: str) -> Activation:
        concat = self._producers[self.hoisted[value]]
        assert isinstance(concat, Concat)
        return concat.activation

    def _can_activate(self, value: str) -> bool:
        producer = self._producers.get(value)
        return (
            isinstance(producer, (Conv, Pool, Add, Multiply))
            and getattr(producer, "activation", Activation.NONE) is Activation.NONE
            and self._reader_counts[value] == 1
        )

    def is_non_negative(self, value: str) -> bool:
        """True where a value is known to be at least zero everywhere."""
        producer = self._producers.get(value)
        if producer is None:
            return False
        activation = getattr(producer, "activation", Activation.NONE)
        if activation is not Activation.NONE:
            return True
        passing = (Pool, AdaptiveAveragePool, Concat, Shuffle, Multiply, LocalResponseNorm, Add)
        return isinstance(producer, passing) and all(
            self.is_non_negative(name) for name in producer.inputs
        )

    def nhwc(self, value: str) -> str:
        """Tensor that holds a value in NHWC, transposed first where it is planar."""
        if value not in self.in_nhwc and value == self.graph.input:
            self.transpose(value, f"{value}:channels-last", (0, 2, 3, 1))
            self.in_nhwc[value] = f"{value}:channels-last"
        elif value not in self.in_nhwc:
            channels, height, width = self.graph.shapes[value]
            self.transpose(self.planar[value], f"{value}:cells", (1, 0))
            self.declare(value, (1, height, width, channels))
            self.reshape(f"{value}:cells", value, (1, height, width, channels))
            self.in_nhwc[value] = value
        return self.in_nhwc[value]

    def nhwc_shape_of(self, value: str) -> tuple[int, ...]:
        """Shape of a value in NHWC, batch of one first."""
        return _nhwc(self.graph.shapes[value])

    def windowed(
        self,
        layer: Layer,
        kernel: Pair | tuple[int, ...],
        stride: Pair,
        padding: Padding,
        *,
        lowest: bool = False,
    ) -> tuple[str, str]:
        """Input of a windowed operation, padded where the runtime cannot, and its padding mode."""
        source = layer.inputs[0]
        if not any(padding):
            return self.nhwc(source), "VALID"
        if self.same_padding(source, kernel, stride) == padding:
            return self.nhwc(source), "SAME"
        pooled = not isinstance(layer, Conv)
        return self.padded(source, padding, lowest=lowest, pooled=pooled), "VALID"

    def same_padding(self, value: str, kernel: Pair | tuple[int, ...], stride: Pair) -> Padding:
        """Padding that the runtime's SAME means for this feature map."""
        before, after = [], []
        for extent, size, step in zip(self.graph.shapes[value][1:], kernel, stride, strict=True):
            total = max(0, (math.ceil(extent / step) - 1) * step + size - extent)
            before.append(total // 2)
            after.append(total - total // 2)
        return (before[0], before[1], after[0], after[1])

    def padded(
        self, value: str, padding: Padding, *, lowest: bool = False, pooled: bool = True
    ) -> str:
        """Feature map padded with zeros, or with the lowest number for a maximum."""
        top, left, bottom, right = padding
        zeros = not lowest or self.is_non_negative(value)
        name = f"{value}:padded-{top}-{left}-{bottom}-{right}{'' if zeros else '-lowest'}"
        if name in self.tensors:
            return name
        if pooled and self.plan.border is PadBorder.CONCAT:
            return self.pad_by_concat(self.nhwc(value), name, padding, zeros=zeros)
        return self.pad(self.nhwc(value), name, padding, zeros=zeros)

    def emit(
        self, layer: Layer, code: str, inputs: tuple[str, ...], options: Mapping[str, Any]
    ) -> None:
        """Write the operation of a layer and, where it cannot be fused, its activation."""
        shape = self.nhwc_shape_of(layer.output)
        activation = getattr(layer, "activation", Activation.NONE)
        target = layer.output
        if layer.output in self.hoisted:
            activation = self._hoisted_activation(layer.output)
            target = f"{layer.output}:{activation}"
        elif activation is not Activation.NONE and not (
            activation in FUSED_ACTIVATIONS and code in _FUSING
        ):
            linear = f"{layer.output}:linear"
            self.write(code, inputs, linear, shape, options)
            self.activate(activation, linear, target, shape)
            self.in_nhwc[layer.output] = target
            return
        fused = (
            {"fusedActivationFunction": FUSED_ACTIVATIONS.get(activation, "NONE")}
            if code in _FUSING
            else {}
        )
        self.write(code, inputs, target, shape, {**options, **fused})
        self.in_nhwc[layer.output] = target


def _nhwc(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape[1:], shape[0])
