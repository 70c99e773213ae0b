"""Layouts of values: which tensors hold a value of the graph, and in which order of its axes.

A tensor has the batch of one first and then the axes of its value in some order: a map's usual one
is (1, 2, 0), NHWC; all other values have their own. A permutation is only another reading of the
same tensor. Data is moved when an operation needs an order in which nobody holds the value yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from shufflenet_deploy.export.tflite.program_builder import ProgramBuilder
from shufflenet_deploy.network.graph import Graph

#: The axes of a value in the order in which its tensor has them.
Order = tuple[int, ...]

_MAP_RANK = 3
_CHANNELS_LAST = (1, 2, 0)


def usual_order(rank: int) -> Order:
    """Order of a value in the file: NHWC for maps, the graph's for all others."""
    return _CHANNELS_LAST if rank == _MAP_RANK else tuple(range(rank))


class LayoutBuilder(ProgramBuilder):
    """A program builder that knows which tensors hold each value of a graph.

    ``planes`` maps a value to a tensor of its channels as rows, ``(C, H * W)``.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph.shapes)
        self.graph = graph
        self.planes: dict[str, str] = {}
        self._held: dict[str, dict[Order, str]] = {}

    def place(self, value: str, tensor: str, order: Order | None = None) -> None:
        """Remember that a tensor holds a value, in its usual order unless stated."""
        self._held.setdefault(value, {})[order or self.usual_order(value)] = tensor

    def usual_order(self, value: str) -> Order:
        """The order that operations on maps demand, and that the file's outputs have."""
        return usual_order(len(self.graph.shapes[value]))

    def orders(self, value: str) -> tuple[Order, ...]:
        """The orders in which a value is there, the usual one first."""
        held = self._held.get(value, {})
        usual = self.usual_order(value)
        if value in self.planes:
            return (usual, *(order for order in held if order != usual))
        return tuple(sorted(held, key=lambda order: order != usual))

    def common_order(self, values: Sequence[str]) -> Order:
        """The order of values of one rank for which least has to be moved, preferably the usual."""
        usual = self.usual_order(values[0])
        known = dict.fromkeys([usual, *(order for value in values for order in self.orders(value))])
        return min(known, key=lambda order: sum(self._moved(value, order) for value in values))

    def _moved(self, value: str, order: Order) -> int:
        """The number of elements moved for a value to be there in an order."""
        shape = self.graph.shapes[value]
        free = any(_is_sorted(_places(known, order, shape)) for known in self.orders(value))
        return 0 if free else math.prod(shape)

    def nhwc(self, value: str) -> str:
        """Tensor that holds a value in its usual order, transposed first where it is in another."""
        return self.in_order(value, self.usual_order(value))

    def in_order(self, value: str, order: Order) -> str:
        """Tensor that holds a value in an order, transposed first where it is in another."""
        held = self._held.setdefault(value, {})
        if order not in held:
            target = self.name_in(value, order)
            if value in self.planes:
                self._from_planes(value, target, order)
            else:
                shape = self.graph.shapes[value]
                known = min(held, key=lambda one: not _is_sorted(_places(one, order, shape)))
                self._rearrange(held[known], known, target, order, value)
            held[order] = target
        return held[order]

    def name_in(self, value: str, order: Order) -> str:
        """Name of a new tensor that holds a value in an order: the value's own in the usual one."""
        if order == self.usual_order(value):
            return value if value not in self.tensors else f"{value}:channels-last"
        if order == tuple(range(len(order))):
            return f"{value}:channels-first"
        return f"{value}:axes-{'-'.join(map(str, order))}"

    def calibrated(self, value: str) -> str:
        """The value whose range this one has: rewrites name a value ``source:form``."""
        return value.partition(":")[0]

    def shape_in(self, value: str, order: Order) -> tuple[int, ...]:
        """Shape of a value's tensor in an order, batch of one first."""
        shape = self.graph.shapes[value]
        return (1, *(shape[axis] for axis in order))

    def nhwc_shape_of(self, value: str) -> tuple[int, ...]:
        """Shape of a value in its usual order, batch of one first."""
        return self.shape_in(value, self.usual_order(value))

    def _from_planes(self, value: str, target: str, order: Order) -> None:
        shape = self.shape_in(value, order)
        if order == _CHANNELS_LAST:
            self.transpose(self.planes[value], f"{value}:cells", (1, 0))
            self.reshape(f"{value}:cells", target, shape)
            return
        planar = (0, 1, 2)
        name = self.name_in(value, planar)
        self.reshape(
            self.planes[value],
            name,
            self.shape_in(value, planar),
            rearranges=self.calibrated(value),
        )
        if order != planar:
            self._rearrange(name, planar, target, order, value)

    def _rearrange(self, source: str, known: Order, target: str, order: Order, value: str) -> None:
        shape = self.shape_in(value, order)
        if _is_sorted(_places(known, order, self.graph.shapes[value])):
            self.reshape(source, target, shape, rearranges=self.calibrated(value))
        else:
            axes = (0, *(1 + known.index(axis) for axis in order))
            self.transpose(source, target, axes, rearranges=self.calibrated(value))


def _places(known: Order, order: Order, shape: Sequence[int]) -> list[int]:
    """Positions of an order's axes in a known one; those of one element are anywhere."""
    return [known.index(axis) for axis in order if shape[axis] > 1]


def _is_sorted(places: Sequence[int]) -> bool:
    return list(places) == sorted(places)


def permuted(order: Order, axes: Sequence[int]) -> Order:
    """Order of a permuted value that the same tensor holds: its axis ``i`` was ``axes[i]``."""
    return tuple(axes.index(axis) for axis in order)


def reshaped(old: Sequence[int], new: Sequence[int], order: Order) -> Order | None:
    """Order of a reshaped value whose tensor is a plain reshape of the old one's in ``order``.

    None where the elements of that tensor would have to move. Both shapes are cut into the
    smallest runs of axes with the same number of elements; whole runs may lie in any order.
    """
    runs = _runs(old, new)
    found: list[int] = []
    rest = [axis for axis in order if old[axis] > 1]
    while rest:
        run = next(run for run in runs if rest[0] in run[0])
        axes = [axis for axis in run[0] if old[axis] > 1]
        if rest[: len(axes)] != axes:
            return None
        rest = rest[len(axes) :]
        found += run[1]
    return (*found, *(axis for axis in range(len(new)) if axis not in found))


def _runs(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    runs: list[tuple[list[int], list[int]]] = []
    sources, targets = list(range(len(old))), list(range(len(new)))
    while sources and targets:
        run = [sources.pop(0)], [targets.pop(0)]
        while (sizes := _sizes(run, old, new))[0] != sizes[1]:
            side = 0 if sizes[0] < sizes[1] else 1
            run[side].append((sources, targets)[side].pop(0))
        runs.append(run)
    if sources or targets:
        # Only axes of one element are left; without a run before them there is nothing to order.
        last = runs[-1] if runs else ([], [])
        last[0].extend(sources)
        last[1].extend(targets)
    return runs


def _sizes(
    run: tuple[list[int], list[int]], old: Sequence[int], new: Sequence[int]
) -> tuple[int, int]:
    return math.prod(old[axis] for axis in run[0]), math.prod(new[axis] for axis in run[1])
