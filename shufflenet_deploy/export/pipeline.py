"""Export pipeline: weights, module, conversion, parity, manifest. Heavy; see ``export.export``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import replacing, sha256_file, write_whole
from shufflenet_deploy.errors import ExportError, UnreadableError, UnsupportedError, UsageError
from shufflenet_deploy.export import layer_sqnr, manifest, parity, quantization_search
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
from shufflenet_deploy.export.request import NOTE, ExportRequest, options, tool_versions
from shufflenet_deploy.export.tflite import litert_torch, onnx2tf, writer
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.export.validation import Validator
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.graph_module import GraphModule
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
    request: ExportRequest, source: str, images: ImageSet, key: str, on_stage: OnStage
) -> Artifact:
    """Make the file of ``request`` and its manifest, whether or not they exist.

    ``source`` is what the zoo loads: the model's name, or the path of an imported card.

    Raises:
        UsageError: an image or the weights cannot be read, or the folder cannot be written.
        ExportError: the model cannot be converted.
    """
    on_stage("loading weights")
    model = _model(source, request.weights, request.seed, request.head)
    for note in model.notes:
        on_stage(f"{NOTE}{note}")
    complexity = zoo.complexity(
        model.module, request.resolution, model.architecture.name, channels=model.channels
    )
    classes = model.architecture.description.classes
    names = class_names(request.labels, classes, request.head)
    validator = Validator(model, request, images, complexity.multiply_adds)
    chosen = Batches(
        images.within_budget(request.resolution), model.preprocessing, request.resolution
    )
    with replacing(request.path) as written:
        job = _Job(
            model=model,
            request=request,
            recipe=Recipe(method=request.calibration_method),
            images=chosen,
            path=written,
            metadata=metadata_of(
                model.architecture.name,
                model.preprocessing,
                trained=model.weights.trained,
                resolution=request.resolution,
                file_format=request.format,
                class_names=names,
                head=request.head,
            ),
            report=on_stage,
        )
        builder = _ArtifactBuilder(job, validator)
        result = builder.make()
        file = builder.opened(result.recipe)
    calibration = None
    if request.precision is Precision.INT8:
        calibration = CalibrationInfo(
            source=images.source,
            pictures=len(chosen),
            fingerprint=images.fingerprint,
            method=result.recipe.method,
        )
    artifact = Artifact(
        path=request.path,
        sha256=sha256_file(request.path),
        size_bytes=request.path.stat().st_size,
        model=model.architecture.name,
        format=request.format,
        precision=request.precision,
        resolution=request.resolution,
        inputs=file.inputs,
        outputs=file.outputs,
        multiply_adds=complexity.multiply_adds,
        parameters=complexity.parameters,
        options=options(request) | _choices_of(builder),
        weights=model.weights,
        converter=builder.written.converter,
        calibration=calibration,
        recipe=result.recipe if calibration else None,
        attempts=result.attempts,
        parity=result.parity,
        tools=tool_versions(request) | dict(builder.written.tools) | _runner_of(file),
        created_at=datetime.now(UTC),
    )
    manifest.write(artifact, key, job.metadata)
    return artifact


@dataclass(frozen=True, kw_only=True)
class _Job:
    """Inputs of a writer, and the path it writes to."""

    model: Model
    request: ExportRequest
    recipe: Recipe
    images: Batches
    path: Path
    metadata: Metadata
    report: OnStage


def _choices_of(builder: _ArtifactBuilder) -> dict[str, str]:
    written = builder.written
    found = {"lowering": written.lowering, "float-layers": ", ".join(written.float_layers)}
    return {name: value for name, value in found.items() if value}


def _opened(job: _Job) -> parity.ExportedFile:
    if job.request.format is not Format.NATIVE:
        return parity.RUNTIMES[job.request.format](job.path)
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

    return codegen.cpu_target_named(job.request.machine).for_precision(job.request.precision)


def _runner_of(file: parity.ExportedFile) -> dict[str, str]:
    """Emulator or processor that ran the file, where it is not the runtime of its format."""
    runs_on = getattr(file, "runs_on", None)
    return {"checked on": runs_on} if runs_on else {}


class _Written(NamedTuple):
    """How a file was made: its converter, the lowering where it has several, and its own tools.

    ``float_layers`` are those of an int8 file that no recipe asked for: without an integer kernel.
    """

    converter: str
    lowering: str = ""
    float_layers: tuple[str, ...] = ()
    tools: Mapping[str, str] = MappingProxyType({})


class _ArtifactBuilder:
    """Make one file by one recipe after another, until it passes or no fallback is left."""

    def __init__(self, job: _Job, validator: Validator) -> None:
        self._job, self._validator = job, validator
        self._made: Recipe | None = None
        self._file: parity.ExportedFile | None = None
        self.written = _Written(job.request.writer)
        """How the file was made as it stands."""

    def make(self) -> quantization_search.SearchResult:
        """Search the recipes and leave the kept file at the path."""
        request, first = self._job.request, self._job.recipe
        has_fallbacks = (
            request.precision is Precision.INT8
            and request.remedies == "auto"
            and request.writer in _WITH_RECIPES
        )
        first_parity = self._attempted(first) if has_fallbacks else self._validated(first)
        result = quantization_search.SearchResult(recipe=first, parity=first_parity, attempts=())
        instead = self.written.converter != request.writer
        if has_fallbacks and not first_parity.passed and not instead:
            known = {first: first_parity}
            result = quantization_search.search(
                first,
                self._graph(first),
                lambda recipe: known.get(recipe) or self._attempted(recipe),
                None if request.format is Format.NATIVE else self._layers,
            )
            self._write(result.recipe)
        if result.parity.passed or request.format is Format.NATIVE or instead:
            return result
        minimum_db = request.tolerances.sqnr_db(
            request.precision, trained=self._job.model.weights.trained
        )
        layer = layer_sqnr.first_diverging_layer(self._layers(result.recipe), minimum_db)
        diverging = result.parity.model_copy(update={"first_diverging": layer})
        return replace(result, parity=diverging)

    def _attempted(self, recipe: Recipe) -> Parity:
        """Parity of a recipe; failed, too, if it makes no file that its runtime loads."""
        try:
            return self._validated(recipe)
        except UnsupportedError:
            raise
        except ExportError as error:
            self._made = None
            return self._validator.unusable(str(error))

    def _validated(self, recipe: Recipe) -> Parity:
        self._write(recipe)
        self._job.report("checking parity")
        return self._validator.validate(self.opened(recipe))

    def opened(self, recipe: Recipe) -> parity.ExportedFile:
        """The file of a recipe in its runtime, written first if it is not there."""
        self._write(recipe)
        if self._file is None:
            self._file = _opened(replace(self._job, recipe=recipe))
        return self._file

    def _write(self, recipe: Recipe) -> None:
        if recipe != self._made:
            self._file = None
            write = _WRITERS[self._job.request.writer]
            self.written = write(replace(self._job, recipe=recipe))
            self._made = recipe

    def _layers(self, recipe: Recipe) -> Sequence[LayerFidelity]:
        """SQNR of every layer against the module, on the input with the lowest SQNR."""
        self._write(recipe)
        file = parity.RUNTIMES[self._job.request.format](self._job.path)
        return layer_sqnr.compare(self._graph(recipe), file, [self._validator.worst_input(file)])

    def _graph(self, recipe: Recipe) -> Graph:
        return prepared(self._job.model, self._job.request.resolution, recipe)


def traced(model: Model, resolution: Resolution) -> Graph:
    """The graph of a model for one image.

    Raises:
        ExportError: the module does something a graph cannot express.
    """
    if isinstance(model.module, GraphModule):
        return replace(model.module.graph, name=model.architecture.name)
    return trace(model.module, resolution, model.architecture.name, channels=model.channels)


def prepared(model: Model, resolution: Resolution, recipe: Recipe) -> Graph:
    """Graph that a recipe quantises: as traced, with cross-layer equalisation if it asks for it.

    Channel maxima are observed on the shipped images, so that the graph is always the same.
    """
    graph = traced(model, resolution)
    if not recipe.equalised:
        return graph
    shipped = shipped_images(None).within_budget(resolution)
    return equalized(graph, Batches(shipped, model.preprocessing, resolution))


def _write_onnx(job: _Job) -> _Written:
    from shufflenet_deploy.export.onnx.fp32 import call_output_feature_map  # noqa: PLC0415

    job.report("converting")
    choice = job.request.choice
    try:
        converted = _lowered(job, choice)
    except ExportError:
        if job.request.lowering != AUTO or choice.name not in FALLBACKS:
            raise
        choice = Choice(FALLBACKS[choice.name])
        converted = _lowered(job, choice)
    if job.request.head == "none":
        call_output_feature_map(converted)
    add_to_onnx(converted, job.metadata)
    write_whole(job.path, converted.SerializeToString(deterministic=True))
    return _Written("torch", lowering=str(choice))


def _lowered(job: _Job, choice: Choice) -> onnx.ModelProto:
    from shufflenet_deploy.export.onnx import int8  # noqa: PLC0415

    model, resolution, recipe = job.model, job.request.resolution, job.recipe
    if choice.name.startswith("channels-last"):
        from shufflenet_deploy.export.onnx import channels_last  # noqa: PLC0415

        if recipe.float_layers:
            raise ExportError(f"the lowering {choice} keeps no layer in float")
        graph = prepared(model, resolution, recipe)
        signed = choice.name.endswith("signed")
        return channels_last.convert(graph, _ranges(job, graph), plan(choice), unsigned=not signed)
    converted = _onnx(model, resolution)
    gathered = choice.name == "gather"
    if job.request.precision is Precision.FP32:
        return int8.gathered(converted) if gathered else converted
    if recipe.equalised:
        plain = recipe.model_copy(update={"equalised": False})
        graphs = (prepared(model, resolution, each) for each in (plain, recipe))
        converted = int8.reweighted(converted, *graphs)
    job.report(_calibrating(job))
    return int8.quantize(
        converted,
        job.images,
        recipe.method,
        float_layers=recipe.float_layers,
        rewritten=gathered,
    )


def _write_tflite(job: _Job) -> _Written:
    """Write a TFLite file directly, or by litert-torch where it needs what the writer lacks."""
    job.report("converting")
    try:
        graph = _prepared(job)
    except ExportError as error:
        return _write_instead(job, error)
    lowering = str(job.request.choice)
    metadata = {TFLITE_ENTRY: job.metadata.to_json().encode()}
    try:
        if job.request.precision is Precision.FP32:
            writer.write(graph, job.path, lowering=lowering, metadata=metadata)
            return _Written("direct", lowering=lowering)
        ranges = _ranges(job, graph)
        job.report("converting")
        floating = {layer.output for layer in graph.layers if layer.name in job.recipe.float_layers}
        found = writer.write_int8(
            graph, ranges, job.path, lowering=lowering, float_values=floating, metadata=metadata
        )
    except UnsupportedError as error:
        return _write_instead(job, error)
    unasked = tuple(name for name in found if name not in job.recipe.float_layers)
    return _Written("direct", lowering=lowering, float_layers=unasked)


def _write_instead(job: _Job, refusal: ExportError) -> _Written:
    """Let litert-torch convert what a graph or our TFLite files cannot express.

    Raises:
        UnsupportedError: litert-torch cannot either.
    """
    job.report(f"{NOTE}{refusal}; litert-torch converts it instead")
    try:
        return _write_by_litert_torch(job)
    except (ExportError, UsageError) as error:
        kind = UnreadableError if isinstance(refusal, UnreadableError) else UnsupportedError
        raise kind(f"{refusal}, and by litert-torch: {error}; try --converter onnx2tf") from error


def _write_native(job: _Job) -> _Written:
    from shufflenet_deploy import codegen  # noqa: PLC0415

    graph, core = _prepared(job), _core(job)
    ranges = _known_ranges(job, graph)
    job.report("generating C")
    source = codegen.generate(graph, core, ranges).with_metadata(job.metadata)
    job.report(f"compiling for {core.name} (the first time for {core.arch} takes a minute)")
    codegen.compile_c(source, job.path, product=codegen.Product.PROGRAM)
    return _Written("native")


def _write_by_litert_torch(job: _Job) -> _Written:
    chosen = job.images if job.request.precision is Precision.INT8 else None
    _, *shape = job.images[0].shape
    litert_torch.convert(job.model.module, shape, job.path, chosen, job.report)
    version = litert_torch.CONVERTER.version()
    return _Written("litert-torch", tools={"litert-torch": version})


def _write_by_onnx2tf(job: _Job) -> _Written:
    job.report("converting to ONNX")
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source = Path(folder, "model.onnx")
        converted = _onnx(job.model, job.request.resolution)
        source.write_bytes(converted.SerializeToString(deterministic=True))
        chosen = job.images if job.request.precision is Precision.INT8 else None
        onnx2tf.convert(source, job.path, chosen, job.report)
    return _Written("onnx2tf")


#: What makes a file, by the name of the writer: the one place that knows all formats.
_WRITERS: dict[str, Callable[[_Job], _Written]] = {
    "torch": _write_onnx,
    "direct": _write_tflite,
    "litert-torch": _write_by_litert_torch,
    "onnx2tf": _write_by_onnx2tf,
    "native": _write_native,
}

#: Writers that take another recipe than the one asked for; the others have ways of their own.
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
        converted = fp32.convert(model.module, resolution, channels=model.channels)
        _last_onnx[:] = [(model, resolution, converted)]
    return copy.deepcopy(_last_onnx[0][2])


def _prepared(job: _Job) -> Graph:
    return prepared(job.model, job.request.resolution, job.recipe)


def _calibrating(job: _Job) -> str:
    return f"calibrating on {len(job.images)} images: {job.recipe}"


_last_ranges: list[tuple[Model, Resolution, object, Ranges]] = []


def _ranges(job: _Job, graph: Graph) -> Ranges:
    """The calibrated graph; the last one is kept, since every lowering and format shares it."""
    recipe = job.recipe
    known = (
        job.model,
        job.request.resolution,
        (job.images.stamps(), recipe.method, recipe.equalised),
    )
    if not _last_ranges or _last_ranges[0][:3] != known:
        job.report(_calibrating(job))
        ranges = calibration.calibrate(graph, job.images, recipe.method)
        _last_ranges[:] = [(*known, ranges)]
    return _last_ranges[0][3]


def _known_ranges(job: _Job, graph: Graph) -> Ranges | None:
    return _ranges(job, graph) if job.request.precision is Precision.INT8 else None
