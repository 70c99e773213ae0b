"""Parts of a tensor that are read or written in place, as slices and joins of the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from shufflenet_deploy.network.frontends.shape_inference import Shape

#: Computes an operator of ATen by name, of its arguments by name, the first one first; the shape
#: is its result's. The tensors are those of the caller.
Compute = Callable[[str, dict[str, Any], Shape], Any]


def ranges(whole: torch.Tensor, part: torch.Tensor) -> list[range] | None:
    """The elements along every axis of a tensor that a view of its memory is made of.

    None for a view that no slices make, such as one with other axes. Both tensors need no values.
    """
    if not whole.is_contiguous() or whole.storage_offset():
        return None
    axes = [pair for pair in zip(part.shape, part.stride(), strict=True) if pair[0] != 1]
    rest, found = part.storage_offset(), []
    for size, stride in zip(whole.shape, whole.stride(), strict=True):
        start, rest = divmod(int(rest), stride) if size > 1 else (0, rest)
        count, step = axes[0] if axes else (1, 1)
        times = step // stride
        if axes and times and step % stride == 0 and start + (count - 1) * times < size:
            axes.pop(0)
            found.append(range(start, start + (count - 1) * times + 1, times))
        else:
            found.append(range(start, start + 1))
    return None if axes or rest else found


def read(compute: Compute, whole: Any, size: Shape, places: Sequence[range], shape: Shape) -> Any:
    """The part of a tensor of a ``size``, in a shape."""
    for dim, place in enumerate(places):
        whole, size = _cut(compute, whole, size, dim, place)
    return compute("view", {"self": whole, "size": list(shape)}, shape)


def written(compute: Compute, whole: Any, size: Shape, places: Sequence[range], part: Any) -> Any:
    """The tensor with another part."""
    inner = tuple(map(len, places))
    part = compute("view", {"self": part, "size": list(inner)}, inner)
    return _written(compute, whole, size, places, part)


def _written(compute: Compute, whole: Any, size: Shape, places: Sequence[range], part: Any) -> Any:
    """Along the first axis that is not written to whole: what is kept, and what is not."""
    dim = next((at for at, place in enumerate(places) if len(place) != size[at]), None)
    if dim is None:
        return part
    inner = tuple(len(place) if at >= dim else size[at] for at, place in enumerate(places))
    joined, begun = [], 0
    for start, stop, new in _runs(places[dim]):
        if begun < start:
            joined.append(_cut(compute, whole, size, dim, range(begun, start))[0])
        old, cut = _cut(compute, whole, size, dim, range(start, stop))
        own, _ = _cut(compute, part, inner, dim, new)
        joined.append(
            _written(compute, old, cut, [*map(range, cut[: dim + 1]), *places[dim + 1 :]], own)
        )
        begun = stop
    if begun < size[dim]:
        joined.append(_cut(compute, whole, size, dim, range(begun, size[dim]))[0])
    return compute("cat", {"tensors": joined, "dim": dim}, size)


def _runs(place: range) -> Iterator[tuple[int, int, range]]:
    """Neighbouring elements of a range, and where they are in it."""
    if place.step == 1 or len(place) == 1:
        yield place.start, place.start + len(place), range(len(place))
        return
    for at, one in enumerate(place):
        yield one, one + 1, range(at, at + 1)


def _cut(compute: Compute, x: Any, size: Shape, dim: int, place: range) -> tuple[Any, Shape]:
    """The elements of a range along an axis, and their shape."""
    if len(place) == size[dim]:
        return x, size
    shape = (*size[:dim], len(place), *size[dim + 1 :])
    ends = {"dim": dim, "start": place.start, "end": place.stop, "step": place.step}
    return compute("slice", {"self": x, **ends}, shape), shape
