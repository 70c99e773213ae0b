"""Float segments: neighbouring layers of an int8 network that are computed in fp32.

A value is bytes or floats, as the layer is that makes it. Where a layer of the other kind reads
it, it crosses: a segment begins with its inputs as floats (``ToFloat``), and ends with those of its
values as bytes (``ToBytes``) that int8 layers read. A value that float layers alone make and read
is never rounded, in whichever segments they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from shufflenet_deploy.network.graph import Graph, Layer

#: Most channels of an image that is quantized as it comes.
MOST_IMAGE_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class ToFloat(Layer):
    """A value of bytes as floats, at the beginning of a segment."""


@dataclass(frozen=True, kw_only=True)
class ToBytes(Layer):
    """A value of floats as bytes, at the end of a segment."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """A graph with its crossings, and the names of its layers in float."""

    graph: Graph
    floating: frozenset[str]


def of_rewritten(before: Graph, graph: Graph, floating: Collection[str]) -> frozenset[str]:
    """The layers of a rewritten graph that are ``floating``, or were made of one that is.

    What a rewrite makes out of a layer has its name and a suffix after a dot.
    """
    known = {layer.name for layer in before.layers}
    parts = tuple(f"{name}." for name in floating)
    return frozenset(
        layer.name
        for layer in graph.layers
        if layer.name in floating or (layer.name not in known and layer.name.startswith(parts))
    )


def is_float_image(graph: Graph) -> bool:
    """True if the image has too many channels to be quantized as it comes."""
    return graph.shapes[graph.input][0] > MOST_IMAGE_CHANNELS


def segmented(graph: Graph, floating: frozenset[str]) -> Segments:
    """Let values cross where segments begin and end."""
    return _Crossings(graph, floating).made()


class _Crossings:
    """The layers of a graph in order, with crossings between them."""

    def __init__(self, graph: Graph, floating: frozenset[str]) -> None:
        self._graph, self._floating = graph, floating
        self._shapes = dict(graph.shapes)
        self._floats = {layer.output for layer in graph.layers if layer.name in floating}
        if is_float_image(graph):
            self._floats.add(graph.input)
        self._read_as_bytes = {
            value for layer in graph.layers if layer.name not in floating for value in layer.inputs
        }
        self._crossed: dict[str, str] = {}

    def made(self) -> Segments:
        """See ``segmented``."""
        layers: list[Layer] = []
        if self._graph.input in self._floats & self._read_as_bytes:
            layers.append(self._crossing(ToBytes, self._graph.input))
        for in_float, group in groupby(self._graph.layers, lambda one: one.name in self._floating):
            some = list(group)
            layers += self._segment(some) if in_float else map(self._with_bytes, some)
        graph = replace(self._graph, layers=tuple(layers), shapes=self._shapes)
        return Segments(graph=graph, floating=self._floating)

    def _segment(self, group: list[Layer]) -> Iterator[Layer]:
        """Float layers, between what enters and what leaves them."""
        # The caller's image is floats anyway.
        for value in dict.fromkeys(value for layer in group for value in layer.inputs):
            if value not in self._floats | {self._graph.input} | set(self._crossed):
                yield self._crossing(ToFloat, value)
        for layer in group:
            inputs = tuple(
                value if value in self._floats else self._crossed.get(value, value)
                for value in layer.inputs
            )
            yield replace(layer, inputs=inputs)
        for layer in group:
            if layer.output in self._read_as_bytes:
                yield self._crossing(ToBytes, layer.output)

    def _with_bytes(self, layer: Layer) -> Layer:
        """An int8 layer that reads the bytes of values that are floats."""
        inputs = tuple(
            self._crossed[value] if value in self._floats else value for value in layer.inputs
        )
        return replace(layer, inputs=inputs)

    def _crossing(self, kind: type[Layer], value: str) -> Layer:
        """A crossing; what it makes is named as a part of the value, and has its range."""
        crossed = f"{value}:{'float' if kind is ToFloat else 'bytes'}"
        self._crossed[value] = crossed
        self._shapes[crossed] = self._shapes[value]
        return kind(name=crossed, inputs=(value,), output=crossed)
