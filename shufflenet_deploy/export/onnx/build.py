"""Writing an ONNX file: PyTorch's exporter, then a lowering, int8 by onnxruntime or our own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.job import Job, Written, plain_onnx, prepared, ranges_of
from shufflenet_deploy.export.lowering_names import AUTO, FALLBACKS, Choice
from shufflenet_deploy.export.metadata import add_to_onnx
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.records import Precision

if TYPE_CHECKING:
    import onnx


def write(job: Job) -> Written:
    """Write ``job.path``; ``auto`` falls back where its lowering cannot express the network."""
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
    return Written("torch", lowering=str(choice))


def _lowered(job: Job, choice: Choice) -> onnx.ModelProto:
    from shufflenet_deploy.export.onnx import int8  # noqa: PLC0415

    model, resolution, recipe = job.model, job.request.resolution, job.recipe
    if choice.name.startswith("channels-last"):
        from shufflenet_deploy.export.onnx import channels_last  # noqa: PLC0415

        if recipe.float_layers:
            raise ExportError(f"the lowering {choice} keeps no layer in float")
        graph = prepared(model, resolution, recipe)
        signed = choice.name.endswith("signed")
        return channels_last.convert(
            graph, ranges_of(job, graph), plan(choice), unsigned=not signed
        )
    converted = plain_onnx(job)
    gathered = choice.name == "gather"
    if job.request.precision is Precision.FP32:
        return int8.gathered(converted) if gathered else converted
    if recipe.equalised:
        plain = recipe.model_copy(update={"equalised": False})
        graphs = (prepared(model, resolution, each) for each in (plain, recipe))
        converted = int8.reweighted(converted, *graphs)
    job.report(job.calibrating())
    return int8.quantize(
        converted,
        job.images,
        recipe.method,
        float_layers=recipe.float_layers,
        rewritten=gathered,
    )
