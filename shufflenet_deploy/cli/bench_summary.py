"""Output of ``bench`` after measuring: the table or JSON, the files of ``--out``, warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from shufflenet_deploy.cli.stdout import paragraph, print_json, show
from shufflenet_deploy.cli.supplementary import described, summaries

if TYPE_CHECKING:
    from shufflenet_deploy.cli.bench_run import BenchResult
    from shufflenet_deploy.records import Cell, Run
    from shufflenet_deploy.report.table import Table
    from shufflenet_deploy.stats import Stability

#: The files of ``--out``.
TABLE_FILES = ("table.md", "table.csv", "table.json")


class _CellStability(NamedTuple):
    """A cell on a host with the findings on its samples' stability."""

    host: str
    cell: Cell
    stability: Stability


class BenchSummary:
    """Renderer of a result for the terminal, as JSON and as files."""

    def __init__(self, result: BenchResult) -> None:
        self._result = result

    def show(self, *, as_json: bool, out: Path | None) -> None:
        """Print the table or the JSON, write the files, and warn of untrustworthy cells."""
        from shufflenet_deploy.report import render  # noqa: PLC0415
        from shufflenet_deploy.report.table import Table  # noqa: PLC0415

        result = self._result
        table = Table.from_runs(
            result.runs,
            baseline=result.suite.baseline or "",
            evaluations=result.evaluations,
            predicted=result.predictions,
        )
        if out is not None:
            _write(table, out)
        if as_json:
            print_json(self._as_json(json.loads(render.json(table))))
            return
        show(lambda color: render.terminal(table, color=color))
        for text in summaries(result.observations, result.runs):
            paragraph(f"\n{text}")
        result.profiles.show_summary(result.suite_id, result.suite.baseline)
        self._warn_of_failed_validation()
        self._warn_of_instability()
        typer.echo(self._last_line(out), err=True)

    @cached_property
    def _stabilities(self) -> list[_CellStability]:
        from shufflenet_deploy import stats  # noqa: PLC0415
        from shufflenet_deploy.stats.attempts import CellRuns  # noqa: PLC0415

        groups: dict[tuple[str, Cell], list[Run]] = {}
        for run in self._result.runs:
            groups.setdefault((run.target.host, run.cell), []).append(run)
        in_order = sorted(groups.values(), key=lambda runs: runs[0].cell.display_order)
        return [
            _CellStability(
                runs[0].target.host, runs[0].cell, stats.stability(CellRuns.of(runs).kept)
            )
            for runs in in_order
        ]

    @cached_property
    def _failed_validation(self) -> list[Run]:
        """One run of each measured file that failed validation."""
        found: dict[str, Run] = {}
        for run in self._result.runs:
            if run.artifact is not None and not run.artifact.parity.passed:
                found.setdefault(run.artifact.sha256, run)
        return list(found.values())

    # --- warnings --------------------------------------------------------------------------------

    def _warn_of_failed_validation(self) -> None:
        from shufflenet_deploy.bench.events import describe  # noqa: PLC0415
        from shufflenet_deploy.export.shortfall import explained  # noqa: PLC0415

        for run in self._failed_validation:
            why = f": {explained(run.artifact)}" if run.artifact else ""
            typer.echo(f"failed validation: {describe(run.cell)}{why}", err=True)

    def _warn_of_instability(self) -> None:
        """Print one line per worst cause: how many cells, one as an example, what to try."""
        from shufflenet_deploy.bench.events import describe  # noqa: PLC0415

        several = len({one.host for one in self._stabilities}) > 1
        by_cause: dict[Any, list[_CellStability]] = {}
        for one in self._stabilities:
            if one.stability.findings:
                key = (one.stability.verdict, one.stability.findings[0].cause)
                by_cause.setdefault(key, []).append(one)
        for (verdict, cause), cells in by_cause.items():
            finding = cells[0].stability.findings[0]
            where = f"{cells[0].host}: " if several else ""
            others = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            typer.echo(
                f"{verdict.value} ({cause.value}): {where}{describe(cells[0].cell)}{others}: "
                f"{finding.message}; try: {finding.remedy}",
                err=True,
            )

    # --- the last line ---------------------------------------------------------------------------

    def _last_line(self, out: Path | None) -> str:
        from shufflenet_deploy.records import Failure  # noqa: PLC0415

        result = self._result
        parts = [f"suite {result.suite_id}: {result.measured_processes} processes measured"]
        lacks = sum(isinstance(run.outcome, Failure) and run.outcome.is_lack
                    for run in result.failures)  # fmt: skip
        if lacks:
            parts.append(f"{lacks} not to be had")
        if len(result.failures) > lacks:
            parts.append(f"{len(result.failures) - lacks} failed")
        parts.append(
            f"pushed {result.traffic.files_pushed} files "
            f"({result.traffic.bytes_pushed / 1e6:.1f} MB), "
            f"{result.traffic.files_present} already there"
        )
        parts += _payloads(result.runs)
        if out is not None:
            parts.append(f"tables in {out}")
        return "; ".join(parts)

    # --- JSON ------------------------------------------------------------------------------------

    def _as_json(self, table: object) -> dict[str, Any]:
        result = self._result
        return {
            "suite": result.suite_id,
            "host": result.host,
            "journal": result.journal,
            "measured": result.measured_processes,
            "failures": [
                {
                    "host": run.target.host,
                    "cell": run.cell.model_dump(mode="json"),
                    **run.outcome.model_dump(mode="json"),
                }
                for run in result.failures
            ],
            "failed_validation": [_validation_as_json(run) for run in self._failed_validation],
            "stability": [_stability_as_json(one) for one in self._stabilities],
            "pushed": {
                "files": result.traffic.files_pushed,
                "bytes": result.traffic.bytes_pushed,
                "already_there": result.traffic.files_present,
            },
            "table": table,
            "profile": result.profiles.described(result.suite.baseline),
            "observations": [described(one, result.runs) for one in result.observations],
        }


def _write(table: Table, out: Path) -> None:
    from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415
    from shufflenet_deploy.report import render  # noqa: PLC0415

    renderings = (render.markdown, render.csv, render.json)
    for name, rendered in zip(TABLE_FILES, renderings, strict=True):
        write_whole(out / name, rendered(table))


def _payloads(runs: Sequence[Run]) -> list[str]:
    """The runtimes that were pushed in this session, and the bytes transferred for each."""
    sizes = {
        run.cell.runtime: (run.tool["environment"], run.tool["payload_bytes"])
        for run in runs
        if run.tool.get("payload_bytes")
    }
    return [f"{name} {how}, {size_bytes / 1e6:.1f} MB" for name, (how, size_bytes) in sizes.items()]


def _validation_as_json(run: Run) -> dict[str, Any]:
    return {
        "cell": run.cell.model_dump(mode="json"),
        "reason": run.artifact.parity.reason if run.artifact else "",
        "top1_agreement": run.artifact.parity.top1_agreement if run.artifact else None,
    }


def _stability_as_json(one: _CellStability) -> dict[str, Any]:
    return {
        "host": one.host,
        "cell": one.cell.model_dump(mode="json"),
        "verdict": one.stability.verdict.value,
        "findings": [
            {
                "cause": finding.cause.value,
                "message": finding.message,
                "remedy": finding.remedy,
            }
            for finding in one.stability.findings
        ],
    }
