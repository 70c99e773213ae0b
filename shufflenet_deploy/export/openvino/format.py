"""The OpenVINO format: its intermediate representation, for OpenVINO on x86 and on 64-bit ARM."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.export.isolated_format import IsolatedFormat
from shufflenet_deploy.records import Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.network.metadata import Metadata

#: How an archive begins, and where the name of its first part stands.
_MARK, _NAME_AT, _NAME = b"PK\x03\x04", 30, b"model.xml"


class OpenVinoFormat(IsolatedFormat):
    """See ``FileFormat``."""

    name = "openvino"
    title = "OpenVINO"
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)
    runtime = "openvino"

    def converter(self) -> IsolatedConverter:
        """OpenVINO's own, with NNCF."""
        from shufflenet_deploy.export.openvino import converter  # noqa: PLC0415

        return converter.CONVERTER

    def write(self, job: Job) -> Written:
        """OpenVINO's converter, int8 by NNCF."""
        from shufflenet_deploy.export.openvino import converter  # noqa: PLC0415

        return converter.write(job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By the first part of its archive."""
        del end
        return start.startswith(_MARK) and start[_NAME_AT:].startswith(_NAME)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """By its XML."""
        from shufflenet_deploy.export.openvino import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From its ``rt_info``."""
        from shufflenet_deploy.export.openvino import inspection  # noqa: PLC0415

        return inspection.metadata_in(path)


FORMAT = OpenVinoFormat()
