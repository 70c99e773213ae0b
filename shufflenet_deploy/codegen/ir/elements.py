"""int8 ops that walk over elements: copies in any order, arithmetic, reductions, resizing.

A ``Walk`` is a loop nest over the elements of views; what moves or combines elements needs nothing
else, whatever its axes are. Ops here have no kernels of an instruction set's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.codegen.ir.int8 import Int8Array, Multipliers, PixelView
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.codegen.ir.ops import RequantizeSum
from shufflenet_deploy.network.graph import ArithmeticKind, ReduceKind

#: A distance in a view: channels, rows and columns.
Step = tuple[int, int, int]
Int64Array = NDArray[np.int64]

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

    A step of zero repeats a source's element, or reduces to one of the target's.
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
        """How often the innermost statement runs."""
        return int(np.prod([loop.count for loop in self.loops]))


@dataclass(frozen=True, kw_only=True)
class CopyElements(Op[PixelView]):
    """Bytes copied in the order of ``walk``, through a lookup ``table`` if there is one."""

    walk: Walk
    table: Int8Array | None = None


@dataclass(frozen=True, kw_only=True)
class GatherPixels(Op[PixelView]):
    """Target pixel (i, j) is source pixel (``rows[i]``, ``columns[j]``).

    Where either is below zero, its channels are ``fill``.
    """

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    fill: int


@dataclass(frozen=True, kw_only=True)
class Taps:
    """Of each new row or column: two old ones and the second's weight of ``2**WEIGHT_BITS``."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    weight: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ResizeBilinear(Op[PixelView]):
    """Weighted means of four pixels, rounded half up; scale and zero point stay."""

    rows: Taps
    columns: Taps


@dataclass(frozen=True, kw_only=True)
class StoreConstant(Op[PixelView]):
    """The target becomes ``data``, ``(H, W, C)`` bytes; it reads nothing but is its own source."""

    data: Int8Array


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
class ElementArithmetic(Op[PixelView]):
    """Two sources combined element by element.

    The epilogue of a sum, difference, maximum or minimum is that of an addition; of the last two
    the greater or lesser part counts, and the zero points are in no part but in ``start``.
    """

    kind: ArithmeticKind
    walk: Walk
    epilogue: RequantizeSum | RequantizeProduct | RequantizeQuotient


@dataclass(frozen=True, kw_only=True)
class ReduceElements(Op[PixelView]):
    """For each element of ``walk``, the sum or maximum over the loops ``over``.

    A maximum stays as it is (no multiplier); a sum is requantized, to which ``start`` was added.
    """

    kind: ReduceKind
    walk: Walk
    over: tuple[Loop, ...]
    start: int = 0
    multiplier: Multipliers | None = None
    shift: int = 0


@dataclass(frozen=True, kw_only=True)
class NormalizeElements(Op[PixelView]):
    """Each set of elements, over the loops ``over``, by its mean and deviation.

    Of n bytes q the differences ``n q - sum q`` are divided by the root of ``n sum q^2 - (sum q)^2
    + epsilon``, into ``NORMAL_BITS`` fraction bits. ``scale`` and ``shift``, of the
    views the second, make the target's byte of them, with ``bits`` more fraction bits.
    """

    walk: Walk
    over: tuple[Loop, ...]
    epsilon: float
    scale: Int64Array
    shift: Int64Array
    bits: int


@dataclass(frozen=True, kw_only=True)
class Softmax(Op[PixelView]):
    """For each element of ``walk``, softmax over the loop ``over``, in integers.

    ``exponentials[d]`` is ``exp`` of ``d`` steps below the maximum, with ``EXPONENTIAL_BITS``
    fraction bits. The result is the exponential's share of their sum, times ``factor`` of
    ``SHARE_BITS`` fraction bits. With ``thresholds`` it is the logarithm: below zero by ``d`` times
    ``factor`` of ``LOGARITHM_BITS`` fraction bits, and by the logarithm of the sum, which is as
    many times ``2**-SUM_LOGARITHM_BITS`` as there are thresholds up to the sum.
    """

    walk: Walk
    over: Loop
    exponentials: NDArray[np.int32]
    factor: int
    thresholds: Int64Array | None = None
