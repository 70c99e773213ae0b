"""How long commands take over a large journal: ``python benchmarks/journal_scale --runs 100000``.

Fills an empty journal with a lab's history (boards that are each measured every night, 51 runs a
suite) and one suite of 500 cells, then calls the commands as a user does. It prints the best of
several calls: seconds in all, of the processor in the command's own process, and those in which a
PostgreSQL server executed its statements; and the load of the machine meanwhile, on which the first
and the last depend.

    python benchmarks/journal_scale --runs 100000 --journal /tmp/large.sqlite
    python benchmarks/journal_scale --runs 1000000 --journal postgresql://user@host/empty
    python benchmarks/journal_scale --measure-only --journal /tmp/large.sqlite
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

CHECKOUT = Path(__file__).parents[2]
sys.path[:0] = [str(CHECKOUT / "tests" / "builders"), str(CHECKOUT)]

import sample_runs  # noqa: E402

from shufflenet_deploy.journal import Journal, schema, suites  # noqa: E402
from shufflenet_deploy.journal.cells import MeasuredCell  # noqa: E402
from shufflenet_deploy.journal.rows import run_row  # noqa: E402
from shufflenet_deploy.records import Run  # noqa: E402

BOARDS, CELLS, PROCESSES, WIDE_CELLS = 20, 17, 3, 500
SUITE_RUNS = CELLS * PROCESSES
#: Placeholders in a stored run; as long as nothing else in it is.
SUITE, NAME = "@suite@", "@name@"
BEGAN = datetime(2023, 1, 1, 2, tzinfo=UTC)
BATCH = 5_000
COMMANDS: dict[str, tuple[str, ...]] = {
    "runs list": ("runs", "list"),
    "runs list --limit 1000": ("runs", "list", "--limit", "1000"),
    "table --suite last": ("table", "--suite", "last"),
    "history of one cell": (
        *("history", "--host", "board-00", "--model", "shufflenet-g3-0.5x"),
        *("--resolution", "224x224"),
    ),
    f"report of {WIDE_CELLS} cells": ("report", "--suite", "wide", "--out", "OUT"),
}


@dataclass(frozen=True)
class Template:
    """A run of which copies are stored: its columns, and its JSON around what differs."""

    row: dict[str, Any]
    samples: str
    median: float

    @classmethod
    def of(cls, run: Run) -> Template:
        """The template of a run, whose samples are replaced in its copies."""
        row = run_row(run)
        samples = json.dumps(
            run.model_dump(mode="json")["outcome"]["samples"], separators=(",", ":")
        )
        assert samples in row["record"]
        return cls(row, samples, float(np.median(run.outcome.samples)))  # type: ignore[union-attr]

    def copy(
        self, suite: str, name: str, at: datetime, generator: np.random.Generator
    ) -> dict[str, Any]:
        """A row of its own suite, id, moment and samples."""
        count = int(generator.integers(30, 120))
        drawn = self.median * np.exp(generator.normal(0.0, 0.01, count))
        samples = f"[{','.join(map(str, drawn.astype(int).tolist()))}]"
        moment = f"{at:%Y-%m-%dT%H:%M:%S}"
        record = self.row["record"].replace(SUITE, suite).replace(NAME, name)
        record = record.replace("2026-11-24T09:30:00", moment).replace(self.samples, samples)
        return {
            **self.row,
            "suite": suite,
            "id": name,
            "started_at": f"{moment}+00:00",
            "record": record,
        }


def templates(host: str, cells: int) -> Iterator[list[Template]]:
    """The processes of each cell of a board."""
    target = sample_runs.PI.model_copy(update={"host": host})
    models, sizes = [*sample_runs.MEGA], ("224x224", "192x192", "160x160", "128x128")
    for number in range(cells):
        model = models[number % len(models)]
        size = sizes[number // len(models) % len(sizes)]
        options = {"variant": str(number)} if cells > len(models) * len(sizes) else {}
        if model == "alexnet":
            options = {}
        runs = [
            sample_runs.run(
                model, resolution=size, suite=SUITE, target=target, options=options, process=0
            )
            for _ in range(PROCESSES)
        ]
        yield [
            Template.of(
                run.model_copy(
                    update={"id": NAME, "process": process, "started_at": sample_runs.START}
                )
            )
            for process, run in enumerate(runs)
        ]


def nights(runs: int) -> Iterator[dict[str, Any]]:
    """Rows of runs, night after night and board after board."""
    generator = np.random.default_rng(0)
    boards = {
        f"board-{number:02}": [*templates(f"board-{number:02}", CELLS)] for number in range(BOARDS)
    }
    made = night = 0
    while made < runs:
        for host, cells in boards.items():
            suite = f"night-{night:05}-{host}"
            for number, processes in enumerate(cells):
                for process, template in enumerate(processes):
                    at = BEGAN + timedelta(days=night, seconds=60 * process + number)
                    yield template.copy(suite, f"{made:x}", at, generator)
                    made += 1
        night += 1


def wide() -> Iterator[dict[str, Any]]:
    """Rows of one suite of many cells, which is the oldest."""
    generator = np.random.default_rng(1)
    for number, processes in enumerate(templates("wide-board", WIDE_CELLS)):
        for process, template in enumerate(processes):
            at = BEGAN - timedelta(days=1) + timedelta(seconds=60 * process)
            yield template.copy("wide", f"wide-{number}-{process}", at, generator)


def fill(location: str, runs: int) -> None:
    """Store all rows in the fastest way that the database has."""
    with Journal(location) as journal:
        if journal.suites():
            sys.exit(f"{journal.location} is not empty")
        engine = journal._engine  # noqa: SLF001 - past the journal, which would take hours
        began, stored, cells, notes = time.monotonic(), 0, {}, {}
        for batch in batched(rows_of(runs), BATCH):
            for row in batch:
                if row["cell"] not in cells:
                    run = Run.model_validate_json(row["record"])
                    cells[row["cell"]] = MeasuredCell.of(run).row
                notes.setdefault(row["suite"], note(row))
            store(engine, batch)
            stored += len(batch)
            print(f"\r{stored} runs in {time.monotonic() - began:.0f} s", end="", file=sys.stderr)
        with engine.begin() as connection:
            connection.execute(schema.cells.insert(), [*cells.values()])
            connection.execute(schema.suites.insert(), [*notes.values()])
            suites.recount(connection)
        if engine.dialect.name == "postgresql":
            # As the server itself does some time after so many rows are new.
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")
        print(file=sys.stderr)


def rows_of(runs: int) -> Iterator[dict[str, Any]]:
    """Rows of everything."""
    yield from wide()
    yield from nights(runs)


def note(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a suite."""
    definition = '{"baseline": "alexnet"}'
    return {
        "id": row["suite"],
        "name": "nightly",
        "host": row["host"],
        "created_at": row["started_at"],
        "definition": definition,
        "imported": 0,
    }


