"""Making a file: weights, module, conversion, parity, manifest. Heavy; see ``export.export``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import replacing, sha256_file, write_whole
from shufflenet_deploy.errors import ExportError, UnsupportedError
from shufflenet_deploy.export import layer_sqnr, manifest, parity, quantization_search, request
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.image_set import load_image_set as shipped_images
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.export.lowering_names import AUTO, FALLBACKS, Choice
from shufflenet_deploy.export.metadata import (
    TFLITE_ENTRY,
    add_to_onnx,
    class_names,
    metadata_of,
)
from shufflenet_deploy.export.request import NOTE, ExportRequest
from shufflenet_deploy.export.tflite import onnx2tf, writer
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.export.validation import Validator
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.cross_layer_equalization import equalized
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import (
    Artifact,
    CalibrationInfo,
    Format,
    Parity,
    Precision,
    Recipe,
    Resolution,
)

if TYPE_CHECKING:
    import onnx

    from shufflenet_deploy.codegen import CpuTarget
    from shufflenet_deploy.zoo.model import Model

#: Called with the name of each stage as it begins.
OnStage = Callable[[str], None]


def build_artifact(
    wish: ExportRequest, source: str, images: ImageSet, key: str, on_stage: OnStage
) -> Artifact:
    """Make the file of ``wish`` and its manifest, whether or not they exist.

    ``source`` is what the zoo loads: the model's name, or the path of an imported card.

    Raises:
        UsageError: an image or the weights cannot be read, or the folder cannot be written.
        ExportError: the model cannot be converted.
    """
    on_stage("loading weights")
    model = _model(source, wish.weights, wish.seed, wish.head)
    for note in model.notes:
        on_stage(f"{NOTE}{note}")
    complexity = zoo.complexity(model.module, wish.resolution, model.architecture.name)
    names = class_names(wish.labels, model.architecture.description.classes)
    judges = Validator(model, wish, images, complexity.multiply_adds)
    chosen = Batches(images.within_budget(wish.resolution), model.preprocessing, wish.resolution)
    with replacing(wish.path) as written:
        job = _Job(
            model=model,
            wish=wish,
            recipe=Recipe(method=wish.calibration_method),
            images=chosen,
            path=written,
            metadata=metadata_of(
                model.architecture.name,
                model.preprocessing,
                trained=model.weights.trained,
                resolution=wish.resolution,
                file_format=wish.format,
                class_names=names,
            ),
            say=on_stage,
        )
        workshop = _ArtifactBuilder(job, judges)
        outcome = workshop.make()
        file = workshop.opened(outcome.recipe)
    calibration = None
    if wish.precision is Precision.INT8:
        calibration = CalibrationInfo(
            source=images.source,
            pictures=len(chosen),
            fingerprint=images.fingerprint,
            method=outcome.recipe.method,
        )
    artifact = Artifact(
        path=wish.path,
        sha256=sha256_file(wish.path),
        size_bytes=wish.path.stat().st_size,
        model=model.architecture.name,
        format=wish.format,
        precision=wish.precision,
        resolution=wish.resolution,
        inputs=file.inputs,
        outputs=file.outputs,
        multiply_adds=complexity.multiply_adds,
        parameters=complexity.parameters,
        options=request.options(wish) | _lowering_of(workshop),
        weights=model.weights,
        converter=wish.writer,
        calibration=calibration,
        recipe=outcome.recipe if calibration else None,
        attempts=outcome.attempts,
        parity=outcome.parity,
        tools=request.tool_versions(wish) | _judge_of(file),
        created_at=datetime.now(UTC),
    )
    manifest.write(artifact, key, job.metadata)
    return artifact


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a writer makes a file from, and where."""

    model: Model
    wish: ExportRequest
    recipe: Recipe
    images: Batches
    path: Path
    metadata: Metadata
    say: OnStage


def _lowering_of(workshop: _ArtifactBuilder) -> dict[str, str]:
    return {"lowering": workshop.lowering} if workshop.lowering else {}


def _opened(job: _Job) -> parity.ExportedFile:
    if job.wish.format is not Format.NATIVE:
        return parity.RUNTIMES[job.wish.format](job.path)
    from shufflenet_deploy import codegen  # noqa: PLC0415
    from shufflenet_deploy.export import native  # noqa: PLC0415

    graph, core = _prepared(job), _core(job)
    return native.NativeExecutable(
        job.path,
        graph,
        core,
        lambda: codegen.host_equivalent(graph, core, _known_ranges(job, graph)),
    )


def _core(job: _Job) -> CpuTarget:
    from shufflenet_deploy import codegen  # noqa: PLC0415

    return codegen.cpu_target_named(job.wish.machine).for_precision(job.wish.precision)


