"""The ONNX format: files of ``torch.onnx``, for onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export.lowered_format import LoweredFormat
from shufflenet_deploy.records import Artifact, OperatorTiming, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.onnx.file import OnnxFile
    from shufflenet_deploy.export.profile_attribution import Network
    from shufflenet_deploy.network.metadata import Metadata

#: Keys of ``ModelProto``: ``ir_version``, a number below that of the far future, and the others.
_VERSION, _NEWER_VERSION, _KEYS = b"\x08", b"\x20", b"\x12\x1a\x22\x28\x32\x3a\x42\x72"


class OnnxFormat(LoweredFormat):
    """See ``FileFormat``."""

    name = "onnx"
    title = "ONNX"
    runtime = "onnxruntime"
    tools = ("torch", "onnx", "onnxscript", "onnxslim", "onnxruntime", "numpy", "pillow")
    is_usual = True
    shows_layers = True
    is_mixed = True
    lowerings: ClassVar = {
        Precision.FP32: ("paper", "gather"),
        Precision.INT8: ("paper", "gather", "channels-last", "channels-last-signed"),
    }

    def writer(self, converter: str) -> str:
        """Always PyTorch's exporter."""
        del converter
        return "torch"

    def has_recipes(self, writer: str) -> bool:
        """It has."""
        del writer
        return True

    def write(self, job: Job) -> Written:
        """PyTorch's exporter, then a lowering."""
        from shufflenet_deploy.export.onnx import build  # noqa: PLC0415

        return build.write(job)

    def opened(self, job: Job) -> OnnxFile:
        """In onnxruntime, on all cores."""
        from shufflenet_deploy.export.onnx.file import OnnxFile  # noqa: PLC0415

        return OnnxFile(job.path)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By how its message begins, which has no mark: the version, then another of its fields."""
        del end
        version, field = start[1:2], start[2:3]
        return start[:1] == _VERSION and version < _NEWER_VERSION and bool(field) and field in _KEYS

    def load(self, path: Path) -> OnnxFile:
        """In onnxruntime, on one thread."""
        from shufflenet_deploy.export.onnx.file import OnnxFile  # noqa: PLC0415

        return OnnxFile(path, threads=1)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """By its protobuf."""
        from shufflenet_deploy.export.onnx import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From its ``metadata_props``."""
        from shufflenet_deploy.export.metadata import from_properties  # noqa: PLC0415
        from shufflenet_deploy.export.onnx.file import load_onnx  # noqa: PLC0415

        try:
            session = load_onnx(str(path), threads=1)
        except ExportError as error:
            raise UsageError(
                f"{path} is not a model file that runs here; export it again"
            ) from error
        return from_properties(session.get_modelmeta().custom_metadata_map)

    def attributed(
        self, operators: Sequence[OperatorTiming], artifact: Artifact, net: Network
    ) -> Sequence[OperatorTiming]:
        """By the names of nodes."""
        from shufflenet_deploy.export.onnx.attribution import layer_of  # noqa: PLC0415

        del artifact
        return [one.model_copy(update={"layer": layer_of(one, net)}) for one in operators]


FORMAT = OnnxFormat()
