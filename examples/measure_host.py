"""Measure two small networks on a host, and print the speedup table as Markdown.

    python examples/measure_host.py HOST JOURNAL FOLDER

HOST is what follows ``--host``: local, user@host[:port], an ssh alias, adb[:SERIAL], board[:NAME].
"""

from __future__ import annotations

import sys

import shufflenet_deploy as sd
from shufflenet_deploy.bench import Event, Finished
from shufflenet_deploy.errors import DeployError

SUITE = {
    "models": ["shufflenet-g3-0.25x"],
    "baseline": "shufflenet-g3-0.25x-noshuffle",
    "runtimes": ["litert"],
    "resolutions": ["32x32"],
    # Short, to show the steps. For figures, leave both out: the defaults are the protocol's.
    "retries": 0,
    "spec": {"processes": 2, "warmup_runs": 2, "warmup_secs": 0, "min_runs": 5, "min_secs": 0},
}


def show(event: Event) -> None:
    """Print one line for each process that has ended."""
    if isinstance(event, Finished):
        print(f"{event.run.cell.model}: {event.run.kind}", file=sys.stderr)


def main(host: str, journal: str, folder: str) -> None:
    """Measure, then render what the journal holds."""
    result = sd.bench(SUITE, host=host, journal=journal, artifacts=folder, on_event=show)
    print(f"suite {result.suite_id}: {len(result.runs)} runs, {len(result.failures)} failed")
    print(sd.table(result.suite_id, form="md", journal=journal))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except DeployError as error:
        sys.exit(f"error: {error}")
