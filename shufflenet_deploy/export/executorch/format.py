"""The ExecuTorch format: ``.pte`` programs, whose operators XNNPACK has as far as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.export.file_format import FileFormat

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated_inference import IsolatedFile
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.request import ExportRequest
    from shufflenet_deploy.network.metadata import Metadata

_MARK_AT, _MARK = 4, b"ET12"


class ExecuTorchFormat(FileFormat):
    """See ``FileFormat``."""

    name = "executorch"
    title = "ExecuTorch"
    runtime = "executorch"
    tools = ("torch", "numpy", "pillow", "ziglang")

    @property
    def ending(self) -> str:
        """ExecuTorch's own."""
        return "pte"

    def versions(self, request: ExportRequest) -> dict[str, str]:
        """ExecuTorch's and what is pinned with it."""
        from shufflenet_deploy.export.executorch import converter  # noqa: PLC0415

        del request
        return {"executorch": converter.CONVERTER.version()}

    def write(self, job: Job) -> Written:
        """``torch.export``, int8 by PT2E, and what XNNPACK takes of it."""
        from shufflenet_deploy.export.executorch import converter  # noqa: PLC0415

        return converter.write(job)

    def recognises(self, start: bytes) -> bool:
        """By the identifier of its FlatBuffers."""
        return start[_MARK_AT:].startswith(_MARK)

    def load(self, path: Path) -> IsolatedFile:
        """In ExecuTorch's C++ runtime."""
        from shufflenet_deploy.export.executorch import converter  # noqa: PLC0415

        return converter.load(path)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """By its FlatBuffers."""
        from shufflenet_deploy.export.executorch import inspection  # noqa: PLC0415

        return inspection.read(path, shapes)

    def metadata(self, path: Path) -> Metadata | None:
        """From a method that returns it."""
        from shufflenet_deploy.export.executorch import inspection  # noqa: PLC0415

        return inspection.metadata_in(path)


FORMAT = ExecuTorchFormat()
