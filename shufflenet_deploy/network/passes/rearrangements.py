"""Rewrites of layers that move values only: reshapes, permutations, slices and concatenations.

A chain of reshapes and permutations is written as one: the input's elements as a grid of factors,
the order of the factors, and the output's shape. Where nothing moves the chain is a reshape or
nothing, and where two factors of the channels change places it is a channel shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations

from shufflenet_deploy.network.graph import (
    Concat,
    Flatten,
    Graph,
    Layer,
    Permute,
    Reshape,
    Shuffle,
    Slice,
)
from shufflenet_deploy.network.passes.rewriting import connected, removing, renamed

Shape = tuple[int, ...]

#: Of more axes nobody looks for an order.
_MOST_ORDERED = 5


@dataclass(frozen=True)
class Rearrangement:
    """Factors of the input's elements, outermost first, and the order they have in the output.

    ``order[i]`` is the input factor at place ``i`` of the output. Neighbours that stay neighbours
    are one factor, and no factor is 1.
    """

    factors: Shape
    order: Shape

    @classmethod
    def of(cls, source: Shape, steps: Sequence[Layer]) -> Rearrangement | None:
        """What a chain does; None if a reshape cuts through factors that do not divide."""
        grid = [(index, size) for index, size in enumerate(source)]
        sizes = dict(grid)
        # For each axis of the current shape: the labels of its factors, outermost first.
        axes: list[list[int]] = [[index] for index, _ in grid]
        splits: dict[int, tuple[int, int]] = {}
        for step in steps:
            if isinstance(step, Permute):
                axes = [axes[axis] for axis in step.order]
                continue
            wanted = _shape_of(step, math.prod(source))
            labels = [label for axis in axes for label in axis]
            made = _regrouped(labels, wanted, sizes, splits)
            if made is None:
                return None
            axes = made
        order = _leaves([label for axis in axes for label in axis], splits)
        first = _leaves(range(len(source)), splits)
        return _merged(first, order, sizes)

    @property
    def moves(self) -> bool:
        """True if elements change places."""
        return self.order != tuple(range(len(self.order)))


def rearranged(graph: Graph) -> Graph:
    """Chains of reshapes and permutations as short as they can be, shuffles among them."""
    graph = _single_chains(graph)
    graph = removing(graph, [layer for layer in graph.layers if _does_nothing(layer, graph)])
    shuffles = [layer for layer in graph.layers if isinstance(layer, Shuffle)]
    return renamed(graph, {layer.output: layer.name for layer in shuffles})


def pieces(graph: Graph) -> Graph:
    """Slices of slices as one, and the concatenation of all slices of a value as the value."""
    producers = {layer.output: layer for layer in graph.layers}
    layers: list[Layer] = []
    for original in graph.layers:
        layer = original
        inner = producers.get(layer.inputs[0])
        if isinstance(layer, Slice) and isinstance(inner, Slice) and inner.axis == layer.axis:
            layer = replace(
                layer,
                inputs=inner.inputs,
                start=inner.start + layer.start * inner.step,
                stop=min(inner.start + layer.stop * inner.step, inner.stop),
                step=inner.step * layer.step,
            )
        producers[layer.output] = layer
        layers.append(layer)
    graph = replace(graph, layers=tuple(layers))
    wholes = {
        layer.output: source
        for layer in graph.layers
        if isinstance(layer, Concat) and (source := _whole_of(layer, producers, graph.shapes))
    }
    return connected(graph, wholes)


def _whole_of(layer: Concat, producers: dict[str, Layer], shapes: dict[str, Shape]) -> str:
    """The value that a concatenation puts together again; "" if it makes another."""
    parts = [producers.get(name) for name in layer.inputs]
    at = 0
    sources: set[str] = set()
    for part in parts:
        if not isinstance(part, Slice) or part.axis != layer.axis or part.step != 1:
            return ""
        if part.start != at:
            return ""
        at, sources = part.stop, sources | {part.inputs[0]}
    source = next(iter(sources))
    return source if len(sources) == 1 and shapes[source] == shapes[layer.output] else ""


def _single_chains(graph: Graph) -> Graph:
    """Each chain that somebody reads from its beginning, by the layers that it needs."""
    producers = {layer.output: layer for layer in graph.layers}
    users = graph.users()
    layers: list[Layer] = []
    shapes = dict(graph.shapes)
    wishes: dict[str, str] = {}
    for layer in graph.layers:
        chain = _chain_to(layer, producers)
        readers = users[layer.output]
        last = any(not _moves_only(reader) for reader in readers) or layer.output in graph.outputs
        if len(chain) < 2 or not last:
            layers.append(layer)
            continue
        source = chain[0].inputs[0]
        layers += _shortest(chain, source, graph.shapes[source], shapes)
        wishes[layer.name] = _shuffle_name(chain)
    return _named(_without_unread(replace(graph, layers=tuple(layers), shapes=shapes)), wishes)


def _named(graph: Graph, wishes: Mapping[str, str]) -> Graph:
    """The graph with these names of its shuffles, numbered where another layer has the name."""
    taken = {layer.name for layer in graph.layers}
    layers: list[Layer] = []
    for layer in graph.layers:
        if not isinstance(layer, Shuffle) or layer.name not in wishes:
            layers.append(layer)
            continue
        name, count = wishes[layer.name], 1
        while name in taken - {layer.name}:
            count += 1
            name = f"{wishes[layer.name]}_{count}"
        taken.add(name)
        layers.append(replace(layer, name=name))
    return replace(graph, layers=tuple(layers))


def _shortest(
    chain: list[Layer], source: str, shape: Shape, shapes: dict[str, Shape]
) -> list[Layer]:
    last = chain[-1]
    wanted = shapes[last.output]
    made = Rearrangement.of(shape, chain)
    if made is None:
        return [last]
    if not made.moves:
        return [Reshape(name=last.name, inputs=(source,), output=last.output, shape=wanted)]
    groups = _shuffle_groups(made, shape, wanted)
    if groups:
        return [Shuffle(name=last.name, inputs=(source,), output=last.output, groups=groups)]
    order = _axis_order(made, shape, wanted)
    if order:
        return [Permute(name=last.name, inputs=(source,), output=last.output, order=order)]
    grid = made.factors
    turned = tuple(grid[factor] for factor in made.order)
    steps: list[Layer] = []
    at = source
    if grid != shape:
        at = _middle(chain[0].name, "split", shapes, grid)
        steps.append(Reshape(name=at, inputs=(source,), output=at, shape=grid))
    if turned == wanted:
        return [*steps, Permute(name=last.name, inputs=(at,), output=last.output, order=made.order)]
    after = _middle(last.name, "turned", shapes, turned)
    steps.append(Permute(name=after, inputs=(at,), output=after, order=made.order))
    steps.append(Reshape(name=last.name, inputs=(after,), output=last.output, shape=wanted))
    return steps if len(steps) < len(chain) else [last]


def _axis_order(made: Rearrangement, shape: Shape, wanted: Shape) -> Shape:
    """The order of whole axes that a rearrangement is; () if it divides or joins some."""
    if sorted(shape) != sorted(wanted) or len(shape) > _MOST_ORDERED:
        return ()
    for order in permutations(range(len(shape))):
        if tuple(shape[axis] for axis in order) == wanted:
            step = Permute(name="", inputs=(), output="", order=order)
            if Rearrangement.of(shape, [step]) == made:
                return order
    return ()


def _middle(name: str, word: str, shapes: dict[str, Shape], shape: Shape) -> str:
    made = f"{name}:{word}"
    while made in shapes:
        made += "'"
    shapes[made] = shape
    return made


def _shuffle_groups(made: Rearrangement, shape: Shape, wanted: Shape) -> int:
    """Groups, if a rearrangement exchanges two factors of a map's channels."""
    if len(shape) != 3 or wanted != shape or made.order[:2] != (1, 0):
        return 0
    groups, channels = made.factors[:2]
    return groups if groups * channels == shape[0] and made.order[2:] in {(), (2,)} else 0


