"""The MNN format: files of MNN's own converter and quantiser, for MNN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.export.isolated_format import IsolatedFormat
from shufflenet_deploy.records import Artifact, OperatorTiming, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.profile_attribution import Network
    from shufflenet_deploy.network.metadata import Metadata


class MnnFormat(IsolatedFormat):
    """See ``FileFormat``."""

    name = "mnn"
    title = "MNN"
    precisions = tuple(Precision)
    runtime = "mnn"

    def converter(self) -> IsolatedConverter:
        """MNN's own."""
        from shufflenet_deploy.export.mnn.converter import CONVERTER  # noqa: PLC0415

        return CONVERTER

    def has_recipes(self, writer: str) -> bool:
        """Other ranges, and equalised channels."""
        del writer
        return True

    def write(self, job: Job) -> Written:
        """By MNN's converter from the plain ONNX file; int8 by its quantiser with our ranges."""
        from shufflenet_deploy.export.mnn import converter  # noqa: PLC0415

        return converter.write(job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By how its FlatBuffers, which carry no identifier, begin."""
        from shufflenet_deploy.export.mnn.flat_buffer import looks_like_mnn  # noqa: PLC0415

        del end
        return looks_like_mnn(start)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """As MNN's own tools read it."""
        from shufflenet_deploy.export.mnn import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From the field that is a file's maker's."""
        from shufflenet_deploy.export.mnn import inspection  # noqa: PLC0415

        return inspection.metadata_in(path)

    def attributed(
        self, operators: Sequence[OperatorTiming], artifact: Artifact, net: Network
    ) -> Sequence[OperatorTiming]:
        """By the names of the ONNX nodes, which MNN keeps."""
        from shufflenet_deploy.export.mnn import attribution  # noqa: PLC0415

        del artifact
        return attribution.attributed(operators, net)


FORMAT = MnnFormat()
