"""Traversal of a graph while it is lowered: layers may be merged into earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shufflenet_deploy.network.graph import Add, Graph, Layer


class Traversal:
    """Iterates over the layers that were not ``merged`` into one before them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._readers = graph.users()
        self._only = graph.only_users()
        self._order = {layer.name: at for at, layer in enumerate(graph.layers)}
        self._there = {graph.input}
        self._merged: set[str] = set()

    def __iter__(self) -> Iterator[Layer]:
        for layer in self._graph.layers:
            if layer.name not in self._merged:
                yield layer
            self._there.add(layer.output)

    def merge(self, layer: Layer) -> None:
        """Mark a layer as done by an earlier one."""
        self._merged.add(layer.name)

    def readers(self, value: str) -> list[Layer]:
        """Layers that read a value, in order."""
        return self._readers[value]

    def only_reader(self, value: str) -> Layer | None:
        """The single layer that reads a value; None if there are others, or the caller does."""
        return self._only.get(value)

    def fusable_add(self, layer: Layer) -> tuple[Add, str] | None:
        """The addition that alone reads a layer's output, and its other operand, if available."""
        found = self.only_reader(layer.output)
        if not isinstance(found, Add):
            return None
        others = [value for value in found.inputs if value != layer.output]
        return (found, others[0]) if others[0] in self._there else None

    def is_last_use(self, readers: Iterable[Layer], layer: Layer, addition: Add) -> bool:
        """True if no reader but the addition comes after a layer."""
        now = self._order[layer.name]
        return all(one is addition or self._order[one.name] <= now for one in readers)
