"""The OpenVINO format: its intermediate representation, for OpenVINO on x86 and on 64-bit ARM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shufflenet_deploy.export.isolated_format import IsolatedFormat
from shufflenet_deploy.records import Artifact, OperatorTiming, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.profile_attribution import Network
    from shufflenet_deploy.network.metadata import Metadata

#: How an archive begins, and where the name of its first part stands.
_MARK, _NAME_AT, _NAME = b"PK\x03\x04", 30, b"model.xml"

#: What OpenVINO adds to the name of a node whose bias became a node of its own, and its node that
#: changes the memory layout.
_FUSED, _CONVERSION = "/WithoutBiases", "Reorder"


class OpenVinoFormat(IsolatedFormat):
    """See ``FileFormat``."""

    name = "openvino"
    title = "OpenVINO"
    precisions = (Precision.FP32, Precision.FP16, Precision.INT8)
    runtime = "openvino"
    parts: ClassVar = {".xml": "zip -0 net.openvino model.xml model.bin, of these names, makes one"}

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

    def attributed(
        self, operators: Sequence[OperatorTiming], artifact: Artifact, net: Network
    ) -> Sequence[OperatorTiming]:
        """By the names of the ONNX nodes that it was converted from."""
        from shufflenet_deploy.export.onnx.attribution import layer_of  # noqa: PLC0415

        del artifact
        found = []
        for one in operators:
            name = one.name.removesuffix(_FUSED)
            # The last one is called by the value it writes.
            plain = one.model_copy(update={"name": name if "/" in name else f"{name}/Gemm"})
            conversion = one.operator.startswith(_CONVERSION)
            layer = None if conversion else layer_of(plain, net)
            found.append(one.model_copy(update={"layer": layer}))
        return found


FORMAT = OpenVinoFormat()
