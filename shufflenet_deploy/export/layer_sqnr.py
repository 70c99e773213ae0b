"""Per-layer SQNR: every layer of a file against the same layer of the module.

The file computes in its own runtime, the module in float32, on the same images. Noise adds up
along the way, so a faulty layer is found by its *drop*: how much lower its SQNR is than its
inputs'. It is taken of the SQNR in which every channel counts alike: where one channel is much
larger than the others, the plain SQNR is that channel's, and shows the loss of all others a layer
too late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from shufflenet_deploy.export.parity import FloatArray, LayeredFile, decibels
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.one_thread import one_thread
from shufflenet_deploy.records import Record

#: Tensors of our TFLite files that hold a value's channels in another order, perhaps with others.
_REARRANGED = frozenset({"blocks", "blockwise", "dense", "unshuffled"})
#: What onnxruntime's quantiser calls the rounded form of a value, which the next layer reads.
_ROUNDED = "_DequantizeLinear_Output"
#: What our int8 TFLite files call the float form of a value.
_IN_FLOAT = ":float"
#: Layers that the tracer names after what they do, in the module that does it.
_JOINS = frozenset({"add", "concat", "multiply"})


class LayerFidelity(Record):
    """Fidelity of one layer of the file to the module's, over all images together.

    ``tensor`` is where the file holds the layer's output; None where it is not held as such, such
    as a shuffle folded into its neighbours, and then there are no figures. ``channels_db`` is the
    SQNR with every channel counted alike, and ``drop_db`` that of the worst input less its own.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    tensor: str | None = None
    sqnr_db: float | None = None
    cosine: float | None = None
    channels_db: float | None = None
    drop_db: float | None = None


@one_thread()
def compare(
    graph: Graph, file: LayeredFile, images: Sequence[FloatArray]
) -> tuple[LayerFidelity, ...]:
    """Every layer of ``graph`` in order, the rounded input first.

    A layer is found by its name. In files of a converter that forgets names it is found by its
    shape and likeness; a layer that is off is then easily taken for another.

    Args:
        graph: the module as it was traced.
        file: the exported file.
        images: ``(1, 3, H, W)`` each.
    """
    sums: dict[str, dict[str, _Sums]] = {}
    for image in images:
        held = list(file.layers(image))
        fit = _fit_of(graph, [name for name, _ in held], file.outputs[0].name)
        for value, computed in interpreter.execute(graph, image):
            wanted = computed[0].numpy()
            for tensor, found in held:
                order = fit(value, tensor)
                if order is not None and _comparable(wanted, found, order):
                    known = sums.setdefault(value, {})
                    known.setdefault(tensor, _Sums(any_order=order == "any")).add(wanted, found)
    best = {value: _best(candidates) for value, candidates in sums.items()}
    makers = {layer.output: type(layer).__name__ for layer in graph.layers}
    rows = [
        _row(value, makers.get(value, "Input"), graph.shapes[value], best.get(value))
        for value in (graph.input, *makers)
    ]
    return _with_drops(graph, rows)


def _comparable(wanted: FloatArray, found: FloatArray, order: str) -> bool:
    if order == "any" and wanted.ndim == found.ndim == 3:
        return wanted.shape[1:] == found.shape[1:] and len(wanted) <= len(found)
    return wanted.shape == found.shape


def first_diverging_layer(rows: Sequence[LayerFidelity], minimum_db: float) -> str | None:
    """First layer from which on the SQNR stays below ``minimum_db``; None if the output is fine.

    A layer that falls below for a while, as in one branch of a sum, is no collapse.
    """
    suspect: str | None = None
    for row in rows:
        if row.kind == "Input" or row.sqnr_db is None:
            continue
        if row.sqnr_db >= minimum_db:
            suspect = None
        elif suspect is None:
            suspect = row.layer
    return suspect


def worst(rows: Sequence[LayerFidelity]) -> list[str]:
    """Layers with an SQNR drop, the largest first."""
    losing = [row for row in rows if row.drop_db is not None and row.drop_db > 0]
    return [row.layer for row in sorted(losing, key=lambda row: -(row.drop_db or 0))]


