"""``runs``: the contents of the journal, and moving them between machines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options, completion, preflight, runs_export
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.runs_export import STANDARD_STREAM
from shufflenet_deploy.cli.stdout import Column, paragraph, print_grid, print_json
from shufflenet_deploy.cli.supplementary import described, newest, summaries
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.journal import SuiteRow
    from shufflenet_deploy.records import Cell, Run, TargetFacts

#: Numeric columns of ``runs show``.
_FIGURES = ("processes", "samples", "median", "p10", "p90", "p99", "unit", "MB")

#: Suites that are listed where no number is asked for.
_LISTED = 50

_SUITE = typer.Argument(
    metavar="SUITE",
    help="A suite's id, its beginning, or 'last'.",
    autocompletion=completion.suites,
)

runs_app = typer.Typer(
    name="runs", help="What was measured: list, show, export, import, delete.", no_args_is_help=True
)


def register(app: typer.Typer) -> None:
    """Add the ``runs`` commands."""
    app.add_typer(runs_app)


@runs_app.command("list")
def list_(
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help=f"So many at most. [default: {_LISTED}, and all with --json]"
        ),
    ] = None,
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """List the suites in the journal, newest first."""
    most = limit if as_json else limit or _LISTED
    with open_journal(journal) as book:
        # One more shows whether there are more.
        rows, location = book.suites(most + 1 if most else None), book.location
    older = len(rows[most:]) if most else 0
    rows = rows[:most]
    if as_json:
        suites = [_described_suite(row) for row in rows]
        print_json({"journal": location, "suites": suites})
        return
    if not rows:
        typer.echo(f"{location} holds no runs yet: shufflenet-deploy bench")
        return
    _print_table(
        (
            Column(title="suite"),
            Column(title="name"),
            Column(title="host"),
            Column(title="runs", right=True),
            Column(title="failed", right=True),
            Column(title="counts", extra=True),
            Column(title="when", extra=True),
        ),
        [
            (
                row.id,
                row.name,
                row.host,
                str(row.measurements + row.failures),
                str(row.failures),
                ", ".join(row.metrics) or "-",
                f"{row.created_at.astimezone():%Y-%m-%d %H:%M}",
            )
            for row in rows
        ],
    )
    if older:
        typer.echo(f"the newest {most} suites; a greater --limit lists older ones", err=True)


@runs_app.command()
def show(
    suite: Annotated[str, _SUITE] = "last",
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Show every cell of a suite: a summary of its samples, its conditions, its stability."""
    from shufflenet_deploy.bench.events import describe  # noqa: PLC0415

    with open_journal(journal) as book:
        row = book.suite(suite)
        runs = book.runs(row.id, every=True)
        observations = newest(book.observations(row.id))
    groups: dict[tuple[str, str, Cell], list[Run]] = {}
    for run in runs:
        key = (run.target.host, run.spec.metric.value, run.cell)
        groups.setdefault(key, []).append(run)
    groups = dict(sorted(groups.items(), key=lambda one: one[1][0].cell.display_order))
    cells = [_described_cell(group) for group in groups.values()]
    if as_json:
        measured = {"cells": cells, "observations": [described(one, runs) for one in observations]}
        print_json({**_described_suite(row), **measured})
        return
    paragraph(f"{row.id}: {row.name} on {row.host}, {row.created_at.astimezone():%Y-%m-%d %H:%M}")
    by_host: dict[str, list[Run]] = {}
    for run in runs:
        by_host.setdefault(run.target.host, []).append(run)
    several = len(by_host) > 1
    for host, mine in by_host.items():
        before = f"{host}: " if several else ""
        paragraph(before + _machine(mine[0].target))
        paragraph(before + _conditions(mine))
    _print_table(
        (
            *((Column(title="host"),) if several else ()),
            Column(title="cell"),
            *(Column(title=name, right=True) for name in _FIGURES),
            Column(title="verdict", prose=True),
        ),
        [
            (*((host,) if several else ()), describe(asked), *_figures(cell), str(cell["text"]))
            for (host, _, asked), cell in zip(groups, cells, strict=True)
        ],
    )
    for text in summaries(observations, runs):
        paragraph(f"\n{text}")