def _shuffle_name(chain: list[Layer]) -> str:
    """The module that shuffles; a word is added where the module does other things as well."""
    owner, _, word = chain[0].name.rpartition(".")
    if word.rstrip("0123456789").rstrip("_") not in _MOVING_WORDS:
        return chain[0].name
    return f"{owner}.shuffle" if owner else "shuffle"


_MOVING_WORDS = {"reshape", "view", "unflatten", "permute", "transpose", "Reshape", "Transpose"}


def _chain_to(layer: Layer, producers: dict[str, Layer]) -> list[Layer]:
    chain: list[Layer] = []
    step: Layer | None = layer
    while step is not None and _moves_only(step):
        chain.insert(0, step)
        step = producers.get(step.inputs[0])
    return chain


def _moves_only(layer: Layer) -> bool:
    return isinstance(layer, (Reshape, Permute, Flatten))


def _does_nothing(layer: Layer, graph: Graph) -> bool:
    if isinstance(layer, Permute):
        return layer.order == tuple(range(len(layer.order)))
    same = graph.shapes[layer.inputs[0]] == graph.shapes[layer.output]
    return isinstance(layer, (Reshape, Flatten)) and same


def _without_unread(graph: Graph) -> Graph:
    """The graph without movers that nobody reads any more."""
    needed = {*graph.outputs}
    kept: list[Layer] = []
    for layer in reversed(graph.layers):
        if layer.output in needed or not _moves_only(layer):
            kept.append(layer)
            needed.update(layer.inputs)
    return replace(graph, layers=tuple(reversed(kept)))


def _shape_of(step: Layer, elements: int) -> Shape:
    return step.shape if isinstance(step, Reshape) else (elements,)


def _regrouped(
    labels: list[int], wanted: Shape, sizes: dict[int, int], splits: dict[int, tuple[int, int]]
) -> list[list[int]] | None:
    """The factors of each wanted axis; factors that an axis cuts are split."""
    rest = [leaf for label in labels for leaf in _leaves([label], splits)]
    axes: list[list[int]] = []
    for size in wanted:
        axis, left = [], size
        while left > 1:
            label = rest.pop(0)
            whole = sizes[label]
            if left % whole == 0:
                axis.append(label)
                left //= whole
                continue
            if whole % left:
                return None
            outer, inner = len(sizes), len(sizes) + 1
            sizes[outer], sizes[inner] = left, whole // left
            splits[label] = (outer, inner)
            axis.append(outer)
            rest.insert(0, inner)
            left = 1
        axes.append(axis)
    return axes


def _leaves(labels: Sequence[int], splits: dict[int, tuple[int, int]]) -> list[int]:
    found: list[int] = []
    for label in labels:
        found += _leaves(splits[label], splits) if label in splits else [label]
    return found


def _merged(first: list[int], order: list[int], sizes: dict[int, int]) -> Rearrangement:
    """Factors without ones, neighbours in both orders merged."""
    source = [label for label in first if sizes[label] > 1]
    target = [label for label in order if sizes[label] > 1]
    follower = dict(pairwise(source))
    runs: list[list[int]] = []
    for label in target:
        if runs and follower.get(runs[-1][-1]) == label:
            runs[-1].append(label)
        else:
            runs.append([label])
    ranked = sorted(runs, key=lambda run: source.index(run[0]))
    factors = tuple(math.prod(sizes[label] for label in run) for run in ranked)
    return Rearrangement(factors, tuple(ranked.index(run) for run in runs))
