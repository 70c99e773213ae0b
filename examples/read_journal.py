"""Read a journal: every run with its raw samples, and statistics derived from them.

python examples/read_journal.py [JOURNAL]
"""

from __future__ import annotations

import sys

from shufflenet_deploy import stats
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Run
from shufflenet_deploy.stats.attempts import CellRuns

#: The samples of each model in one setting: the nanoseconds of one process after the other.
Samples = dict[str, list[tuple[int, ...]]]


def by_setting(runs: list[Run]) -> dict[str, Samples]:
    """Group the samples of counted attempts by setting, then by model."""
    cells: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        cell = run.cell
        setting = f"{cell.runtime} {cell.precision.value} {cell.resolution} x{cell.threads}"
        cells.setdefault((setting, cell.model), []).append(run)
    found: dict[str, Samples] = {}
    for (setting, model), attempts in cells.items():
        processes = stats.samples_of(CellRuns.of(attempts).kept)
        if processes:
            found.setdefault(setting, {})[model] = processes
    return found


def main(location: str | None = None) -> None:
    """Print the models of every suite, each with the interval of its speedup over the slowest."""
    with Journal(location) as journal:
        for row in journal.suites():
            print(
                f"{row.id} on {row.host}: {row.measurements} measurements, {row.failures} failures"
            )
            for setting, samples in by_setting(journal.runs(row.id, every=True)).items():
                print(f"  {setting}")
                slowest = max(samples, key=lambda model: stats.center(samples[model]))
                for model, processes in samples.items():
                    count = sum(map(len, processes))
                    line = f"{model}: {stats.center(processes) / 1e6:.3f} ms, {count} samples"
                    if model != slowest:
                        speedup = stats.speedup_interval(samples[slowest], processes)
                        line += f", {speedup.estimate:.2f}x ({speedup.low:.2f}-{speedup.high:.2f})"
                    print(f"    {line}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except DeployError as error:
        sys.exit(f"error: {error}")