@runs_app.command("export")
def export_(
    suite: Annotated[
        str | None,
        typer.Argument(
            metavar="SUITE", help="A suite's id, its beginning, or 'last'. [default: all]"
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="A .jsonl file for runs import, or one row per sample as .csv, .parquet or .json;"
            " - is standard output.",
        ),
    ] = STANDARD_STREAM,
    samples: Annotated[
        bool,
        typer.Option(
            "--samples", help="One row per sample in JSON lines, too, in place of whole records."
        ),
    ] = False,
    journal: common_options.Journal = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object instead of lines, or about the file."),
    ] = False,
) -> None:
    """Write what was measured, raw: whole records as JSON lines, or one row per sample.

    Records are the suites, runs, observations and evaluations, one JSON object per line, which runs
    import reads. Rows have all conditions as columns; see docs/samples.md.
    """
    form = runs_export.form_of(out, samples=samples)
    if out != STANDARD_STREAM:
        preflight.writable_file("--out", Path(out), "runs.jsonl")
    with open_journal(journal) as book:
        chosen = book.suite(suite).id if suite else None
        runs_export.export(book, chosen, out, form, as_json=as_json)


@runs_app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="A .jsonl file; - is standard input.")],
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Add runs that were exported elsewhere; those already here are passed over."""
    from shufflenet_deploy.atomic_files import read_lines, user_path  # noqa: PLC0415

    with open_journal(journal) as book:
        if file == STANDARD_STREAM:
            added, present = book.import_lines(read_lines(None), "standard input")
        else:
            added, present = book.import_lines(read_lines(user_path(file)), file)
    if as_json:
        print_json({"added": added, "already_there": present})
    else:
        typer.echo(f"{added} records added, {present} were already there")


@runs_app.command()
def delete(
    suite: Annotated[
        str,
        typer.Argument(help="A suite's id, or its beginning.", autocompletion=completion.suites),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Delete a suite with all of its runs."""
    with open_journal(journal) as book:
        held = book.holds(suite)
        name = suite if held is not None else book.suite(suite).id
        if not yes:
            if as_json or not sys.stdin.isatty():
                raise UsageError(f"deleting {name} needs --yes where nobody can be asked")
            if not typer.confirm(f"Delete {name} with {book.holds(name)} runs?"):
                return
        count = book.delete(name)
    if as_json:
        print_json({"suite": name, "deleted": count})
    else:
        typer.echo(f"{name}: {count} runs deleted")


def _described_suite(row: SuiteRow) -> dict[str, Any]:
    return {
        "suite": row.id,
        "name": row.name,
        "host": row.host,
        "created_at": row.created_at.isoformat(),
        "metrics": list(row.metrics),
        "measurements": row.measurements,
        "failures": row.failures,
    }


def _described_cell(runs: list[Run]) -> dict[str, Any]:
    """The figures and the verdict of one cell from all of its attempts, in raw units."""
    from shufflenet_deploy import stats  # noqa: PLC0415
    from shufflenet_deploy.records import Failure  # noqa: PLC0415
    from shufflenet_deploy.stats.attempts import CellRuns  # noqa: PLC0415

    found = CellRuns.of(runs)
    processes = stats.samples_of(found.kept)
    failures = [run.outcome for run in found.failed if isinstance(run.outcome, Failure)]
    stability = stats.stability(found.kept)
    described: dict[str, Any] = {
        "host": runs[0].target.host,
        "cell": runs[0].cell.model_dump(mode="json"),
        "unit": runs[0].spec.metric.unit,
        "processes": len(processes),
        "verdict": stability.verdict.value if processes else "failed",
        "text": stability.text if processes else f"failed: {failures[-1].message}",
        "findings": [finding.message for finding in stability.findings],
        "failures": [failure.model_dump(mode="json") for failure in failures],
        "conditions": [_described_conditions(run) for run in (*found.kept, *found.failed)],
        "attempts": len(runs),
        "other_protocol": len(found.otherwise),
        "samples": 0,
    }
    if processes:
        digest = stats.summary([sample for samples in processes for sample in samples])
        described |= {
            "median": stats.center(processes),
            "p10": digest.p10,
            "p90": digest.p90,
            "p99": digest.p99,
            "mad": digest.mad,
            "samples": digest.count,
            "outliers": digest.outliers,
            "model_rss_bytes": _memory(found.kept),
        }
    if found.otherwise:
        described["text"] += f"; left out: {len(found.otherwise)} of another file or protocol"
    return described


