"""Ops that are loops over elements, the same for every data type: copies, arithmetic, reductions.

A ``Walk`` is a loop nest over the elements of views; what moves or combines elements needs nothing
else, whatever its axes are, and reads and writes values where they lie. What differs with the data
type is the ``epilogue``: in fp32 and fp16 an activation or nothing, in int8 how a sum becomes a
byte. int8 ops have no kernels of an instruction set's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.epilogues import RequantizeMean, RequantizeSum
from shufflenet_deploy.codegen.ir.int8 import Int8Array, Multipliers, PixelView
from shufflenet_deploy.codegen.ir.op import Op, Step, V_co
from shufflenet_deploy.codegen.ir.planar import PlanarView
from shufflenet_deploy.codegen.ir.shared_ops import E_co
from shufflenet_deploy.network.graph import Activation, ArithmeticKind, FloatArray, ReduceKind

Int64Array = NDArray[np.int64]

#: No step at all.
ORIGIN: Step = (0, 0, 0)

#: Fraction bits of a bilinear weight.
WEIGHT_BITS = 11
#: Fraction bits of the factor of a quotient.
QUOTIENT_BITS = 16
#: Fraction bits of a normalised element, and of the reciprocal root of a variance.
NORMAL_BITS = 12
ROOT_BITS = 40
#: Fraction bits of an exponential, of a share of their sum, and of a logarithm.
EXPONENTIAL_BITS = 23
SHARE_BITS = 8
LOGARITHM_BITS = 16
#: Fraction bits of the logarithm of a sum.
SUM_LOGARITHM_BITS = 4


@dataclass(frozen=True, kw_only=True)
class Loop:
    """``count`` elements; ``steps`` is the distance of two of them in each source, and the target.

    A step of zero repeats a source's element, or reduces to one of the target's. In a constant,
    which is no view, a step counts elements as channels.
    """

    count: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Nested loops, from ``starts`` on: the first element in each source, and in the target."""

    starts: tuple[Step, ...]
    loops: tuple[Loop, ...]

    @property
    def elements(self) -> int:
        """The number of times the innermost statement runs."""
        return prod(loop.count for loop in self.loops)


# -- epilogues of int8 ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RequantizeProduct:
    """The requantized product of what two bytes are above their zero points, plus the target's."""

    multiplier: Multipliers
    shift: int


@dataclass(frozen=True, kw_only=True)
class RequantizeQuotient:
    """``factor * a / b`` with ``QUOTIENT_BITS`` fraction bits, rounded half up.

    ``a`` and ``b`` are what two bytes are above their zero points. With ``b`` zero the quotient is
    as large as a byte allows, and zero if ``a`` is, too.
    """

    factor: int


@dataclass(frozen=True, kw_only=True)
class SoftmaxTables:
    """Softmax in integers.

    ``exponentials[d]`` is ``exp`` of ``d`` steps below the maximum, with ``EXPONENTIAL_BITS``
    fraction bits. The result is the exponential's share of their sum, times ``factor`` of
    ``SHARE_BITS`` fraction bits. With ``thresholds`` it is the logarithm: below zero by ``d`` times
    ``factor`` of ``LOGARITHM_BITS`` fraction bits, and by the logarithm of the sum, which is as
    many times ``2**-SUM_LOGARITHM_BITS`` as there are thresholds up to the sum.
    """

    exponentials: NDArray[np.int32]
    factor: int
    thresholds: Int64Array | None = None


# -- ops --------------------------------------------------------------------------------------


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
    """A function of every element; the target may be the source. In int8 it is a ``LookupTable``.

    ``numbers`` are its parameters, ``(channels or 1, n)``: the slope of a leaky ReLU, the factor of
    an ELU, the bounds of a clip, the exponent of a power. An activation has none.
    """

    function: Activation | FunctionKind
    numbers: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class StoreConstant(Op[PixelView]):
    """The target becomes ``data``, ``(H, W, C)`` bytes; it reads nothing but is its own source."""

    data: Int8Array


