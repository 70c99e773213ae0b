"""The ExecuTorch format: ``.pte`` programs, whose operators XNNPACK has as far as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.export.isolated_format import IsolatedFormat

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.isolated_runtime import IsolatedFile
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.network.metadata import Metadata

_MARK_AT, _MARK = 4, b"ET12"


class ExecuTorchFormat(IsolatedFormat):
    """See ``FileFormat``."""

    name = "executorch"
    title = "ExecuTorch"
    runtime = "executorch"
    tools = ("torch", "numpy", "pillow")

    @property
    def ending(self) -> str:
        """ExecuTorch's own."""
        return "pte"

    def converter(self) -> IsolatedConverter:
        """ExecuTorch's exporter."""
        from shufflenet_deploy.export.executorch import converter  # noqa: PLC0415

        return converter.CONVERTER

    def write(self, job: Job) -> Written:
        """``torch.export``, int8 by PT2E, and what XNNPACK takes of it."""
        from shufflenet_deploy.export.executorch import converter  # noqa: PLC0415

        return converter.write(job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By the identifier of its FlatBuffers."""
        del end
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
