"""Quantization fallbacks: recipes to try, in order, while an int8 file misses its tolerances.

Other calibration methods first, which cost nothing; then cross-layer equalisation, which costs
nothing either; then mixed precision, which costs speed: the first and the last layer in float, then
those with the largest SQNR drop. Every attempt is validated like any file; the first that passes is
kept, or the best if none does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from shufflenet_deploy.export import layer_sqnr
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.network.graph import Conv, Dense, Graph, Shuffle
from shufflenet_deploy.records import Attempt, Parity, Recipe

_WEIGHTED = (Conv, Dense)
_METHODS = ("percentile", "entropy")
#: How many of the layers that lose most are kept in float, one attempt after another.
_WORST = (1, 4)

#: Makes the file of a recipe and validates it.
Make = Callable[[Recipe], Parity]
#: Compares the layers of the file that a recipe made with the module's.
Compare = Callable[[Recipe], Sequence[LayerFidelity]]


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The recipe that is kept, its parity, and every attempt that led there."""

    recipe: Recipe
    parity: Parity
    attempts: tuple[Attempt, ...]


def search(first: Recipe, graph: Graph, make: Make, compare: Compare | None) -> SearchResult:
    """Try recipes from ``first`` on; what is kept is not made again, see ``SearchResult.recipe``.

    ``compare`` is None for files that can keep no layer in float.
    """
    tried: list[Attempt] = []

    def passes(recipe: Recipe) -> bool:
        if any(attempt.recipe == recipe for attempt in tried):
            return False
        tried.append(Attempt(recipe=recipe, parity=make(recipe)))
        return tried[-1].parity.passed

    for next_of in (*_IN_INT8, *(_IN_FLOAT if compare is not None else ())):
        if any(passes(recipe) for recipe in next_of(first, _best(tried), graph, compare)):
            break
    kept = _best(tried)
    assert kept is not None
    attempts = tuple(tried) if len(tried) > 1 else ()
    return SearchResult(recipe=kept.recipe, parity=kept.parity, attempts=attempts)


def _best(tried: Sequence[Attempt]) -> Attempt | None:
    """The attempt that passed, or the one with the most signal; of equals to a dB the first.

    Below 0 dB there is only noise, but a file that runs goes before one that does not.
    """

    def merit(attempt: Attempt) -> tuple[bool, bool, int]:
        sqnr = attempt.parity.sqnr_db
        return attempt.parity.passed, sqnr > -100, max(0, round(sqnr))

    return max(tried, key=merit, default=None)


_Step = Callable[[Recipe, "Attempt | None", Graph, "Compare | None"], Iterable[Recipe]]


def _asked_for(first: Recipe, *_: object) -> Iterable[Recipe]:
    yield first


def _other_ranges(first: Recipe, *_: object) -> Iterable[Recipe]:
    for method in _METHODS:
        yield first.model_copy(update={"method": method})


def _equalised(first: Recipe, best: Attempt | None, *_: object) -> Iterable[Recipe]:
    yield first.model_copy(update={"equalised": True})
    if best is not None:
        yield best.recipe.model_copy(update={"equalised": True})


def _ends_in_float(_: Recipe, best: Attempt | None, graph: Graph, __: object) -> Iterable[Recipe]:
    weighted = [layer.name for layer in graph.layers if isinstance(layer, _WEIGHTED)]
    if best is not None and weighted:
        yield best.recipe.model_copy(update={"float_layers": (weighted[0], weighted[-1])})


def _worst_in_float(
    _: Recipe, best: Attempt | None, graph: Graph, compare: Compare | None
) -> Iterable[Recipe]:
    if best is None or compare is None:
        return
    rows = compare(best.recipe)
    ranked = layer_sqnr.worst(rows)
    unstored = frozenset(row.layer for row in rows if row.sqnr_db is None)
    for count in _WORST:
        regions = [_region(graph, value, unstored) for value in ranked[:count]]
        names = {*best.recipe.float_layers}.union(*regions)
        # A network half in float is no int8 network any more.
        if regions and len(names) <= len(graph.layers) // 2:
            ordered = tuple(layer.name for layer in graph.layers if layer.name in names)
            yield best.recipe.model_copy(update={"float_layers": ordered})


#: In the order in which they are tried: first those for every file, then for those that may keep
#: layers in float.
_IN_INT8: tuple[_Step, ...] = (_asked_for, _other_ranges, _equalised)
_IN_FLOAT: tuple[_Step, ...] = (_ends_in_float, _worst_in_float)


def _region(graph: Graph, value: str, unstored: AbstractSet[str]) -> set[str]:
    """The layers that must be in float for ``value`` never to be rounded.

    Values that the file does not store, such as those written straight into a concatenation, are
    rounded as what they are stored in: whoever makes them belongs to it.

    Layers with weights bound it. What only adds, joins or pools hands the value on, so its readers
    belong to it, and so do the layers whose output it adds. Where that would be a good part of the
    network, as with the trunk of a residual one, the value is rounded once it is handed on.
    """
    makers = {layer.output: layer for layer in graph.layers}
    region: set[str] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        makers_and_readers = [
            layer
            for layer in graph.layers
            if current in (layer.output, *layer.inputs) and layer.name not in region
        ]
        for layer in makers_and_readers:
            region.add(layer.name)
            if layer.output != current and not isinstance(layer, _WEIGHTED):
                sources = [makers[name] for name in layer.inputs if name in makers]
                region |= {each.name for each in sources if isinstance(each, _WEIGHTED)}
                waiting.append(layer.output)
    if len(region) > len(graph.layers) // 4:
        region = {layer.name for layer in graph.layers if value in (layer.output, *layer.inputs)}
    for name in makers[value].inputs if value in makers else ():
        if name in unstored and name in makers:
            region.add(makers[name].name)
    # A file may compute a layer and the shuffle behind it as one.
    shuffles = [layer for layer in graph.layers if isinstance(layer, Shuffle)]
    return region | {layer.name for layer in shuffles if makers[layer.inputs[0]].name in region}
