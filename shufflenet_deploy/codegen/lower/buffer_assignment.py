"""Buffer assignment: every value of a graph gets a view of a buffer while a program grows.

``BufferAssigner`` is what both layouts share: traversal, views, emission, and the loop over layers.
A ``LayoutPolicy`` decides how a value lies in memory (planar rows in whole vectors, or NHWC pixels
with scales and borders); each subclass adds the fusions of its ops.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, Self, TypeVar

from shufflenet_deploy.codegen.ir.op import Op, Program, V, View
from shufflenet_deploy.codegen.lower.traversal import Traversal
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network.graph import Graph, Layer

V_co = TypeVar("V_co", bound=View, covariant=True)


class LayoutPolicy(Protocol[V_co]):
    """The memory layout of values."""

    def allocate(self, value: str) -> V_co:
        """A new buffer for a value, laid out as its readers need it."""


class BufferAssigner(ABC, Generic[V]):
    """Assigns views to values; ``views`` are those assigned so far."""

    def __init__(
        self, graph: Graph, program: Program[V], traversal: Traversal, layout: LayoutPolicy[V]
    ) -> None:
        self.graph = graph
        self.program = program
        self.traversal = traversal
        self._policy = layout
        self.views: dict[str, V] = {}

    def lower(self, handlers: Mapping[type[Layer], Callable[[Any, Self], None]]) -> None:
        """Lower every layer that was not merged into an earlier one, then emit the output.

        Raises:
            ExportError: a layer without a handler; the message names it.
        """
        self.emit_input()
        for layer in self.traversal:
            self.lower_layer(layer, handlers)
        self.emit_output()

    def lower_layer(
        self, layer: Layer, handlers: Mapping[type[Layer], Callable[[Any, Self], None]]
    ) -> None:
        """Lower one layer.

        Raises:
            ExportError: a layer without a handler; the message names it.
        """
        handler = handlers.get(type(layer))
        if handler is None:
            raise self.unsupported(layer)
        handler(layer, self)

    def emit(self, op: Op[V]) -> None:
        """Append an op."""
        self.program.ops.append(op)

    def buffer_of(self, value: str) -> V:
        """A value's own view, allocated at first use."""
        if value not in self.views:
            self.views[value] = self._policy.allocate(value)
        return self.views[value]

    @abstractmethod
    def emit_input(self) -> None:
        """Emit the conversion of the caller's image, if there is one."""

    @abstractmethod
    def emit_output(self) -> None:
        """Emit the conversion of the network's output to the caller's array."""

    @abstractmethod
    def unsupported(self, layer: Layer, why: str = "") -> ExportError:
        """The error for a layer that there is no code for."""
