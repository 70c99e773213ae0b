"""The TFLite format: files of our own writer or of a converter, for LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shufflenet_deploy.export import formats
from shufflenet_deploy.export.lowered_format import LoweredFormat
from shufflenet_deploy.export.lowering_names import FORMS, PAPER
from shufflenet_deploy.records import Artifact, OperatorTiming, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.profile_attribution import Network
    from shufflenet_deploy.export.request import ExportRequest
    from shufflenet_deploy.export.tflite.file import TfliteFile
    from shufflenet_deploy.network.metadata import Metadata

#: Our own writer, the default; the other converters have environments of their own.
_DIRECT = "direct"
_MARK_AT, _MARK = 4, b"TFL3"


class TfliteFormat(LoweredFormat):
    """See ``FileFormat``."""

    name = "tflite"
    title = "TFLite"
    runtime = "litert"
    tools = ("torch", "flatbuffers", "ai-edge-litert", "numpy", "pillow")
    layout = "NHWC"
    is_usual = True
    shows_layers = True
    is_mixed = True
    lowerings: ClassVar = {
        Precision.FP32: (PAPER, *FORMS),
        Precision.INT8: (PAPER, *FORMS),
    }

    def writer(self, converter: str) -> str:
        """The one that was asked for."""
        return converter

    def has_recipes(self, writer: str) -> bool:
        """The other converters quantise in ways of their own."""
        return writer == _DIRECT

    def name_words(self, request: ExportRequest) -> list[str]:
        """The converter, if it is not our own, and the lowering."""
        converter = [] if request.writer == _DIRECT else [request.writer]
        return [*converter, *super().name_words(request)]

    def options(self, request: ExportRequest) -> dict[str, str]:
        """The converter, if it is not our own, and the lowering."""
        converter = {} if request.writer == _DIRECT else {"converter": request.writer}
        return {**converter, **super().options(request)}

    def versions(self, request: ExportRequest) -> dict[str, str]:
        """The converter's, and for onnx2tf those of the ONNX file that it starts from."""
        if request.writer == "onnx2tf":
            from shufflenet_deploy.export.tflite import onnx2tf  # noqa: PLC0415

            found = formats.distribution_versions(formats.get("onnx").tools)
            return {**found, "onnx2tf": onnx2tf.CONVERTER.version()}
        if request.writer == "litert-torch":
            from shufflenet_deploy.export.tflite import litert_torch  # noqa: PLC0415

            return {"litert-torch": litert_torch.CONVERTER.version()}
        return {}

    def write(self, job: Job) -> Written:
        """By the converter that was asked for."""
        from shufflenet_deploy.export.tflite import build  # noqa: PLC0415

        return build.WRITERS[job.request.writer](job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By the identifier of its FlatBuffers."""
        del end
        return start[_MARK_AT:].startswith(_MARK)

    def load(self, path: Path) -> TfliteFile:
        """In LiteRT."""
        from shufflenet_deploy.export.tflite.file import TfliteFile  # noqa: PLC0415

        return TfliteFile(path)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """By its FlatBuffers."""
        from shufflenet_deploy.export.tflite import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From the entry in the file's metadata; constants are not read."""
        from shufflenet_deploy.export.tflite.file import metadata_in  # noqa: PLC0415

        return metadata_in(path)

    def attributed(
        self, operators: Sequence[OperatorTiming], artifact: Artifact, net: Network
    ) -> Sequence[OperatorTiming]:
        """By aligning XNNPACK's operators with those of the file."""
        from shufflenet_deploy.export.tflite import attribution  # noqa: PLC0415

        return attribution.of_file(operators, artifact.path, net)


FORMAT = TfliteFormat()
