"""The native format: generated C compiled to a program for one kind of core."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.file_format import FileFormat
from shufflenet_deploy.records import Artifact, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.codegen.cpu_target import CpuTarget
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.native.executable import NativeExecutable
    from shufflenet_deploy.export.native.program import NativeProgram
    from shufflenet_deploy.export.request import ExportRequest
    from shufflenet_deploy.network.metadata import Metadata
    from shufflenet_deploy.zoo.model import Model

_MARK = b"\x7fELF"


class NativeFormat(FileFormat):
    """See ``FileFormat``."""

    name = "native"
    title = "native"
    precisions = tuple(Precision)
    runtime = "native"
    tools = ("torch", "numpy", "pillow")
    # A program of somebody's would be somebody's code.
    is_measured_as_is = False
    is_program = True
    is_mixed = True

    def precisions_on(self, machine: str | None) -> tuple[Precision, ...]:
        """The core decides."""
        return self.precisions if machine is None else _core(machine).precisions

    def check(self, precision: Precision, machine: str | None) -> None:
        """The core decides."""
        if machine is not None:
            _core(machine).for_precision(precision)

    def has_recipes(self, writer: str) -> bool:
        """It has."""
        del writer
        return True

    def settled(self, request: ExportRequest) -> dict[str, str]:
        """The machine that an alias means; there are no lowerings."""
        if request.lowering != "auto":
            raise UsageError(f"--lowering {request.lowering}: native lowers as it likes")
        return {"machine": _core(request.machine).name}

    def name_words(self, request: ExportRequest) -> list[str]:
        """The machine."""
        return [request.machine]

    def options(self, request: ExportRequest) -> dict[str, str]:
        """The machine."""
        return {"machine": request.machine}

    def key(self, request: ExportRequest) -> dict[str, object]:
        """The machine."""
        return {"machine": request.machine}

    def versions(self, request: ExportRequest) -> dict[str, str]:
        """The compiler's."""
        from shufflenet_deploy import codegen  # noqa: PLC0415

        core = codegen.cpu_target_named(request.machine)
        return {"compiler": codegen.compiler_version(codegen.default_compiler(core.arch))}

    def write(self, job: Job) -> Written:
        """C, compiled."""
        from shufflenet_deploy.export.native import build  # noqa: PLC0415

        return build.write(job)

    def opened(self, job: Job) -> NativeExecutable:
        """The program, or its equivalent for this machine."""
        from shufflenet_deploy.export.native import build  # noqa: PLC0415

        return build.opened(job)

    def recognises(self, start: bytes, end: bytes) -> bool:
        """By the mark of ELF."""
        del end
        return start.startswith(_MARK)

    def load(self, path: Path) -> NativeProgram:
        """As a process, under an emulator where it is for another processor."""
        from shufflenet_deploy.export.native.program import NativeProgram  # noqa: PLC0415

        return NativeProgram(path)

    def of_artifact(self, artifact: Artifact, model: Model) -> NativeExecutable:
        """The program; where it cannot run here, the same network compiled for this machine."""
        from shufflenet_deploy.export.native import build  # noqa: PLC0415

        return build.of_artifact(artifact, model)

    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """From the record in its bytes."""
        from shufflenet_deploy.export.native import inspection  # noqa: PLC0415

        del shapes
        return inspection.read(path)

    def metadata(self, path: Path) -> Metadata | None:
        """From the record in its bytes."""
        return self.read(path, {}).metadata


def _core(name: str) -> CpuTarget:
    from shufflenet_deploy.codegen.cpu_target import cpu_target_named  # noqa: PLC0415

    return cpu_target_named(name)


FORMAT = NativeFormat()
