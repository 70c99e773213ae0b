"""Lowering state of one graph: what is known of its values, and the operation of each layer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite.activations import (
    FUSED_ACTIVATIONS,
    NON_NEGATIVE,
    activate,
)
from shufflenet_deploy.export.tflite.layouts import LayoutBuilder, Order
from shufflenet_deploy.export.tflite.lowering_plans import PadBorder, Plan
from shufflenet_deploy.export.tflite.program import Array
from shufflenet_deploy.export.tflite.program_builder import Padding
from shufflenet_deploy.network.graph import (
    Activation,
    AdaptiveAveragePool,
    Add,
    Arithmetic,
    Concat,
    Conv,
    ConvTranspose,
    DepthToSpace,
    Graph,
    Layer,
    LocalResponseNorm,
    Multiply,
    Pair,
    Permute,
    Pool,
    Reshape,
    Resize,
    Shuffle,
    Slice,
    SpaceToDepth,
)

#: Operations with a fused activation.
_FUSING = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "ADD",
        "SUB",
        "MUL",
        "DIV",
    }
)

#: Axes of a tensor that kernels compute on; any number may be reshaped.
_MOST_AXES = 6

#: Layers whose outputs are not below zero where their inputs are not.
_KEEPING_SIGNS = (
    *(Pool, AdaptiveAveragePool, Concat, Shuffle, Multiply, LocalResponseNorm, Add),
    *(Slice, Resize, DepthToSpace, SpaceToDepth, Reshape, Permute),
)


class GraphLowering(LayoutBuilder):
    """A program builder that knows where each value of the graph comes from and goes to.

    ``element_order`` of a vector holds, for each element of its tensor, the index in the value.
    ``hoisted`` maps a value to the concatenation whose activation it takes.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        super().__init__(graph)
        self.plan = plan
        self._producers = {layer.output: layer for layer in graph.layers}
        self._reader_counts = Counter(name for layer in graph.layers for name in layer.inputs)
        self._reader_counts.update(graph.outputs)
        self.element_order: dict[str, Array] = {}
        self.hoisted = self._activations_before_concat()

    def readers(self, value: str) -> list[Layer | None]:
        """Layers that read a value; None stands for the caller of the network."""
        readers: list[Layer | None] = [
            layer for layer in self.graph.layers if value in layer.inputs
        ]
        return readers + [None] * (value in self.graph.outputs)

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
            isinstance(producer, (Conv, ConvTranspose, Pool, Add, Arithmetic, Multiply))
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
            return activation in NON_NEGATIVE
        return isinstance(producer, _KEEPING_SIGNS) and all(
            self.is_non_negative(name) for name in producer.inputs
        )

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
        self,
        layer: Layer,
        code: str,
        inputs: tuple[str, ...],
        options: Mapping[str, Any],
        order: Order | None = None,
    ) -> None:
        """Write the operation of a layer and, where it cannot be fused, its activation.

        ``order`` is that of the axes of the output, the usual one unless stated.

        Raises:
            UnsupportedError: the output has more axes than kernels take.
        """
        order = self.usual_order(layer.output) if order is None else order
        shape = self.shape_in(layer.output, order)
        if len(shape) > _MOST_AXES:
            raise UnsupportedError(
                f"'{layer.name}' computes on {len(shape) - 1} axes, "
                f"but TFLite's kernels on at most {_MOST_AXES - 1} and the batch"
            )
        activation = getattr(layer, "activation", Activation.NONE)
        target = self.name_in(layer.output, order)
        known: str | None = self.calibrated(layer.output)
        if layer.output in self.hoisted:
            activation = self._hoisted_activation(layer.output)
            target, known = f"{layer.output}:{activation}", None
        if activation is not Activation.NONE and not (
            activation in FUSED_ACTIVATIONS and code in _FUSING
        ):
            linear = f"{layer.output}:linear"
            # What a clipping one lets through is all that has to be told apart before it.
            real = activation not in FUSED_ACTIVATIONS
            clipped = None if real else known
            self.write(code, inputs, linear, shape, options, rearranges=clipped, real=real)
            activate(self, activation, linear, target, shape, rearranges=known)
        else:
            fused = FUSED_ACTIVATIONS.get(activation, "NONE")
            held = {"fusedActivationFunction": fused} if code in _FUSING else {}
            self.write(code, inputs, target, shape, {**options, **held}, rearranges=known)
        self.place(layer.output, target, order)
