"""Export pipeline: weights, module, conversion, parity, manifest. Heavy; see ``export.export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import cast

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import replacing, sha256_file
from shufflenet_deploy.errors import ExportError, UnreadableError, UnsupportedError
from shufflenet_deploy.export import formats, layer_sqnr, manifest, parity, quantization_search
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.job import Job, OnStage, Written, prepared
from shufflenet_deploy.export.layer_sqnr import LayerFidelity
from shufflenet_deploy.export.metadata import class_names, metadata_of
from shufflenet_deploy.export.request import NOTE, ExportRequest, options, tool_versions
from shufflenet_deploy.export.session import ExportSession
from shufflenet_deploy.export.validation import Validator
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Artifact, CalibrationInfo, Parity, Precision, Recipe
from shufflenet_deploy.zoo.macs import Complexity
from shufflenet_deploy.zoo.model import Model


def build_artifact(
    request: ExportRequest,
    source: str,
    images: ImageSet,
    key: str,
    *,
    session: ExportSession,
    on_stage: OnStage,
) -> Artifact:
    """Make the file of ``request`` and its manifest, whether or not they exist.

    ``source`` is what the zoo loads: the model's name, or the path of an imported card.

    Raises:
        UsageError: an image or the weights cannot be read, or the folder cannot be written.
        ExportError: the model cannot be converted.
    """
    on_stage("loading weights")
    model = session.model(source, weights=request.weights, seed=request.seed, head=request.head)
    for note in model.notes:
        on_stage(f"{NOTE}{note}")
    complexity = zoo.complexity(
        model.module, request.resolution, model.architecture.name, channels=model.channels
    )
    validator = Validator(model, request, images, complexity.multiply_adds)
    chosen = Batches(
        images.within_budget(request.resolution), model.preprocessing, request.resolution
    )
    with replacing(request.path) as written:
        job = Job(
            model=model,
            request=request,
            recipe=Recipe(method=request.calibration_method),
            images=chosen,
            path=written,
            metadata=_metadata(model, request),
            session=session,
            report=on_stage,
        )
        builder = _ArtifactBuilder(job, validator)
        result = builder.make()
        file = builder.opened(result.recipe)
    artifact = _record(job, builder.written, result, file, complexity=complexity, images=images)
    manifest.write(artifact, key, job.metadata)
    return artifact


def _metadata(model: Model, request: ExportRequest) -> Metadata:
    """How the file is fed."""
    return metadata_of(
        model.architecture.name,
        model.preprocessing,
        trained=model.weights.trained,
        resolution=request.resolution,
        input_layout=formats.get(request.format).layout,
        class_names=class_names(
            request.labels, model.architecture.description.classes, request.head
        ),
        head=request.head,
    )


def _record(
    job: Job,
    written: Written,
    result: quantization_search.SearchResult,
    file: parity.ExportedFile,
    *,
    complexity: Complexity,
    images: ImageSet,
) -> Artifact:
    """The record of the file that stands at its path."""
    request, model = job.request, job.model
    is_int8 = request.precision is Precision.INT8
    return Artifact(
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
        options=options(request) | _choices_of(written),
        weights=model.weights,
        converter=written.converter,
        calibration=_calibration(images, len(job.images), result.recipe) if is_int8 else None,
        recipe=result.recipe if is_int8 else None,
        attempts=result.attempts,
        parity=result.parity,
        tools=tool_versions(request) | dict(written.tools) | _runner_of(file),
        created_at=datetime.now(UTC),
    )


def _calibration(images: ImageSet, pictures: int, recipe: Recipe) -> CalibrationInfo:
    return CalibrationInfo(
        source=images.source,
        pictures=pictures,
        fingerprint=images.fingerprint,
        method=recipe.method,
    )


def _choices_of(written: Written) -> dict[str, str]:
    found = {"lowering": written.lowering, "float-layers": ", ".join(written.float_layers)}
    return {name: value for name, value in found.items() if value}


def _runner_of(file: parity.ExportedFile) -> dict[str, str]:
    """Emulator or processor that ran the file, where it is not the runtime of its format."""
    runs_on = getattr(file, "runs_on", None)
    return {"checked on": runs_on} if runs_on else {}


class _ArtifactBuilder:
    """Make one file by one recipe after another, until it passes or no fallback is left."""

    def __init__(self, job: Job, validator: Validator) -> None:
        self._job, self._validator = job, validator
        self._format = formats.get(job.request.format)
        self._made: Recipe | None = None
        self._file: parity.ExportedFile | None = None
        self.written = Written(job.request.writer)
        """The making of the file as it stands."""

    def make(self) -> quantization_search.SearchResult:
        """Search the recipes and leave the kept file at the path."""
        request, first = self._job.request, self._job.recipe
        has_fallbacks = (
            request.precision is Precision.INT8
            and request.remedies == "auto"
            and self._format.has_recipes(request.writer)
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
                self._layers if self._format.is_mixed else None,
            )
            self._write(result.recipe)
        if result.parity.passed or not self._format.shows_layers or instead:
            return result
        minimum_db = request.tolerances.sqnr_db(
            request.precision, trained=self._job.model.weights.trained
        )
        try:
            layers = self._layers(result.recipe)
        except UnreadableError:  # The exporter of a framework takes what no graph expresses.
            return result
        layer = layer_sqnr.first_diverging_layer(layers, minimum_db)
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
            self._file = self._format.opened(replace(self._job, recipe=recipe))
        return self._file

    def _write(self, recipe: Recipe) -> None:
        if recipe != self._made:
            self._file = None
            self.written = self._format.write(replace(self._job, recipe=recipe))
            self._made = recipe

    def _layers(self, recipe: Recipe) -> Sequence[LayerFidelity]:
        """SQNR of every layer against the module, on the input with the lowest SQNR."""
        file = cast("parity.LayeredFile", self.opened(recipe))
        return layer_sqnr.compare(self._graph(recipe), file, [self._validator.worst_input(file)])

    def _graph(self, recipe: Recipe) -> Graph:
        return prepared(self._job.model, self._job.request.resolution, recipe)
