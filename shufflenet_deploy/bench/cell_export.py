"""The exporter of a suite's cells: each as a file for the target that it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shufflenet_deploy.bench.session import ArtifactOf
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.codegen.cpu_target import for_facts
from shufflenet_deploy.errors import UnavailableError, UsageError
from shufflenet_deploy.export import ExportRequest, ExportSession, formats
from shufflenet_deploy.export import export as export_file
from shufflenet_deploy.records import Artifact, Cell, RuntimeSpec
from shufflenet_deploy.target import Target


def cell_exporter(
    suite: Suite,
    target: Target,
    artifacts: Path,
    on_stage: Callable[[str], None] | None = None,
) -> ArtifactOf:
    """The function that exports a cell of ``suite``, or finds its file in ``artifacts``.

    The target's facts, read with the first cell, choose the instruction set of native programs and
    the lowering that ``auto`` stands for.

    Args:
        suite: the suite whose cells are exported.
        target: the machine that will run the files.
        artifacts: the folder of exported files.
        on_stage: told what each export is doing.
    """
    from shufflenet_deploy.export.measured_file import MeasuredFiles  # noqa: PLC0415

    session, measured_files = ExportSession(), MeasuredFiles()

    def artifact_of(cell: Cell) -> Artifact:
        if (file := suite.files.get(cell.model)) is not None:
            return measured_files.artifact(file, cell.model)
        facts = target.facts()
        fields: dict[str, Any] = {
            "model": suite.cards.get(cell.model, cell.model),
            "format": cell.format,
            "precision": cell.precision,
            "resolution": cell.resolution,
            "calibration": suite.calibration,
            "out": artifacts,
            "runtime": RuntimeSpec.parse(cell.runtime).name,
            "core": facts.core_name(suite.spec.cpus),
            **cell.options,
            "weights": suite.weights_of(cell),
        }
        if formats.get(cell.format).is_program:
            fields.setdefault("machine", for_facts(facts).name)
        _check(cell, fields.get("machine"))
        request = ExportRequest.model_validate(fields)
        return export_file(request, session=session, on_stage=on_stage)

    return artifact_of


def _check(cell: Cell, machine: str | None) -> None:
    """Refuse a precision that the runtime's files, or the core, do not have: with ``all`` runtimes
    that is a cell without a figure, not a mistake.

    Raises:
        UnavailableError: it is one.
    """
    kind = formats.get(cell.format)
    known = kind.precisions
    if cell.precision not in known:
        words = " and ".join(known)
        raise UnavailableError(
            f"{cell.format} files come in {words}, not in {cell.precision.value}"
        )
    try:
        kind.check(cell.precision, machine)
    except UsageError as error:
        raise UnavailableError(str(error)) from error