def _judge_of(file: parity.ExportedFile) -> dict[str, str]:
    """What ran the file, where that is not the runtime of its format."""
    runs_on = getattr(file, "runs_on", None)
    return {"checked on": runs_on} if runs_on else {}


class _ArtifactBuilder:
    """Makes one file by one recipe after another, until it passes or nothing is left to try."""

    def __init__(self, job: _Job, judges: Validator) -> None:
        self._job, self._judges = job, judges
        self._made: Recipe | None = None
        self._file: parity.ExportedFile | None = None
        self.lowering = ""
        """The lowering of the file as it stands; "" where its converter has its own."""

    def make(self) -> quantization_search.SearchResult:
        """Leave the file that is kept at the path."""
        wish, first = self._job.wish, self._job.recipe
        remediable = (
            wish.precision is Precision.INT8
            and wish.remedies == "auto"
            and wish.writer in _WITH_RECIPES
        )
        verdict = self._attempted(first) if remediable else self._judged(first)
        outcome = quantization_search.SearchResult(recipe=first, parity=verdict, attempts=())
        if remediable and not verdict.passed:
            known = {first: outcome.parity}
            outcome = quantization_search.search(
                first,
                self._graph(first),
                lambda recipe: known.get(recipe) or self._attempted(recipe),
                None if wish.format is Format.NATIVE else self._layers,
            )
            self._write(outcome.recipe)
        if outcome.parity.passed or wish.format is Format.NATIVE:
            return outcome
        floor = wish.floors.sqnr_db(wish.precision, trained=self._job.model.weights.trained)
        layer = layer_sqnr.first_diverging_layer(self._layers(outcome.recipe), floor)
        verdict = outcome.parity.model_copy(update={"first_diverging": layer})
        return replace(outcome, parity=verdict)

    def _attempted(self, recipe: Recipe) -> Parity:
        """The verdict on a recipe; it failed, too, if it makes no file that its runtime takes."""
        try:
            return self._judged(recipe)
        except UnsupportedError:
            raise
        except ExportError as error:
            self._made = None
            return self._judges.unusable(str(error))

    def _judged(self, recipe: Recipe) -> Parity:
        self._write(recipe)
        self._job.say("checking parity")
        return self._judges.verdict(self.opened(recipe))

    def opened(self, recipe: Recipe) -> parity.ExportedFile:
        """The file of a recipe in its runtime, written first if it is not there."""
        self._write(recipe)
        if self._file is None:
            self._file = _opened(replace(self._job, recipe=recipe))
        return self._file

    def _write(self, recipe: Recipe) -> None:
        if recipe != self._made:
            self._file = None
            write = _WRITERS[self._job.wish.writer]
            self.lowering = write(replace(self._job, recipe=recipe))
            self._made = recipe

    def _layers(self, recipe: Recipe) -> Sequence[LayerFidelity]:
        """Every layer beside the module's, on the image that suffers most."""
        self._write(recipe)
        file = parity.RUNTIMES[self._job.wish.format](self._job.path)
        return layer_sqnr.compare(self._graph(recipe), file, [self._judges.hardest(file)])

    def _graph(self, recipe: Recipe) -> Graph:
        return prepared(self._job.model, self._job.wish.resolution, recipe)


def prepared(model: Model, resolution: Resolution, recipe: Recipe) -> Graph:
    """The graph that a recipe quantises: the traced one, its channels equalised if it says so.

    How large channels get is told by the shipped images, so that this is the same whenever asked.
    """
    graph = trace(model.module, resolution, model.architecture.name)
    if not recipe.equalised:
        return graph
    shipped = shipped_images(None).within_budget(resolution)
    return equalized(graph, Batches(shipped, model.preprocessing, resolution))


def _write_onnx(job: _Job) -> str:
    job.say("converting")
    choice = job.wish.choice
    try:
        converted = _lowered(job, choice)
    except ExportError:
        if job.wish.lowering != AUTO or choice.name not in FALLBACKS:
            raise
        choice = Choice(FALLBACKS[choice.name])
        converted = _lowered(job, choice)
    add_to_onnx(converted, job.metadata)
    write_whole(job.path, converted.SerializeToString(deterministic=True))
    return str(choice)


