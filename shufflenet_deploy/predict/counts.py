"""The counts of ``plugin.c``: blocks of code, their executions, the cache misses of each access.

``Counts.parse`` reads its output, whose format is stated at the top of ``plugin.c``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.predict.decoder import INSTRUCTION_BYTES

_FORMAT = "1"
_EVENTS = 6


@dataclass(frozen=True, slots=True)
class Misses:
    """Lines that were missed in L1, L2 and L3 (the last level), unforeseen and foreseen."""

    l1: int = 0
    l1_foreseen: int = 0
    l2: int = 0
    l2_foreseen: int = 0
    l3: int = 0
    l3_foreseen: int = 0

    def __add__(self, other: Misses) -> Misses:
        return Misses(
            self.l1 + other.l1,
            self.l1_foreseen + other.l1_foreseen,
            self.l2 + other.l2,
            self.l2_foreseen + other.l2_foreseen,
            self.l3 + other.l3,
            self.l3_foreseen + other.l3_foreseen,
        )


@dataclass(frozen=True, slots=True)
class Prefetched:
    """Lines that were prefetched and then accessed, and the instructions between, summed."""

    lines: int = 0
    distance: int = 0

    def __add__(self, other: Prefetched) -> Prefetched:
        return Prefetched(self.lines + other.lines, self.distance + other.distance)


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """Straight-line code at an address, its executions; the rest by instruction index."""

    address: int
    executions: int
    code: bytes
    misses: dict[int, Misses] = field(default_factory=dict)
    prefetched: dict[int, Prefetched] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Instructions in it."""
        return len(self.code) // INSTRUCTION_BYTES

    @property
    def end(self) -> int:
        """The address after it."""
        return self.address + len(self.code)


@dataclass(frozen=True, slots=True)
class Counts:
    """One inference: its instructions, and the blocks they are in."""

    instructions: int
    blocks: tuple[CodeBlock, ...]

    @classmethod
    def parse(cls, text: str) -> Counts:
        """The inference that was kept.

        Raises:
            ParseError: the text is cut off or of another format, or no inference was seen.
        """
        lines = text.splitlines()
        blocks = tuple(_blocks(lines))
        match lines[-1].split() if lines else []:
            case ["counts", version, seen, instructions] if version == _FORMAT:
                if int(seen) == 0:
                    raise ParseError("the emulated program made no repeated inference")
                return cls(int(instructions), blocks)
        raise ParseError("the counts of the emulated program are cut off: it ended early")


def intervals(text: str) -> list[Counts]:
    """Every interval of a run with ``every=1``, in the order in which they ended."""
    found: list[tuple[int, list[str]]] = []
    for line in text.splitlines():
        match line.split():
            case ["I", _, total]:
                found.append((int(total), []))
            case ["counts", *_]:
                break
            case _ if found:
                found[-1][1].append(line)
    return [Counts(total, tuple(_blocks(lines))) for total, lines in found]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one thread did: ``thread`` is its number in a parallel region, None if it is alone."""

    thread: int | None
    counts: Counts


def turns(text: str) -> list[Turn]:
    """The turns of the inference that was kept of a run with ``threads``, in their order.

    Raises:
        ParseError: as ``Counts.parse``.
    """
    Counts.parse(text)
    found: list[tuple[int, int, list[str]]] = []
    for line in text.splitlines():
        match line.split():
            case ["T", turn, total] if turn.isdecimal() and total.isdecimal():
                found.append((int(turn), int(total), []))
            case _ if found:
                found[-1][2].append(line)
    return [
        Turn(turn - 1 if turn else None, Counts(total, tuple(_blocks(lines))))
        for turn, total, lines in found
    ]


def _blocks(lines: Iterable[str]) -> Iterator[CodeBlock]:
    block: CodeBlock | None = None
    try:
        for line in lines:
            match line.split():
                case ["B", address, executions, code]:
                    if block is not None:
                        yield block
                    block = CodeBlock(int(address, 16), int(executions), bytes.fromhex(code))
                case ["M", index, _, *events] if block is not None and len(events) == _EVENTS:
                    if any(event != "0" for event in events):
                        block.misses[int(index)] = Misses(*map(int, events))
                case ["P", index, lines_used, distance] if block is not None:
                    block.prefetched[int(index)] = Prefetched(int(lines_used), int(distance))
                case ["counts" | "I" | "T", *_]:
                    continue
                case _:
                    raise ParseError(f"unexpected line in the counts: {line[:60]!r}")
    except ValueError as error:
        raise ParseError(f"no number where one was expected in the counts: {error}") from error
    if block is not None:
        yield block
