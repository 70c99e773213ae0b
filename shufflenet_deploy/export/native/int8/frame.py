"""What stands around the kernels of an int8 network."""

from __future__ import annotations

from pathlib import Path

from shufflenet_deploy.export.native.int8.bytewise import ByteUnit
from shufflenet_deploy.export.native.int8.program import Numbers
from shufflenet_deploy.export.native.source import Frame


def frame_of(unit: ByteUnit, numbers: Numbers, arena_bytes: int, vectors: str) -> Frame:
    """``vectors`` names the header that the kernels need."""
    folder = Path(__file__).parent
    headers = dict.fromkeys(("prelude.h", "portable.h", vectors, "joins.h"))
    prelude = "\n".join((folder / name).read_text(encoding="utf-8") for name in headers)
    scratch = max(unit.scratch_bytes, 1) + 128
    own = -(-(max(unit.own_bytes, 1) + 128) // 64) * 64
    return Frame(
        precision="int8",
        layout="Pixels of bytes, channels side by side",
        prelude=("#define IN_FLOAT\n" if numbers is Numbers.FLOAT else "") + prelude,
        element="int8_t",
        memory=f"static byte A[{arena_bytes}] __attribute__((aligned(64)));\n"
        f"static byte T[{scratch}] __attribute__((aligned(64), unused));\n"
        f"static byte P[NET_MOST_PARTS][{own}] __attribute__((aligned(64), unused));",
        poison=0x55,
    )
