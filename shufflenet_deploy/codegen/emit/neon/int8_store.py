"""Narrowing and partial stores of int8 results on NEON."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter


def narrow_expr(first: str, second: str, shift: int) -> str:
    """Two scaled accumulators in 16 bits; each is given with its multiplier: ``a0, m0``."""
    return f"BOTH({first}, {second}, {shift})" if shift else f"BOTH0({first}, {second})"


def emit_store(code: CWriter, y: str, value: str, at: int, count: int) -> None:
    """Store the first ``count`` bytes of a vector."""
    if count == 16:
        code(f"vst1q_s8({y} + {at}, {value});")
        return
    done = 0
    if count & 8:
        code(f"vst1_s8({y} + {at}, vget_low_s8({value}));")
        done = 8
    for size, kind in ((4, "s32"), (2, "s16"), (1, "s8")):
        if count & size:
            code(f"STORE_LANE({y} + {at + done}, {value}, {kind}, {done // size});")
            done += size