@dataclass
class _Sums:
    """Sums of squares and products over images, from which SQNR and cosine follow.

    With ``any_order`` each wanted channel is compared with every channel that was found, and the
    nearest one stands for it.
    """

    any_order: bool
    wanted: Any = 0.0
    found: Any = 0.0
    products: Any = 0.0
    noise: Any = 0.0

    def add(self, wanted: FloatArray, found: FloatArray) -> None:
        """Take one more image into account."""
        a = wanted.reshape(len(wanted), -1).astype(np.float64)
        b = found.reshape(len(found), -1).astype(np.float64)
        self.wanted = self.wanted + np.square(a).sum(1)
        self.found = self.found + np.square(b).sum(1)
        if self.any_order:
            self.products = self.products + a @ b.T
        else:
            self.products = self.products + (a * b).sum(1)
            self.noise = self.noise + np.square(a - b).sum(1)

    def figures(self) -> _Figures:
        """SQNR and cosine of the sums."""
        found, products, noise = self.found, self.products, self.noise
        if self.any_order:
            distances = self.wanted[:, None] + found[None, :] - 2 * products
            nearest = distances.argmin(1)
            chosen = np.arange(len(distances)), nearest
            # Differences of large sums: below this share of the signal is only rounding.
            noise = np.maximum(distances[chosen], self.wanted * 1e-12)
            found, products = found[nearest], products[chosen]
        signal = float(self.wanted.sum())
        norm = math.sqrt(signal * float(found.sum()))
        alive = self.wanted > 0
        shares = np.minimum(noise[alive] / self.wanted[alive], 1.0)
        return _Figures(
            sqnr_db=decibels(signal, float(noise.sum())),
            cosine=max(-1.0, min(1.0, float(products.sum()) / norm)) if norm else 1.0,
            channels_db=decibels(1.0, float(shares.mean()) if len(shares) else 0.0),
        )


class _Figures(NamedTuple):
    sqnr_db: float
    cosine: float
    channels_db: float


def _best(candidates: Mapping[str, _Sums]) -> tuple[str, _Figures]:
    """The likeliest tensor; one that was rounded goes before what it was rounded from."""
    rounded = {name: sums for name, sums in candidates.items() if name.endswith(_ROUNDED)}
    figures = {name: sums.figures() for name, sums in (rounded or candidates).items()}
    name = max(figures, key=lambda each: figures[each].sqnr_db)
    return name, figures[name]


def _row(
    value: str, kind: str, shape: tuple[int, ...], best: tuple[str, _Figures] | None
) -> LayerFidelity:
    row = LayerFidelity(layer=value, kind=kind, shape=shape)
    if best is None:
        return row
    tensor, figures = best
    return row.model_copy(update={"tensor": tensor, **figures._asdict()})


def _with_drops(graph: Graph, rows: Sequence[LayerFidelity]) -> tuple[LayerFidelity, ...]:
    """Add each layer's SQNR drop; a layer that is not in the file passes on its inputs' SQNR."""
    readers = {layer.output: layer.inputs for layer in graph.layers}
    kept: dict[str, float] = {}
    result = []
    for row in rows:
        before = [kept[name] for name in readers.get(row.layer, ()) if name in kept]
        if row.channels_db is not None and before:
            row = row.model_copy(update={"drop_db": min(before) - row.channels_db})  # noqa: PLW2901
        if row.channels_db is not None:
            kept[row.layer] = row.channels_db
        elif before:
            kept[row.layer] = min(before)
        result.append(row)
    return tuple(result)


# --- matching tensors to layers ------------------------------------------------------------------

#: From a value of the graph and a tensor of the file: "same", "any" order of channels, or neither.
_Fit = Callable[[str, str], str | None]


def _fit_of(graph: Graph, tensors: Sequence[str], logits: str) -> _Fit:
    """Match by name; by nothing but the shape where hardly a name is known."""

    def by_name(value: str, tensor: str) -> str | None:
        if value == graph.output and tensor == logits:
            return "same"
        return kinship(value, tensor)

    owners = {layer.output for layer in graph.layers}
    known = sum(any(by_name(value, tensor) for tensor in tensors) for value in owners)
    return by_name if 4 * known > len(owners) else lambda _value, _tensor: "same"


def kinship(value: str, tensor: str) -> str | None:
    """Match a tensor (or the node that makes it) to ``value`` by its name.

    Returns "same", "any" if it holds the channels in another order, None if it is something else.
    """
    name = tensor.removesuffix(_ROUNDED).removesuffix(_IN_FLOAT)
    owner, _, arrangement = name.partition(":")
    if owner == value:
        return "any" if arrangement in _REARRANGED else None if arrangement else "same"
    module, _, operation = name.partition("/")
    if not operation or "/" in operation:
        return None
    parent, _, own = value.rpartition(".")
    homes = {value, f"{value}_bn", f"{value}_relu"}
    if own in _JOINS:
        homes |= {parent, f"{parent}.relu"}
    if own == "conv":
        homes |= {parent, f"{parent}.bn", f"{parent}.relu"}
    return "same" if module in homes else None