def _memory(runs: Sequence[Run]) -> int | None:
    """Peak memory of runtime and model in bytes, idle Python and numpy subtracted."""
    from shufflenet_deploy.records import Measurement  # noqa: PLC0415

    outcomes = [run.outcome for run in runs if isinstance(run.outcome, Measurement)]
    sizes = [one.model_rss_bytes for one in outcomes if one.model_rss_bytes is not None]
    return max(sizes, default=None)


def _described_conditions(run: Run) -> dict[str, Any]:
    """The conditions of one process: runtime, artifact, and the target before and after it."""
    return {
        "run": run.id,
        "process": run.process,
        "started_at": run.started_at.isoformat(),
        "runtime_version": run.runtime_version,
        "artifact_sha256": run.artifact.sha256 if run.artifact else None,
        "before": run.before.model_dump(mode="json") if run.before else None,
        "after": run.after.model_dump(mode="json") if run.after else None,
        "tool": run.tool,
    }


def _machine(facts: TargetFacts) -> str:
    cores = f"{len(facts.cores)} core{'s' if len(facts.cores) > 1 else ''}"
    return f"{facts.board or facts.cpu}, {facts.arch}, {cores}, {facts.os}"


def _conditions(runs: list[Run]) -> str:
    """The conditions of a suite on one host in one line: constant ones once, others as ranges."""
    states = [state for run in runs for state in (run.before, run.after) if state is not None]
    versions = dict.fromkeys(
        f"{run.cell.runtime.partition('==')[0]} {run.runtime_version}"
        for run in runs
        if run.runtime_version
    )
    governors = dict.fromkeys(name for state in states for name in state.governors.values())
    parts = [", ".join(versions)]
    parts += [f"governor {', '.join(governors)}"] if governors else []
    for unit, per_unit, values in (
        ("MHz", 1000, [khz for state in states for khz in state.frequency_khz.values()]),
        ("°C", 1, [celsius for state in states for celsius in state.temperature_c.values()]),
    ):
        if values:
            ends = dict.fromkeys(f"{end(values) / per_unit:.0f}" for end in (min, max))
            parts.append(f"{'–'.join(ends)} {unit}")
    return "; ".join(filter(None, parts))


def _figures(cell: dict[str, Any]) -> tuple[str, ...]:
    from shufflenet_deploy.report.numerals import figure  # noqa: PLC0415

    if not cell["processes"]:
        return ("0", "0", "", "", "", "", "", "")
    unit = "ms" if cell["unit"] == "ns" else "Minstr"
    values = (figure(cell[key] / 1e6) for key in ("median", "p10", "p90", "p99"))
    memory = cell["model_rss_bytes"]
    shown = f"{memory / 1e6:.1f}" if memory is not None else "-"
    return (str(cell["processes"]), str(cell["samples"]), *values, unit, shown)


def _print_table(columns: tuple[Column, ...], rows: list[tuple[str, ...]]) -> None:
    if sys.stdout.isatty():
        print_grid(columns, rows)
    else:
        _print_plain(tuple(column.title for column in columns), rows)


def _print_plain(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print tab-separated, for cut and awk."""
    typer.echo("\n".join("\t".join(row) for row in (headers, *rows)))
