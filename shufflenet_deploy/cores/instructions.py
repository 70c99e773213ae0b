"""Instructions as the descriptions of cores see them: kind, registers, width, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """Instructions that a core issues to the same ports with the same latency."""

    INTEGER = auto()
    MULTIPLY = auto()
    DIVIDE = auto()
    BRANCH = auto()
    LOAD = auto()
    STORE = auto()
    PREFETCH = auto()
    VECTOR_LOAD = auto()
    VECTOR_STORE = auto()
    FP_FMA = auto()
    FP = auto()
    FP_DIVIDE = auto()
    DOT_PRODUCT = auto()
    VECTOR_MULTIPLY = auto()
    VECTOR = auto()
    PERMUTE = auto()
    #: Between the general and the vector registers.
    TRANSFER = auto()


#: What one load/store pipeline executes.
MEMORY = frozenset({Kind.LOAD, Kind.STORE, Kind.PREFETCH, Kind.VECTOR_LOAD, Kind.VECTOR_STORE})
STORES = frozenset({Kind.STORE, Kind.VECTOR_STORE})
#: What the vector pipelines execute.
ARITHMETIC = frozenset(
    {
        *(Kind.FP_FMA, Kind.FP, Kind.FP_DIVIDE, Kind.DOT_PRODUCT, Kind.VECTOR_MULTIPLY),
        *(Kind.VECTOR, Kind.PERMUTE, Kind.TRANSFER),
    }
)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction; registers by canonical names: ``x3``, ``v17``, ``sp``, ``nzcv``.

    ``accumulator`` is the register of a multiply-add whose value is needed last; ``base`` is the
    address register that pre- or post-indexing writes. ``wide`` says that 128-bit vectors are
    computed with, ``interleaved`` that a load or store also permutes (``ld2``, ``ld1r``), ``bytes``
    is what a memory instruction moves.
    """

    mnemonic: str
    kind: Kind
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    accumulator: str | None = None
    base: str | None = None
    wide: bool = False
    interleaved: bool = False
    bytes: int = 0
