"""Calls of kernels over channels, and loops over register blocks that threads share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.emit.unit import TranslationUnit, affine_expr
from shufflenet_deploy.codegen.ir.planar import PlanarView

#: Parameters of a kernel that does a range of its work items.
RANGE_PARAMS = ", int begin, int end"

#: Arguments of a kernel: a view (None for the weights) and an offset for each call.
Arguments = list[tuple[PlanarView | None, list[int]]]


def emit_calls(
    unit: TranslationUnit,
    name: str,
    columns: Arguments,
    times: int,
    comment: str,
    *,
    cost: float | None = None,
    work_items: int = 1,
) -> None:
    """Call a kernel ``times`` times; each argument is (view, or None for weights; offsets).

    ``cost`` is that of a call in vector instructions, by default loading, changing and storing its
    planes. A call over several ``work_items`` is given the range of them to do.
    """
    if cost is None:
        cost = 3 * max(view.layout.vectors(unit.cpu.lanes) for view, _ in columns if view)
    bases = [unit.address(view) if view else unit.weights for view, _ in columns]
    body = unit.body
    with unit.parallel(times * work_items, cost / work_items):
        if times == 1:
            arguments = [
                f"{base} + {offsets[0]}" if offsets[0] else base
                for base, (_, offsets) in zip(bases, columns, strict=True)
            ]
            head, some = "if (begin < end)", "begin, end"
        else:
            arguments = []
            for base, (_, offsets) in zip(bases, columns, strict=True):
                form = affine_expr(offsets)
                if form is None:
                    form = f"t{len(arguments)}[i]"
                    numbers = ", ".join(map(str, offsets))
                    body(f"static const int t{len(arguments)}[] = {{{numbers}}};")
                arguments.append(f"{base} + {form}")
            head, some = "for (int i = begin; i < end; ++i)", ""
            if work_items > 1:
                head = f"for (int i = begin / {work_items}; i * {work_items} < end; ++i)"
                some = ", ".join(
                    f"clamp_index({at} - i * {work_items}, {work_items})" for at in ("begin", "end")
                )
        if work_items > 1:
            arguments.append(some)
        body(head, f"    {name}({', '.join(arguments)}); /* {comment} */")


def run_lengths(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Run-length encode block sizes as (size, times) for ``tile_loops``."""
    found: list[list[int]] = []
    for size in sizes:
        if found and found[-1][0] == size:
            found[-1][1] += 1
        else:
            found.append([size, 1])
    return [(size, times) for size, times in found]


def tile_loops(
    code: CWriter,
    index: str,
    rows: Sequence[tuple[int, ...]],
    unit: int = 1,
    *,
    work_items: int = 1,
) -> Iterator[tuple[int, ...]]:
    """Loops over runs of equal blocks: yields each run, which begins with (size, times).

    ``index`` is where a block begins, in units of ``unit``. With more than one of ``work_items``
    the blocks are the work items, and the loops cover those from ``begin`` to ``end``.
    """
    done = before = 0
    for row in rows:
        size, times = row[:2]
        step, first, last = size * unit, done, done + size * times * unit
        if work_items > 1:
            ends = ["begin", "end"]
            if len(rows) > 1:
                ends = [f"clamp_index({at} - {before}, {times})" for at in ("begin", "end")]
            offset = f"{first} + " if first else ""
            begin, end = (f"{offset}{at} * {step}" for at in ends)
            with code.block(f"for (int {index} = {begin}; {index} < {end}; {index} += {step})"):
                yield row
        elif times > 1:
            head = f"for (int {index} = {first}; {index} < {last}; {index} += {step})"
            with code.block(head):
                yield row
        else:
            with code.block(""):
                code(f"const int {index} = {first};")
                yield row
        done, before = last, before + times