def store(engine: sa.Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Store some rows: COPY in PostgreSQL."""
    if engine.dialect.name != "postgresql":
        with engine.execution_options(writes=True).begin() as connection:
            connection.execute(schema.runs.insert(), list(rows))
        return
    names = [*rows[0]]
    raw = engine.raw_connection()
    try:
        with (
            raw.cursor() as cursor,
            cursor.copy(f"COPY runs ({', '.join(names)}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row([row[name] for name in names])
        raw.commit()
    finally:
        raw.close()


def batched(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """Parts of that many rows."""
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def measure(location: str, calls: int) -> None:
    """Call every command, and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.html"
        for name, words in COMMANDS.items():
            argv = [str(out) if word == "OUT" else word for word in words]
            took = [called(argv, location) for _ in range(calls)]
            wall, processor, server = map(min, zip(*took, strict=True))
            size = f", {out.stat().st_size / 1e6:.2f} MB" if "OUT" in words else ""
            served = f", {server:6.2f} s of the server" if "postgresql" in location else ""
            used = f"{wall:6.2f} s, {processor:6.2f} s of the processor{served}"
            print(f"{name:<24} {used}{size}, load {os.getloadavg()[0]:.1f}", flush=True)


def executed(location: str) -> float:
    """Seconds in which a PostgreSQL server has executed statements for a database so far."""
    if "postgresql" not in location:
        return 0.0
    time.sleep(1.0)  # A session tells its time a moment after its end.
    with Journal(location) as journal, journal._engine.connect() as connection:  # noqa: SLF001
        asked = sa.text(
            "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
        )
        return float(connection.scalar(asked)) / 1e3


def called(argv: Sequence[str], location: str) -> tuple[float, float, float]:
    """Seconds of one call, those of its processor and those of the server."""
    served = executed(location)
    words = [*argv, "--journal", location]
    before, began = os.times(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "shufflenet_deploy", *words],
        check=False,
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    took, after = time.monotonic() - began, os.times()
    if done.returncode not in {0, 1} or "error" in done.stderr:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    return took, processor, executed(location) - served


def main() -> None:
    """Fill and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--journal", required=True, help="an empty one")
    parser.add_argument("--calls", type=int, default=3, help="the best of so many counts")
    parser.add_argument("--measure-only", action="store_true", help="the journal is filled already")
    asked = parser.parse_args()
    steps: list[Callable[[], None]] = [lambda: measure(asked.journal, asked.calls)]
    if not asked.measure_only:
        steps.insert(0, lambda: fill(asked.journal, asked.runs))
    for step in steps:
        step()


if __name__ == "__main__":
    main()
