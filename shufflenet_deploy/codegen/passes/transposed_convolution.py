"""Transposed convolutions as convolutions: one for each phase of the output's pixels.

Output pixels that are a stride apart are made of the same taps, so each such phase is a small
convolution of the input itself; ``DepthToSpace`` puts the phases together. No zeros are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import lcm

import numpy as np

from shufflenet_deploy.network.graph import (
    Concat,
    Conv,
    ConvTranspose,
    DepthToSpace,
    FloatArray,
    Graph,
    Layer,
    Pair,
    Shuffle,
    Slice,
)


def expand_transposed_convolutions(graph: Graph) -> Graph:
    """Replace each ``ConvTranspose`` by convolutions, and what puts their pixels together."""
    layers: list[Layer] = []
    shapes = dict(graph.shapes)
    for layer in graph.layers:
        if isinstance(layer, ConvTranspose):
            layers += _expanded(layer, shapes)
        else:
            layers.append(layer)
    return replace(graph, layers=tuple(layers), shapes=shapes)


@dataclass(frozen=True)
class _Phase:
    """Taps along an axis of one phase: the kernel's, at ``offsets`` from the input pixel."""

    taps: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def span(self) -> Pair:
        """The first and the last offset of a window that begins at 0 or before."""
        return min((0, *self.offsets)), max((0, *self.offsets))


@dataclass(frozen=True)
class _Axis:
    """The split of an axis into ``modulus`` phases of ``size`` pixels each."""

    phases: tuple[_Phase, ...]
    step: int
    size: int
    padding: tuple[Pair, ...]


def _axis(layer: ConvTranspose, axis: int, modulus: int, sizes: Pair) -> _Axis:
    """The phases of an axis; ``sizes`` are those of input and output."""
    before, after = sizes
    stride, dilation = layer.stride[axis], layer.dilation[axis]
    step = modulus // stride
    phases = []
    for first in range(modulus):
        # Tap r of input pixel i contributes to pixel i * stride + r * dilation - cropping.
        reached = first + layer.cropping[axis]
        taps = [
            tap
            for tap in range(layer.weight.shape[2 + axis])
            if (reached - tap * dilation) % stride == 0
        ]
        offsets = [(reached - tap * dilation) // stride for tap in taps]
        phases.append(_Phase(tuple(taps), tuple(offsets)))
    last = [phase.span[1] for phase in phases]
    size = max(-(-after // modulus), *((before - 1 - one) // step + 1 for one in last))
    padding = tuple(
        (-phase.span[0], max(0, (size - 1) * step + phase.span[1] - before + 1)) for phase in phases
    )
    return _Axis(tuple(phases), step, size, padding)


def _expanded(layer: ConvTranspose, shapes: dict[str, tuple[int, ...]]) -> list[Layer]:
    """The layers that compute a transposed convolution; their values join ``shapes``."""
    source, (channels, height, width) = layer.inputs[0], shapes[layer.output]
    modulus = lcm(*layer.stride)
    rows, columns = (
        _axis(layer, axis, modulus, (shapes[source][1 + axis], size))
        for axis, size in enumerate((height, width))
    )
    made: list[Layer] = []

    def name(what: str, shape: tuple[int, ...]) -> str:
        """A new value, unless it is the layer's own."""
        value = layer.output if shape == shapes[layer.output] else f"{layer.output}:{what}"
        shapes[value] = shape
        return value

    parts = []
    for row, column in product(range(modulus), repeat=2):
        part = f"{layer.output}:phase{row}.{column}"
        shapes[part] = (channels, rows.size, columns.size)
        parts.append(part)
        (top, bottom), (left, right) = rows.padding[row], columns.padding[column]
        made.append(
            Conv(
                name=layer.name if modulus == 1 else f"{layer.name}.phase{row}.{column}",
                inputs=(source,),
                output=part,
                weight=_weights(layer, rows.phases[row], columns.phases[column]),
                bias=layer.bias,
                stride=(rows.step, columns.step),
                padding=(top, left, bottom, right),
                groups=layer.groups,
                activation=layer.activation,
            )
        )
    value = parts[0]
    if modulus > 1:
        joined, sorted_ = f"{layer.output}:joined", f"{layer.output}:sorted"
        shapes[joined] = shapes[sorted_] = (channels * modulus**2, rows.size, columns.size)
        value = name("whole", (channels, rows.size * modulus, columns.size * modulus))
        made += [
            Concat(name=f"{layer.name}.join", inputs=tuple(parts), output=joined),
            Shuffle(name=f"{layer.name}.sort", inputs=(joined,), output=sorted_, groups=modulus**2),
            DepthToSpace(
                name=f"{layer.name}.spread", inputs=(sorted_,), output=value, block=modulus
            ),
        ]
    for axis, size in ((1, height), (2, width)):
        if shapes[value][axis] == size:
            continue
        shape = (*shapes[value][:axis], size, *shapes[value][axis + 1 :])
        cut = name(f"cut{axis}", shape)
        made.append(
            Slice(
                name=f"{layer.name}.cut{axis}",
                inputs=(value,),
                output=cut,
                axis=axis,
                start=0,
                stop=size,
            )
        )
        value = cut
    made[-1] = replace(made[-1], output=layer.output)
    return made


def _weights(layer: ConvTranspose, rows: _Phase, columns: _Phase) -> FloatArray:
    """The weights of a phase, ``(out, in / groups, kh, kw)``; zero between taps."""
    inputs, per_group, *size = layer.weight.shape
    grouped = layer.weight.reshape(layer.groups, inputs // layer.groups, per_group, *size)
    turned = grouped.transpose(0, 2, 1, 3, 4).reshape(-1, inputs // layer.groups, *size)
    (top, bottom), (left, right) = rows.span, columns.span
    weight = np.zeros((*turned.shape[:2], bottom - top + 1, right - left + 1), np.float32)
    for row, down in zip(rows.taps, rows.offsets, strict=True):
        for column, across in zip(columns.taps, columns.offsets, strict=True):
            weight[:, :, down - top, across - left] = turned[:, :, row, column]
    return weight
