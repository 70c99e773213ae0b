"""Four pixels as lanes of one channel, for dot products (SDOT) of depthwise convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from shufflenet_deploy.codegen.c_writer import CWriter

#: Channels at a time, and vectors of four of them.
CHANNELS, QUADS = 8, 2


def interleave(code: CWriter, places: Sequence[str], name: str) -> None:
    """Assign ``NAME_0`` and ``NAME_1``: eight channels of the pixels at four places."""
    with code.block(""):
        for at, place in enumerate(places):
            code(f"const int8x16_t x{at} = vld1q_s8({place});")
        for at in range(2):
            two = f"vzip1q_s8(x{2 * at}, x{2 * at + 1})"
            code(f"const int16x8_t p{at} = vreinterpretq_s16_s8({two});")
        for quad in range(QUADS):
            four = f"vzip{quad + 1}q_s16(p0, p1)"
            code(f"{name}_{quad} = vreinterpretq_s32_s16({four});")


def dots(code: CWriter, total: str, weight: int, name: str) -> None:
    """Add the products of ``NAME_0`` and ``NAME_1`` with two vectors of weights."""
    for quad in range(QUADS):
        x = f"vreinterpretq_s8_s32({name}_{quad})"
        code(f"{total}{quad} = vdotq_s32({total}{quad}, w{weight + quad}, {x});")
