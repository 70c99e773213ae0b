"""The ncnn format: files of pnnx, for ncnn.

A file is ncnn's ``.bin`` (weights), and behind it a ZIP archive of ncnn's ``.param`` (layers) and
of ``net.json`` (inputs, outputs, how it is fed). ncnn loads the weights from the file as it is;
``unzip`` takes the layers out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shufflenet_deploy.export.isolated_format import IsolatedFormat
from shufflenet_deploy.export.ncnn.archive import COMMENT
from shufflenet_deploy.records import Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.network.metadata import Metadata

_END_OF_ARCHIVE, _END_BYTES = b"PK\x05\x06", 22


class NcnnFormat(IsolatedFormat):
    """See ``FileFormat``."""

    name = "ncnn"
    title = "ncnn"
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)
    runtime = "ncnn"
    parts: ClassVar = {".param": "zip net.zip net.param; cat net.bin net.zip > net.ncnn makes one"}

    def converter(self) -> IsolatedConverter:
        """Pnnx."""
        from shufflenet_deploy.export.ncnn.converter import CONVERTER  # noqa: PLC0415

        return CONVERTER

    def has_recipes(self, writer: str) -> bool:
        """Other ranges, and equalised channels."""
        del writer
        return True

    def write(self, job: Job) -> Written:
        """By pnnx, from the plain ONNX file; int8 by this package from pnnx's fp32."""
        from shufflenet_deploy.export.ncnn import converter  # noqa: PLC0415

        return converter.write(job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By the archive at its end; a stranger's, without our comment, by its name alone."""
        del start
        archive = end.removesuffix(COMMENT)[-_END_BYTES:]
        return end.endswith(COMMENT) and archive.startswith(_END_OF_ARCHIVE)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """From the text of its layers."""
        from shufflenet_deploy.export.ncnn import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From its archive."""
        from shufflenet_deploy.export.ncnn import inspection  # noqa: PLC0415

        return inspection.metadata_in(path)


FORMAT = NcnnFormat()
