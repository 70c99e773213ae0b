"""Partial stores of x86 vectors: any number of bytes, from anywhere in a vector."""

from __future__ import annotations

from shufflenet_deploy.codegen.c_writer import CWriter

_WIDEST = 16


def emit_store(
    code: CWriter, lanes: int, y: str, value: str, count: int, *, at: int = 0, most: int = 0
) -> None:
    """Store ``count`` bytes of a vector, from its byte ``at`` on.

    Up to ``most`` bytes may be overwritten. A vector has four bytes a lane.
    """
    size = 4 * lanes
    if at == 0 and (count == size or most >= size > count):
        code(f"STORE({y}, {value});")
        return
    if lanes == 16:
        code(f"STORE_SOME({y}, {value}, {at}, {count});")
        return
    done = 0
    while done < count:
        here = at + done
        room = _WIDEST - here % _WIDEST
        if here % _WIDEST == 0 and most - done >= _WIDEST:
            piece = _WIDEST
        else:
            piece = 1 << (min(count - done, room).bit_length() - 1)
        code(f"STORE_{piece}({y} + {done}, {value}, {here});")
        done += piece
