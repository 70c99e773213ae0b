"""What programs in floats and in bytes have in common: steps in order, on values in buffers."""

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
        """What is multiplied for every pixel of the target, then what is added."""
        return ()

    @property
    def multiply_adds(self) -> int:
        """For one picture; sums and averages have none."""
        return self.weights[0].size * self.target.pixels if self.weights else 0

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(one.size for one in self.weights)


S = TypeVar("S", bound=Op[Any])


@dataclass(kw_only=True)
class Program(Generic[S]):
    """Steps in order, and the size of each buffer in the elements of its layouts.

    Shapes are without the batch of one, of the caller's floats.
    """

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    ops: list[S] = field(default_factory=list)
    buffers: list[int] = field(default_factory=list)

    def buffer(self, elements: int) -> int:
        """A new buffer's number."""
        self.buffers.append(elements)
        return len(self.buffers) - 1
