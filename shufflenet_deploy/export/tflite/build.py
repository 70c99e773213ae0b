"""Writing a TFLite file: by our own writer, by litert-torch or by onnx2tf."""

from __future__ import annotations

from shufflenet_deploy.errors import ExportError, UnreadableError, UnsupportedError, UsageError
from shufflenet_deploy.export.job import Job, Written, onnx_file, plain_onnx, ranges_of
from shufflenet_deploy.export.metadata import TFLITE_ENTRY
from shufflenet_deploy.export.request import NOTE
from shufflenet_deploy.export.tflite import litert_torch, onnx2tf, writer
from shufflenet_deploy.records import Precision


def directly(job: Job) -> Written:
    """Write a TFLite file directly, or by litert-torch where it needs what the writer lacks."""
    job.report("converting")
    try:
        graph = job.prepared()
    except ExportError as error:
        return _write_instead(job, error)
    lowering = str(job.request.choice)
    metadata = {TFLITE_ENTRY: job.metadata.to_json().encode()}
    try:
        if job.request.precision is Precision.FP32:
            writer.write(graph, job.path, lowering=lowering, metadata=metadata)
            return Written("direct", lowering=lowering)
        ranges = ranges_of(job, graph)
        job.report("converting")
        floating = {layer.output for layer in graph.layers if layer.name in job.recipe.float_layers}
        found = writer.write_int8(
            graph, ranges, job.path, lowering=lowering, float_values=floating, metadata=metadata
        )
    except UnsupportedError as error:
        return _write_instead(job, error)
    unasked = tuple(name for name in found if name not in job.recipe.float_layers)
    return Written("direct", lowering=lowering, float_layers=unasked)


def _write_instead(job: Job, refusal: ExportError) -> Written:
    """Let litert-torch convert what a graph or our TFLite files cannot express.

    Raises:
        UnsupportedError: litert-torch cannot either.
    """
    job.report(f"{NOTE}{refusal}; litert-torch converts it instead")
    try:
        return by_litert_torch(job)
    except (ExportError, UsageError) as error:
        kind = UnreadableError if isinstance(refusal, UnreadableError) else UnsupportedError
        raise kind(f"{refusal}, and by litert-torch: {error}; try --converter onnx2tf") from error


def by_litert_torch(job: Job) -> Written:
    """Google's converter, from the module."""
    chosen = job.calibration
    _, *shape = job.images[0].shape
    litert_torch.convert(job.model.module, shape, job.path, chosen, job.report)
    version = litert_torch.CONVERTER.version()
    return Written("litert-torch", tools={"litert-torch": version})


def by_onnx2tf(job: Job) -> Written:
    """The converter onnx2tf, from the ONNX file."""
    job.report("converting to ONNX")
    with onnx_file(plain_onnx(job)) as source:
        onnx2tf.convert(source, job.path, job.calibration, job.report)
    return Written("onnx2tf")


#: What makes a file, by the name of the converter.
WRITERS = {"direct": directly, "litert-torch": by_litert_torch, "onnx2tf": by_onnx2tf}
