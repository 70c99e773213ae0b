"""Ops and programs, whatever the precision: ops in order, reading and writing buffer views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import prod
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.records import Precision

#: A distance between two elements of a view: channels, rows and columns.
Step = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class View(ABC):
    """A value in memory: elements of a data type in a ``buffer``, or in the caller's memory."""

    buffer: int
    dtype: Precision

    @property
    @abstractmethod
    def pixels(self) -> int:
        """Pixels per channel."""

    @abstractmethod
    def distance(self, step: Step) -> int:
        """Elements of the buffer from an element to the one that is a step further."""


V_co = TypeVar("V_co", bound=View, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Op(Generic[V_co]):
    """One loop nest: reads ``sources``, writes ``target``. ``name`` is the layer's."""

    name: str
    sources: tuple[V_co, ...]
    target: V_co

    @property
    def source(self) -> V_co:
        """The first source."""
        return self.sources[0]

    @property
    def weights(self) -> tuple[NDArray[Any], ...]:
        """Multiplied per output pixel, then added: weights and biases."""
        return ()

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds for one image; additions and averages have none."""
        return self.weights[0].size * self.target.pixels if self.weights else 0

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum(one.size for one in self.weights)


@dataclass(frozen=True, kw_only=True)
class Output:
    """One of several outputs, which begins at element ``offset`` of the caller's array."""

    name: str
    shape: tuple[int, ...]
    offset: int


def outputs_of(graph: Graph) -> tuple[Output, ...]:
    """The outputs of a graph, one after the other."""
    found: list[Output] = []
    offset = 0
    for name in graph.outputs:
        shape = graph.shapes[name]
        found.append(Output(name=name, shape=shape, offset=offset))
        offset += prod(shape)
    return tuple(found)


V = TypeVar("V", bound=View)


@dataclass(kw_only=True)
class Program(Generic[V]):
    """Ops in order, and the size of each buffer in elements.

    ``input_shape`` and ``output_shape`` are those of the caller's fp32 arrays, without the batch.
    Several ``outputs`` are one flat array; of a single one there is no need to say more.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    outputs: tuple[Output, ...] = ()
    ops: list[Op[V]] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)

    def buffer(self, elements: int) -> int:
        """Allocate a buffer; returns its number."""
        self.buffers.append(elements)
        return len(self.buffers) - 1