def _lowered(job: _Job, choice: Choice) -> onnx.ModelProto:
    from shufflenet_deploy.export.onnx import int8  # noqa: PLC0415

    model, resolution, recipe = job.model, job.wish.resolution, job.recipe
    if choice.name.startswith("channels-last"):
        from shufflenet_deploy.export.onnx import channels_last  # noqa: PLC0415

        if recipe.float_layers:
            raise ExportError(f"the lowering {choice} keeps no layer in float")
        graph = prepared(model, resolution, recipe)
        signed = choice.name.endswith("signed")
        return channels_last.convert(graph, _ranges(job, graph), plan(choice), unsigned=not signed)
    converted = _onnx(model, resolution)
    gathered = choice.name == "gather"
    if job.wish.precision is Precision.FP32:
        return int8.gathered(converted) if gathered else converted
    if recipe.equalised:
        plain = recipe.model_copy(update={"equalised": False})
        graphs = (prepared(model, resolution, each) for each in (plain, recipe))
        converted = int8.reweighted(converted, *graphs)
    job.say(_calibrating(job))
    return int8.quantize(
        converted,
        job.images,
        recipe.method,
        float_layers=recipe.float_layers,
        rewritten=gathered,
    )


def _write_tflite(job: _Job) -> str:
    job.say("converting")
    graph, lowering = _prepared(job), str(job.wish.choice)
    metadata = {TFLITE_ENTRY: job.metadata.to_json().encode()}
    if job.wish.precision is Precision.FP32:
        writer.write(graph, job.path, lowering=lowering, metadata=metadata)
        return lowering
    ranges = _ranges(job, graph)
    job.say("converting")
    floating = {layer.output for layer in graph.layers if layer.name in job.recipe.float_layers}
    writer.write_int8(
        graph, ranges, job.path, lowering=lowering, float_values=floating, metadata=metadata
    )
    return lowering


def _write_native(job: _Job) -> str:
    from shufflenet_deploy import codegen  # noqa: PLC0415

    graph, core = _prepared(job), _core(job)
    ranges = _known_ranges(job, graph)
    job.say("generating C")
    source = codegen.generate(graph, core, ranges).with_metadata(job.metadata)
    job.say(f"compiling for {core.name} (the first time for {core.arch} takes a minute)")
    codegen.compile_c(source, job.path, product=codegen.Product.PROGRAM)
    return ""


def _write_isolated(job: _Job) -> str:
    job.say("converting to ONNX")
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source = Path(folder, "model.onnx")
        converted = _onnx(job.model, job.wish.resolution)
        source.write_bytes(converted.SerializeToString(deterministic=True))
        chosen = job.images if job.wish.precision is Precision.INT8 else None
        onnx2tf.convert(source, job.path, chosen, job.say)
    return ""


#: What makes a file, by the name of the writer: the one place that knows all formats. They return
#: the lowering that was used, "" where the converter has its own.
_WRITERS: dict[str, Callable[[_Job], str]] = {
    "torch": _write_onnx,
    "direct": _write_tflite,
    "onnx2tf": _write_isolated,
    "native": _write_native,
}

#: Writers that take another recipe than the one asked for; onnx2tf has ways of its own.
_WITH_RECIPES = frozenset({"torch", "direct", "native"})


@lru_cache(maxsize=1)
def _model(name: str, weights: Path | None, seed: int, head: str) -> Model:
    """The files of one command mostly share their model; it is loaded once for all of them."""
    return zoo.load(name, weights=weights, seed=seed, head=head)


_last_onnx: list[tuple[Model, Resolution, onnx.ModelProto]] = []


def _onnx(model: Model, resolution: Resolution) -> onnx.ModelProto:
    """The fp32 ONNX model; the last one is kept, since int8 and onnx2tf start from it too."""
    import copy  # noqa: PLC0415

    from shufflenet_deploy.export.onnx import fp32  # noqa: PLC0415

    if not _last_onnx or _last_onnx[0][0] is not model or _last_onnx[0][1] != resolution:
        _last_onnx[:] = [(model, resolution, fp32.convert(model.module, resolution))]
    return copy.deepcopy(_last_onnx[0][2])


def _prepared(job: _Job) -> Graph:
    return prepared(job.model, job.wish.resolution, job.recipe)


def _calibrating(job: _Job) -> str:
    return f"calibrating on {len(job.images)} images: {job.recipe}"


_last_ranges: list[tuple[Model, Resolution, object, Ranges]] = []


def _ranges(job: _Job, graph: Graph) -> Ranges:
    """The calibrated graph; the last one is kept, since every lowering and format shares it."""
    recipe = job.recipe
    known = (
        job.model,
        job.wish.resolution,
        (job.images.stamps(), recipe.method, recipe.equalised),
    )
    if not _last_ranges or _last_ranges[0][:3] != known:
        job.say(_calibrating(job))
        ranges = calibration.calibrate(graph, job.images, recipe.method)
        _last_ranges[:] = [(*known, ranges)]
    return _last_ranges[0][3]


def _known_ranges(job: _Job, graph: Graph) -> Ranges | None:
    return _ranges(job, graph) if job.wish.precision is Precision.INT8 else None