@dataclass(frozen=True, kw_only=True)
class Move(Op[V_co], Generic[V_co, E_co]):
    """Elements copied in the order of ``walk``; the epilogue of bytes is a table, or None."""

    walk: Walk
    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Other old pixels, and their share; in int8 it counts ``2**-WEIGHT_BITS``."""

    second: Int64Array
    weight: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class AxisSamples:
    """For each new pixel along an axis an old one, -1 outside, and another one to blend with it."""

    first: Int64Array
    blend: Blend | None = None


@dataclass(frozen=True, kw_only=True)
class Sample(Op[V_co]):
    """Padding or resizing of every plane; pixels outside are ``outside``.

    In int8 both axes blend or neither does; means are rounded half up, and ``outside`` is a byte.
    """

    rows: AxisSamples
    columns: AxisSamples
    outside: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Arithmetic(Op[V_co], Generic[V_co, E_co]):
    """Two operands combined element by element; ``kind`` None is the leaky ReLU of a slope.

    An operand is the next of the sources, or a constant where ``constants`` has one.

    In int8 the epilogue of a sum, difference, maximum or minimum is that of an addition; of the
    last two the greater or lesser part counts, and the zero points are in no part but in ``start``.
    """

    kind: ArithmeticKind | None
    walk: Walk
    epilogue: E_co
    constants: tuple[FloatArray | None, FloatArray | None] = (None, None)


@dataclass(frozen=True, kw_only=True)
class MatMul(Op[V_co], Generic[V_co, E_co]):
    """For each element of ``walk``, the sum over ``over`` of products of two sources' elements.

    In floating point the walk's last loop goes along a row of the target. Bytes count from their
    zero points.
    """

    walk: Walk
    over: Loop
    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Reduce(Op[V_co], Generic[V_co, E_co]):
    """For each element of ``walk``, the sum, mean or maximum over the loops ``over``.

    Bytes are requantized, but for a maximum, which has no epilogue.
    """

    kind: ReduceKind
    walk: Walk
    over: tuple[Loop, ...]
    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Normalize(Op[V_co], Generic[V_co, E_co]):
    """Each set of elements, over the loops ``over``, by its mean and deviation.

    Loops step through the source, ``scale``, ``shift`` and the target.

    Of n bytes q the differences ``n q - sum q`` are divided by the root of ``n sum q^2 - (sum q)^2
    + epsilon``, into ``NORMAL_BITS`` fraction bits. ``scale`` and ``shift`` are integers, which
    make the target's byte of them, with as many more fraction bits as the epilogue is.
    """

    walk: Walk
    over: tuple[Loop, ...]
    epsilon: float
    scale: NDArray[Any]
    shift: NDArray[Any]
    epilogue: E_co


@dataclass(frozen=True, kw_only=True)
class Softmax(Op[V_co], Generic[V_co, E_co]):
    """For each element of ``walk``, softmax over the loop ``over``, or its logarithm."""

    walk: Walk
    over: Loop
    logarithm: bool
    epilogue: E_co


FpMove = Move[PlanarView, None]
Int8Move = Move[PixelView, Int8Array | None]
FpSample = Sample[PlanarView]
Int8Sample = Sample[PixelView]
FpArithmetic = Arithmetic[PlanarView, Activation]
Int8Arithmetic = Arithmetic[PixelView, RequantizeSum | RequantizeProduct | RequantizeQuotient]
FpMatMul = MatMul[PlanarView, None]
Int8MatMul = MatMul[PixelView, RequantizeProduct]
FpReduce = Reduce[PlanarView, None]
Int8Reduce = Reduce[PixelView, RequantizeMean | None]
FpNormalize = Normalize[PlanarView, None]
Int8Normalize = Normalize[PixelView, int]
FpSoftmax = Softmax[PlanarView, None]
Int8Softmax = Softmax[PixelView, SoftmaxTables]
