"""Loop nests over strided operands: axes of one element go, and axes that lie in a row are one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from shufflenet_deploy.codegen.c_writer import CWriter
from shufflenet_deploy.codegen.ir.element_ops import Loop
from shufflenet_deploy.codegen.ir.op import Step
from shufflenet_deploy.codegen.ir.planar import PlanarView

_INDICES = "ijklmnopqrst"


def merged(
    extents: Sequence[int], *strides: Sequence[int]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The fewest loops over the same elements, in the same order: extents, and each's strides."""
    kept: list[tuple[int, list[int]]] = []
    for at, extent in enumerate(extents):
        steps = [one[at] for one in strides]
        if extent == 1:
            continue
        if kept and all(
            outer == inner * extent for outer, inner in zip(kept[-1][1], steps, strict=True)
        ):
            kept[-1] = (kept[-1][0] * extent, steps)
        else:
            kept.append((extent, steps))
    sizes = tuple(extent for extent, _ in kept)
    return sizes, tuple(tuple(steps[at] for _, steps in kept) for at in range(len(strides)))


def distances(views: Sequence[PlanarView | None], steps: Sequence[Step]) -> tuple[int, ...]:
    """Elements that each step goes on in its view, or in a constant where there is none."""
    pairs = zip(views, steps, strict=True)
    return tuple(view.distance(step) if view else step[0] for view, step in pairs)


def merged_loops(
    loops: Sequence[Loop], views: Sequence[PlanarView | None]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """``merged`` of a walk's loops over views, of which None is a constant."""
    strides = [distances(views, loop.steps) for loop in loops]
    columns = ([one[at] for one in strides] for at in range(len(views)))
    return merged([loop.count for loop in loops], *columns)


@contextmanager
def nest(code: CWriter, extents: Sequence[int], first: int = 0) -> Iterator[list[str]]:
    """Nested loops; yields the names of their indices, of which ``first`` are taken already."""
    names = [_INDICES[first + at] for at in range(len(extents))]
    with ExitStack() as stack:
        for name, extent in zip(names, extents, strict=True):
            stack.enter_context(code.block(f"for (int {name} = 0; {name} < {extent}; ++{name})"))
        yield names


def indexed(pointer: str, names: Sequence[str], strides: Sequence[int], offset: int = 0) -> str:
    """The element of a pointer at some indices."""
    terms = [
        name if stride == 1 else f"{name} * {stride}"
        for name, stride in zip(names, strides, strict=True)
        if stride
    ]
    if offset:
        terms.append(str(offset))
    return f"{pointer}[{' + '.join(terms) or '0'}]"


def outer_offsets(extents: Sequence[int], strides: Sequence[int], begin: int) -> list[int]:
    """The start of each iteration of the outermost loop, in elements."""
    if not extents:
        return [begin]
    return [begin + at * strides[0] for at in range(extents[0])]
