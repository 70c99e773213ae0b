"""Validated C export: compiled for this machine and compared with PyTorch before it is returned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen.generator import int8_program_for
from shufflenet_deploy.errors import ExportError, ParityError, UnsupportedError
from shufflenet_deploy.export import layer_sqnr, parity, quantization_search, shortfall
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.job import prepared, traced
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.export.native.host_check import compare_with_module, logits_on_host
from shufflenet_deploy.export.native.layer_values import InterpretedFile
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import Parity, Precision, Recipe, Resolution

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model


#: Images that layers are compared on, to find those to keep in float.
_COMPARED = 2


@dataclass(frozen=True, kw_only=True)
class CheckedC:
    """C, and how far it is from PyTorch: ``difference`` relative to the largest logit in fp32,
    ``parity`` on held-out images in fp16 and int8. int8 was made by ``recipe``.
    """

    source: codegen.GeneratedC
    difference: float | None = None
    parity: Parity | None = None
    recipe: Recipe | None = None


def fp32(model: Model, size: Resolution, machine: codegen.CpuTarget) -> CheckedC:
    """fp32 C for ``machine``.

    Raises:
        ParityError: it is not what PyTorch computes.
        ExportError: there is no code for a layer, or the compiler failed.
    """
    graph = traced(model, size)
    difference = compare_with_module(graph, model.module)
    return CheckedC(source=codegen.generate(graph, machine), difference=difference)


def fp16(model: Model, size: Resolution, machine: codegen.CpuTarget, images: ImageSet) -> CheckedC:
    """fp16 C for ``machine``, validated on ``images`` as an exported file is.

    Raises:
        UsageError: the machine does not compute in fp16.
        ParityError: it is too far from what PyTorch computes.
        ExportError: there is no code for a layer, or the compiler failed.
    """
    core = machine.with_fp16()
    graph = traced(model, size)
    result = _validate(model, size, codegen.host_equivalent(graph, core), images, Precision.FP16)
    if not result.passed:
        raise ParityError(
            f"{model.architecture.name} as fp16 C is too far from PyTorch: {result.reason}"
        )
    return CheckedC(source=codegen.generate(graph, core), parity=result)


def _validate(
    model: Model,
    size: Resolution,
    source: codegen.GeneratedC,
    images: ImageSet,
    precision: Precision,
) -> Parity:
    """Parity of C, run on this machine, on the validation set."""
    validation = list(Batches(images.validation_set(size), model.preprocessing, size))
    return parity.compare_logits(
        parity.expected(model.module, validation),
        logits_on_host(source, validation),
        precision=precision,
        tolerances=Tolerances(),
        trained=model.weights.trained,
    )


@dataclass(kw_only=True)
class Int8Export:
    """int8 C for ``machine``, calibrated and validated on ``images`` as an exported file is."""

    model: Model
    size: Resolution
    machine: codegen.CpuTarget
    images: ImageSet
    searching: bool = True
    _ranges: dict[Recipe, tuple[Graph, Ranges]] = field(default_factory=dict)

    def make(self, first: Recipe) -> CheckedC:
        """The C of the first recipe from ``first`` on that passes; without ``searching`` of it.

        Raises:
            ParityError: none passes.
            ExportError: there is no code for a layer, or the compiler failed.
        """
        result = self._attempted(first) if self.searching else self._validated(first)
        found = quantization_search.SearchResult(recipe=first, parity=result, attempts=())
        if self.searching and not result.passed:
            graph = self._calibrated(first)[0]
            known = {first: result}
            found = quantization_search.search(
                first,
                graph,
                lambda recipe: known.get(recipe) or self._attempted(recipe),
                self._layers,
            )
        if not found.parity.passed:
            images = (self.images.source, len(self.images.calibration))
            calibrated = images if self.model.weights.trained else None
            raise ParityError(
                f"{self.model.architecture.name} as int8 C is too far from PyTorch: "
                f"{shortfall.reasons(found.parity, calibrated=calibrated)} ({found.recipe})"
            )
        graph, ranges = self._calibrated(found.recipe)
        source = codegen.generate(graph, self.machine, ranges, found.recipe.float_layers)
        return CheckedC(source=source, parity=found.parity, recipe=found.recipe)

    def _attempted(self, recipe: Recipe) -> Parity:
        """Parity of a recipe; failed, too, if there is no C for its ranges."""
        try:
            return self._validated(recipe)
        except UnsupportedError:
            raise
        except ExportError as error:
            return parity.unusable(len(self.images.validation_set(self.size)), str(error))

    def _validated(self, recipe: Recipe) -> Parity:
        graph, ranges = self._calibrated(recipe)
        asked = recipe.float_layers
        source = codegen.host_equivalent(graph, self.machine, ranges, asked)
        return _validate(self.model, self.size, source, self.images, Precision.INT8)

    def _layers(self, recipe: Recipe) -> Sequence[LayerFidelity]:
        """SQNR of every layer against the module."""
        graph, ranges = self._calibrated(recipe)
        program = int8_program_for(graph, self.machine, ranges, recipe.float_layers)
        paths = self.images.validation_set(self.size)[:_COMPARED]
        images = list(Batches(paths, self.model.preprocessing, self.size))
        return layer_sqnr.compare(graph, InterpretedFile(program, graph), images)

    def _calibrated(self, recipe: Recipe) -> tuple[Graph, Ranges]:
        recipe = recipe.model_copy(update={"float_layers": ()})
        if recipe not in self._ranges:
            graph = prepared(self.model, self.size, recipe)
            paths = self.images.within_budget(self.size)
            chosen = Batches(paths, self.model.preprocessing, self.size)
            self._ranges[recipe] = (graph, calibration.calibrate(graph, chosen, recipe.method))
        return self._ranges[recipe]
