"""Ops of planar programs that are loops over elements: functions, arithmetic, moves, reductions.

Their operands are walked by ``Strides``, so that values of any rank are read and written where they
lie: maps in padded rows, vectors, and everything else in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.network.graph import Activation, ArithmeticKind, FloatArray, ReduceKind

#: Elements from one index of each axis to the next.
Strides = tuple[int, ...]


class FunctionKind(StrEnum):
    """A function of one number that is no activation of the graph."""

    LEAKY_RELU = "leaky-relu"
    SQUARE_ROOT = "square-root"
    RECIPROCAL_ROOT = "reciprocal-root"
    POWER = "power"
    ELU = "elu"
    CLIP = "clip"


@dataclass(frozen=True, kw_only=True)
class Apply(Op[PlanarView]):
    """A function of every element; the target may be the source.

    ``numbers`` are its parameters, ``(channels or 1, n)``: the slope of a leaky ReLU, the factor of
    an ELU, the bounds of a clip, the exponent of a power. An activation has none.
    """

    function: Activation | FunctionKind
    numbers: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Operand:
    """One side of an ``Arithmetic``: a view's elements, or a ``constant`` if ``view`` is None.

    A stride is 0 along an axis that is broadcast.
    """

    strides: Strides
    offset: int = 0
    view: PlanarView | None = None
    constant: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Op[PlanarView]):
    """Two operands, element by element over ``extents``; None is the leaky ReLU of a slope."""

    kind: ArithmeticKind | None
    extents: tuple[int, ...]
    operands: tuple[Operand, Operand]
    target_strides: Strides
    activation: Activation


@dataclass(frozen=True, kw_only=True)
class Move(Op[PlanarView]):
    """Elements over ``extents`` from one set of strides to another."""

    extents: tuple[int, ...]
    source_strides: Strides
    target_strides: Strides
    source_offset: int = 0
    target_offset: int = 0


@dataclass(frozen=True, kw_only=True)
class AxisSamples:
    """For each new pixel along an axis two old ones and the second one's share.

    An index of -1 is outside; without ``weight`` only ``first`` is read.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64] | None = None
    weight: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Sample(Op[PlanarView]):
    """Padding or resizing of every plane; pixels outside are ``outside``."""

    rows: AxisSamples
    columns: AxisSamples
    outside: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Softmax(Op[PlanarView]):
    """``exp(x) / sum(exp(x))`` along the last of ``extents``, or its logarithm."""

    extents: tuple[int, ...]
    source_strides: Strides
    target_strides: Strides
    logarithm: bool


@dataclass(frozen=True, kw_only=True)
class Normalize(Op[PlanarView]):
    """Each set of elements over the last ``reduced`` of ``extents`` by its mean and deviation.

    ``scale`` and ``shift`` are broadcast with the strides of one and the other.
    """

    epsilon: float
    extents: tuple[int, ...]
    reduced: int
    source_strides: Strides
    target_strides: Strides
    scale: FloatArray
    shift: FloatArray
    scale_strides: Strides
    shift_strides: Strides


@dataclass(frozen=True, kw_only=True)
class Reduce(Op[PlanarView]):
    """A reduction over the last ``reduced`` of ``extents``; the target has the others."""

    kind: ReduceKind
    extents: tuple[int, ...]
    reduced: int
    source_strides: Strides
    target_strides: Strides
