"""Ops and programs, whatever the precision: ops in order, reading and writing buffer views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from numpy.typing import NDArray


class _View(Protocol):
    @property
    def buffer(self) -> int: ...
    @property
    def pixels(self) -> int: ...


P_co = TypeVar("P_co", bound=_View, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Op(Generic[P_co]):
    """One loop nest: reads ``sources``, writes ``target``. ``name`` is the layer's."""

    name: str
    sources: tuple[P_co, ...]
    target: P_co

    @property
    def source(self) -> P_co:
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


S = TypeVar("S", bound=Op[Any])


@dataclass(kw_only=True)
class Program(Generic[S]):
    """Ops in order, and the size of each buffer in elements.

    ``input_shape`` and ``output_shape`` are those of the caller's fp32 arrays, without the batch.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    ops: list[S] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)

    def buffer(self, elements: int) -> int:
        """Allocate a buffer; returns its number."""
        self.buffers.append(elements)
        return len(self.buffers) - 1
