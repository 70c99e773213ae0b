"""Formats whose converter and runtime have an environment of their own on this machine."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.export.file_format import FileFormat

if TYPE_CHECKING:
    from shufflenet_deploy.export.isolated import IsolatedConverter
    from shufflenet_deploy.export.isolated_runtime import IsolatedFile
    from shufflenet_deploy.export.job import Job
    from shufflenet_deploy.export.request import ExportRequest


class IsolatedFormat(FileFormat, ABC):
    """A format with an ``IsolatedConverter``, in whose environment its runtime is too.

    Files are validated by the agent's engine of ``runtime``, which is part of their key.
    """

    tools: ClassVar[tuple[str, ...]] = (
        "torch", "onnx", "onnxscript", "onnxslim", "numpy", "pillow",
    )  # fmt: skip

    @abstractmethod
    def converter(self) -> IsolatedConverter:
        """The converter, imported when it is asked for."""

    def writer(self, converter: str) -> str:
        """The converter's name."""
        del converter
        return self.converter().name

    def key(self, request: ExportRequest) -> dict[str, object]:
        """The engine that runs a file for its validation."""
        del request
        name = f"{self.runtime.replace('-', '_')}.py"
        engine = resource("device_scripts") / "agent" / "engines" / name
        return {"engine": hashlib.sha256(engine.read_bytes()).hexdigest()}

    def versions(self, request: ExportRequest) -> dict[str, str]:
        """The converter's, with a digest of all that is pinned with it."""
        del request
        converter = self.converter()
        return {converter.name: converter.version()}

    def opened(self, job: Job) -> IsolatedFile:
        """In its runtime, which is installed by now."""
        return self.load(job.path)

    def load(self, path: Path) -> IsolatedFile:
        """In its runtime, in a process of that environment."""
        from shufflenet_deploy.export.isolated_runtime import IsolatedFile  # noqa: PLC0415

        return IsolatedFile(path, self.converter(), self.runtime)
