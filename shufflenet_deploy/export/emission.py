"""C that was checked before it is handed out: compiled for this machine, and held to PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import ExportError, ParityError, UnsupportedError
from shufflenet_deploy.export import native, parity, quantize, remedies
from shufflenet_deploy.export.calibration import Batches, PictureSet
from shufflenet_deploy.export.graph import Graph
from shufflenet_deploy.export.pipeline import prepared
from shufflenet_deploy.export.request import Floors
from shufflenet_deploy.export.trace import trace
from shufflenet_deploy.records import Parity, Precision, Recipe, Resolution

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model


@dataclass(frozen=True, kw_only=True)
class Checked:
    """C, and how far it is from PyTorch: ``difference`` relative to the largest score in fp32,
    ``parity`` on held-out pictures in int8, made by ``recipe``.
    """

    source: native.Source
    difference: float | None = None
    parity: Parity | None = None
    recipe: Recipe | None = None


def in_floats(model: Model, size: Resolution, machine: native.Machine) -> Checked:
    """fp32 C for ``machine``.

    Raises:
        ParityError: it is not what PyTorch computes.
        ExportError: there is no code for a layer, or the compiler failed.
    """
    graph = trace(model.module, size, model.architecture.name)
    difference = native.check(graph, model.module)
    return Checked(source=native.generate(graph, machine), difference=difference)


@dataclass(kw_only=True)
class Bytewise:
    """int8 C for ``machine``, calibrated and judged on ``pictures`` as an exported file is."""

    model: Model
    size: Resolution
    machine: native.Machine
    pictures: PictureSet
    searching: bool = True
    _ranges: dict[Recipe, tuple[Graph, quantize.Ranges]] = field(default_factory=dict)

    def make(self, first: Recipe) -> Checked:
        """The C of the first recipe from ``first`` on that passes; without ``searching`` of it.

        Raises:
            ParityError: none passes.
            ExportError: there is no code for a layer, or the compiler failed.
        """
        verdict = self._attempted(first) if self.searching else self._judged(first)
        found = remedies.Outcome(recipe=first, parity=verdict, attempts=())
        if self.searching and not verdict.passed:
            graph = self._calibrated(first)[0]
            known = {first: verdict}
            found = remedies.search(
                first, graph, lambda recipe: known.get(recipe) or self._attempted(recipe), None
            )
        if not found.parity.passed:
            raise ParityError(
                f"{self.model.architecture.name} as int8 C is too far from PyTorch: "
                f"{found.parity.reason} ({found.recipe})"
            )
        graph, ranges = self._calibrated(found.recipe)
        source = native.generate(graph, self.machine, ranges)
        return Checked(source=source, parity=found.parity, recipe=found.recipe)

    def _attempted(self, recipe: Recipe) -> Parity:
        """The verdict on a recipe; it failed, too, if there is no C for its ranges."""
        try:
            return self._judged(recipe)
        except UnsupportedError:
            raise
        except ExportError as error:
            return parity.unusable(len(self.pictures.judges(self.size)), str(error))

    def _judged(self, recipe: Recipe) -> Parity:
        graph, ranges = self._calibrated(recipe)
        judges = list(self._batches(self.pictures.judges(self.size)))
        return parity.judge(
            parity.expected(self.model.module, judges),
            native.answers(native.stand_in(graph, self.machine, ranges), judges),
            precision=Precision.INT8,
            floors=Floors(),
            trained=self.model.weights.trained,
        )

    def _calibrated(self, recipe: Recipe) -> tuple[Graph, quantize.Ranges]:
        if recipe not in self._ranges:
            graph = prepared(self.model, self.size, recipe)
            chosen = self._batches(self.pictures.within_budget(self.size))
            self._ranges[recipe] = (graph, quantize.calibrate(graph, chosen, recipe.method))
        return self._ranges[recipe]

    def _batches(self, paths: tuple[Path, ...]) -> Batches:
        return Batches(paths, self.model.preprocessing, self.size)
