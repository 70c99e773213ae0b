"""What ``runs export`` writes: whole records as JSON lines, or one row per sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shufflenet_deploy.cli.stdout import print_json
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.journal import Journal

#: Stands for standard input or output in place of a file.
STANDARD_STREAM = "-"

#: Endings of files: JSON lines hold records unless rows are asked for.
_RECORDS = "jsonl"


def form_of(out: str, *, samples: bool) -> str | None:
    """The form of a table of samples; None for whole records.

    Raises:
        UsageError: the ending is none of those that are known.
    """
    from shufflenet_deploy.report.sample_files import FORMS  # noqa: PLC0415

    if out == STANDARD_STREAM:
        return _RECORDS if samples else None
    ending = Path(out).suffix.removeprefix(".").lower()
    if ending not in FORMS:
        known = ", ".join(f".{name}" for name in FORMS)
        raise UsageError(f"--out {out}: the ending says what is written: choose among {known}")
    return None if ending == _RECORDS and not samples else ending


def export(book: Journal, suite: str | None, out: str, form: str | None, *, as_json: bool) -> None:
    """Write a suite, or all, to a file or to standard output; ``form`` is that of ``form_of``.

    Raises:
        UsageError: a package is missing that the form needs.
    """
    if form is None:
        _export_records(book, suite, out, as_json=as_json)
    else:
        _export_samples(book, suite, out, form, as_json=as_json)


def _export_samples(
    book: Journal, suite: str | None, out: str, form: str, *, as_json: bool
) -> None:
    from shufflenet_deploy.atomic_files import replacing  # noqa: PLC0415
    from shufflenet_deploy.report import sample_files  # noqa: PLC0415

    runs = sample_files.measured(book, suite)
    if out == STANDARD_STREAM:
        rows = sample_files.lines(runs)
        if as_json:
            print_json({"samples": [json.loads(row) for row in rows]})
            return
        for row in rows:
            typer.echo(row, nl=False)
        return
    with replacing(Path(out)) as temporary:
        count = sample_files.write(runs, temporary, form)
    if as_json:
        print_json({"file": out, "rows": count})
    else:
        typer.echo(f"{count} samples written to {out}", err=True)


def _export_records(book: Journal, suite: str | None, out: str, *, as_json: bool) -> None:
    from shufflenet_deploy.atomic_files import replacing  # noqa: PLC0415

    lines = book.export_lines(suite)
    if out == STANDARD_STREAM and as_json:
        print_json({"records": [json.loads(line) for line in lines]})
        return
    if out == STANDARD_STREAM:
        for line in lines:
            typer.echo(line, nl=False)
        return
    count = 0
    with replacing(Path(out)) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(line)
            count += 1
    if as_json:
        print_json({"file": out, "records": count})
    else:
        typer.echo(f"{count} records written to {out}", err=True)
