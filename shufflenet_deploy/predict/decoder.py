"""AArch64 machine code as the instructions that the descriptions of cores know."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from shufflenet_deploy.cores.instructions import Instruction, Kind

if TYPE_CHECKING:
    import capstone

INSTRUCTION_BYTES = 4
_D_BYTES, _Q_BYTES = 8, 16


_WIDE_SHAPE = re.compile(r"\.(16b|8h|4s|2d)\b")
_BRANCH = re.compile(r"(b|bl|br|blr|ret|cbz|cbnz|tbz|tbnz|b\..*)$")
#: By the beginning of the mnemonic of an instruction on vectors; the first that fits.
_BY_PREFIX = (
    (("fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub"), Kind.FP_FMA),
    (("fdiv", "fsqrt"), Kind.FP_DIVIDE),
    (("sdot", "udot", "usdot", "sudot", "smmla", "ummla", "usmmla"), Kind.DOT_PRODUCT),
    (
        ("smull", "umull", "smlal", "umlal", "smlsl", "umlsl", "mla", "mls", "mul"),
        Kind.VECTOR_MULTIPLY,
    ),
    (("sqdmul", "sqrdmul", "sqdml", "sqrdml", "pmul"), Kind.VECTOR_MULTIPLY),
    (("fmov",), Kind.PERMUTE),
    (("f", "scvtf", "ucvtf"), Kind.FP),
    (("zip", "uzp", "trn", "ext", "tbl", "tbx", "rev", "dup", "ins", "mov"), Kind.PERMUTE),
)
_ACCUMULATING = ("fmla", "fmls", "mla", "mls", "smlal", "umlal", "smlsl", "umlsl", "sqdml")
_MULTIPLIES = ("mul", "madd", "msub", "mneg", "smull", "umull", "smadd", "umadd", "smulh", "umulh")


@cache
def _disassembler() -> capstone.Cs:
    import capstone  # noqa: PLC0415

    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    engine.detail = True
    return engine


def decode(code: bytes) -> tuple[Instruction, ...]:
    """The instructions of a piece of code; what is unknown counts as an integer operation."""
    words = range(0, len(code) - INSTRUCTION_BYTES + 1, INSTRUCTION_BYTES)
    return tuple(_decoded(code[at : at + INSTRUCTION_BYTES]) for at in words)


@cache
def _decoded(word: bytes) -> Instruction:
    found = next(iter(_disassembler().disasm(word, 0x1000)), None)
    if found is None:
        return Instruction(mnemonic="?", kind=Kind.INTEGER)
    zero = found.mnemonic in {"ldr", "ldur"} and found.op_str.startswith("xzr")
    if zero or found.mnemonic.startswith(("prfm", "prfum")):  # See ``prefetches``.
        reads, _ = _accessed(found)
        return Instruction(mnemonic=found.mnemonic, kind=Kind.PREFETCH, reads=reads)
    if found.mnemonic.startswith(("ld", "st")):
        return _memory(found)
    return _computing(found)


def _memory(found: Any) -> Instruction:
    mnemonic, text = found.mnemonic, found.op_str
    registers, address = text.rpartition("[")[0], text.rpartition("[")[2]
    data = re.findall(r"\b[xwqdshbv]\d+\b", registers)
    names = frozenset(filter(None, map(_canonical, data)))
    vector = any(name.startswith("v") for name in names)
    lane = bool(re.search(r"\}\[\d+\]", text))
    origin = _canonical(re.split(r"[],]", address)[0].strip())
    base = origin if found.writeback else None
    reads, writes = _accessed(found)
    if vector:
        reads = frozenset(one for one in reads if not one.startswith("v"))
        writes = frozenset()
    stores = mnemonic.startswith("st")
    targets = writes if stores else writes | names
    structure = mnemonic[2:3] in "1234"
    replicates = structure and mnemonic.endswith("r")
    each = _D_BYTES
    if vector and not lane and not replicates:
        shaped = _WIDE_SHAPE.search(text) if structure else registers.startswith("q")
        each = _Q_BYTES if shaped else _D_BYTES
    load, store = (Kind.VECTOR_LOAD, Kind.VECTOR_STORE) if vector else (Kind.LOAD, Kind.STORE)
    return Instruction(
        mnemonic=mnemonic,
        kind=store if stores else load,
        reads=reads
        | (names if stores or lane else frozenset())
        | frozenset(filter(None, [origin])),
        writes=targets | frozenset(filter(None, [base])),
        base=base,
        interleaved=structure and (mnemonic[2] != "1" or replicates or lane),
        bytes=each * max(1, len(set(data))),
    )


def _computing(found: Any) -> Instruction:
    mnemonic, text = found.mnemonic, found.op_str
    registers = _registers(found)
    names = [name for name in map(_canonical, registers) if name]
    reads, writes = _accessed(found)
    if not reads and not writes and names:
        reads, writes = frozenset(names[1:]), frozenset(names[:1])
    vector = any(name.startswith("v") for name in names)
    kind = _kind(mnemonic, registers, vector=vector)
    if mnemonic in {"fmov", "movi", "mvni"} and len(names) == 1:
        reads = frozenset()  # An immediate, not what the register held.
    accumulator = None
    if kind is Kind.DOT_PRODUCT or mnemonic.startswith(_ACCUMULATING):
        accumulator = names[0] if vector else None
    elif kind is Kind.FP_FMA:
        accumulator = names[-1]
    if accumulator is not None:
        reads |= {accumulator}
    return Instruction(
        mnemonic=mnemonic,
        kind=kind,
        reads=reads,
        writes=writes,
        accumulator=accumulator,
        wide=vector and bool(_WIDE_SHAPE.search(text)),
    )


def _kind(mnemonic: str, registers: Sequence[str], *, vector: bool) -> Kind:
    if _BRANCH.match(mnemonic):
        return Kind.BRANCH
    if vector:
        if any(one[0] in "xw" for one in registers):
            return Kind.TRANSFER
        fitting = (kind for starts, kind in _BY_PREFIX if mnemonic.startswith(starts))
        return next(fitting, Kind.VECTOR)
    if mnemonic.startswith(("sdiv", "udiv")):
        return Kind.DIVIDE
    return Kind.MULTIPLY if mnemonic.startswith(_MULTIPLIES) else Kind.INTEGER


def _registers(found: Any) -> list[str]:
    """The register operands as they are written, those of addresses left out."""
    return [found.reg_name(one.reg) for one in found.operands if one.type == 1]


def _accessed(found: Any) -> tuple[frozenset[str], frozenset[str]]:
    reads, writes = found.regs_access()
    return tuple(
        frozenset(filter(None, (_canonical(found.reg_name(one)) for one in side)))
        for side in (reads, writes)
    )  # type: ignore[return-value]


def _canonical(name: str) -> str | None:
    """One name for all views of a register; None for the zero register."""
    if name in {"wzr", "xzr", ""}:
        return None
    if re.fullmatch(r"w\d+", name):
        return f"x{name[1:]}"
    if re.fullmatch(r"[qdshbv]\d+", name):
        return f"v{name[1:]}"
    return {"wsp": "sp", "fp": "x29", "lr": "x30"}.get(name, name)
