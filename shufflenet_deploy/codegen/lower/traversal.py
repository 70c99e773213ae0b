"""The layers of a graph in order, while steps are made of them: some do the work of later ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shufflenet_deploy.network.graph import Add, Graph, Layer


class Traversal:
    """``for layer in walk`` is every layer whose work was not ``merged`` into one before it."""

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
        """A layer's work is done before it is reached."""
        self._merged.add(layer.name)

    def readers(self, value: str) -> list[Layer]:
        """The layers that read a value, in order."""
        return self._readers[value]

    def only_reader(self, value: str) -> Layer | None:
        """The layer that is all that reads a value, which the caller does not see either."""
        return self._only.get(value)

    def fusable_add(self, layer: Layer) -> tuple[Add, str] | None:
        """The sum that is all that reads a layer's output, and what it adds, if that is there."""
        found = self.only_reader(layer.output)
        if not isinstance(found, Add):
            return None
        others = [value for value in found.inputs if value != layer.output]
        return (found, others[0]) if others[0] in self._there else None

    def is_last_use(self, readers: Iterable[Layer], layer: Layer, addition: Add) -> bool:
        """Whether no reader but the sum comes behind a layer."""
        now = self._order[layer.name]
        return all(one is addition or self._order[one.name] <= now for one in readers)
