"""Files with one row per sample: CSV, Parquet, JSON lines, or one JSON array.

Runs are read and written one after the other, so that a journal larger than memory can be exported.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Measurement, Run
from shufflenet_deploy.report.sample_columns import SAMPLE, VALUE, Kind, columns, constants

if TYPE_CHECKING:
    from shufflenet_deploy.journal import Journal

INSTALL = "pip install 'shufflenet-deploy[parquet]'"

#: Writes the rows of one process: what they share, and its samples.
_Write = Callable[[dict[str, Any], tuple[int, ...]], None]


def measured(journal: Journal, suite: str | None) -> Iterator[tuple[Run, bool]]:
    """Every run of a suite (or of all) that measured, and whether it counts; one at a time.

    The journal is read twice, because a later attempt decides whether an earlier one counts.
    """
    from shufflenet_deploy.stats import attempts  # noqa: PLC0415 - numpy

    counted = {run.id for run in attempts.counted(map(_slim, journal.each_run(suite, quiet=True)))}
    for run in journal.each_run(suite):
        if isinstance(run.outcome, Measurement):
            yield run, run.id in counted


def _slim(run: Run) -> Run:
    """A run without what takes memory and decides nothing about attempts."""
    outcome = run.outcome
    if isinstance(outcome, Measurement):
        outcome = outcome.model_copy(update={"samples": outcome.samples[:1], "warmup": ()})
    return run.model_copy(update={"outcome": outcome, "raw": "", "tool": {}})


def write(runs: Iterable[tuple[Run, bool]], path: Path, form: str) -> int:
    """Write a file of a form of ``FORMS``; returns the number of rows.

    Raises:
        UsageError: the form is ``parquet`` and pyarrow is not installed.
    """
    count = 0
    with FORMS[form](path) as write_process:
        for run, counted in runs:
            if isinstance(run.outcome, Measurement):
                write_process(constants(run, counted=counted), run.outcome.samples)
                count += len(run.outcome.samples)
    return count


def lines(runs: Iterable[tuple[Run, bool]]) -> Iterator[str]:
    """One JSON object per sample, each a line."""
    for run, counted in runs:
        if isinstance(run.outcome, Measurement):
            yield from _json_rows(constants(run, counted=counted), run.outcome.samples)


def _json_rows(shared: dict[str, Any], samples: tuple[int, ...]) -> Iterator[str]:
    """The rows of one process: what they share is encoded once."""
    head = json.dumps(shared, ensure_ascii=False)[:-1]
    for place, value in enumerate(samples):
        yield f'{head}, "{SAMPLE}": {place}, "{VALUE}": {value}}}\n'


@contextmanager
def _csv(path: Path) -> Iterator[_Write]:
    names = [column.name for column in columns()]
    place_of, value_of = names.index(SAMPLE), names.index(VALUE)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)

        def write_process(shared: dict[str, Any], samples: tuple[int, ...]) -> None:
            row = [_plain(shared.get(name)) for name in names]
            for place, value in enumerate(samples):
                row[place_of], row[value_of] = place, value
                writer.writerow(row)

        yield write_process


def _plain(value: Any) -> Any:
    """Booleans as every reader of CSV knows them; a missing value is an empty field."""
    return str(value).lower() if isinstance(value, bool) else value


@contextmanager
def _json_lines(path: Path) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as stream:
        yield lambda shared, samples: stream.writelines(_json_rows(shared, samples))


@contextmanager
def _json_array(path: Path) -> Iterator[_Write]:
    with path.open("w", encoding="utf-8") as stream:
        separator = "[\n"

        def write_process(shared: dict[str, Any], samples: tuple[int, ...]) -> None:
            nonlocal separator
            for row in _json_rows(shared, samples):
                stream.write(separator + row.rstrip("\n"))
                separator = ",\n"

        yield write_process
        stream.write("[]\n" if separator == "[\n" else "\n]\n")


@contextmanager
def _parquet(path: Path) -> Iterator[_Write]:
    pa, pq = _pyarrow()
    types = {
        Kind.INTEGER: pa.int64(),
        Kind.NUMBER: pa.float64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIME: pa.timestamp("us", tz="UTC"),
        Kind.TEXT: pa.string(),
        Kind.JSON: pa.string(),
    }
    table = columns()
    schema = pa.schema([(column.name, types[column.kind]) for column in table])
    with path.open("wb") as stream, pq.ParquetWriter(stream, schema) as writer:

        def write_process(shared: dict[str, Any], samples: tuple[int, ...]) -> None:
            varying = {SAMPLE: list(range(len(samples))), VALUE: list(samples)}
            arrays = []
            for column, field in zip(table, schema, strict=True):
                if column.name in varying:
                    arrays.append(pa.array(varying[column.name], field.type))
                    continue
                value = shared[column.name]
                if column.kind is Kind.TIME and value is not None:
                    value = datetime.fromisoformat(value)
                one = pa.scalar(value, field.type)
                arrays.append(pa.repeat(one, len(samples)))
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write_process


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - optional
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a .parquet file needs {error.name}: {INSTALL}, or write a .csv file"
        ) from error
    return pa, pq


#: How to write each form, by the ending of the file's name.
FORMS: dict[str, Callable[[Path], AbstractContextManager[_Write]]] = {
    "csv": _csv,
    "parquet": _parquet,
    "jsonl": _json_lines,
    "json": _json_array,
}
