"""Holds `predict` to latencies that others published of ncnn: 98 of one thread, 91 of several.

    python benchmarks/prediction --params ncnn/benchmark            # every figure: 40 minutes
    python benchmarks/prediction --params ncnn/benchmark --network shufflenet --core cortex-a72
    python benchmarks/prediction --params ncnn/benchmark --threads 4
    python benchmarks/prediction --params ncnn/benchmark --network mobilenet --keep FOLDER

Each figure is predicted with the ncnn wheel of its date, under a Python of Debian's ARM packages,
as ncnn's own benchmark does it: zeroed weights, its options, the smallest of its times.
``--params`` is the folder ``benchmark`` of ncnn's sources. What was counted before is not counted
again. ``--keep`` writes the counts of one thread, as ``tests/data/prediction`` has them of three
networks. The exit code is 1 when the table is worse than ``--median`` and ``--within`` allow.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kept_counts
from ncnn_guest import Guest

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.cores import core
from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.predict import boards, counting, parallel, plugin
from shufflenet_deploy.predict.caches import Caches
from shufflenet_deploy.predict.latency import Memory, predicted, timed

HERE = Path(__file__).parent
_GETPPID = 173
_SIDES = {"alexnet": 227, "squeezenet": 227}
#: Figures whose caches are not those of the generic board with their core.
_CARDS = {"RK3588": "rk3588-big"}


@dataclass(frozen=True)
class Figure:
    """One published latency, and the board it is of."""

    network: str
    row: dict[str, Any]
    threads: int = 1

    @property
    def measured_ms(self) -> float:
        """The published figure."""
        return float(_published(self.row, self.threads)[self.network])

    @property
    def caches(self) -> Caches:
        """The caches of its board."""
        special = (card for part, card in _CARDS.items() if part in self.row["board"])
        return boards.board(next(special, f"generic-{self.row['core']}")).caches

    @property
    def memory(self) -> Memory:
        """The clock and memory of its board."""
        return Memory(clock_ghz=self.row["ghz"], **self.row["memory"])


def _published(row: dict[str, Any], threads: int) -> dict[str, float]:
    found = row["ms_min"] if threads == 1 else row.get("ms_min_threads", {}).get(str(threads), {})
    return dict(found)


def figures(networks: list[str], cores: list[str], threads: int) -> Iterator[Figure]:
    """Those that were asked for, network by network."""
    rows = json.loads((HERE / "public_figures.json").read_text())["rows"]
    for network in networks or dict.fromkeys(name for row in rows for name in row["ms_min"]):
        for row in rows:
            wanted = not cores or row["core"] in cores
            if wanted and network in _published(row, threads):
                yield Figure(network, row, threads)


def hierarchies(figure: Figure) -> list[Caches]:
    """The caches of all boards on which a figure's very program runs: one run is for all."""
    decides = ("core", "ncnn_wheel", "precision")
    alike = [
        other.caches
        for other in figures([figure.network], [figure.row["core"]], figure.threads)
        if all(other.row[key] == figure.row[key] for key in decides)
    ]
    return list(dict.fromkeys(alike))


def predicted_ms(
    figure: Figure, params: Path, qemu: plugin.Emulator, kept: Path | None = None
) -> float:
    """The model's prediction of a figure; its counts are written to the folder ``kept``."""
    row, model = figure.row, core(figure.row["core"])
    guest = Guest.of_date(row["ncnn_wheel"])
    network = params / f"{figure.network}.param"
    if not network.exists():
        network = params / "models" / network.name
    side = str(_SIDES.get(figure.network, 224))
    threads, shim = figure.threads, plugin.openmp_by_turns()
    execution = counting.Execution(
        title=f"{figure.network} in ncnn of {row['ncnn_wheel']}",
        argv=(
            *guest.argv,
            "worker.py",
            "site",
            "network.param",
            side,
            row["precision"],
            str(threads),
        ),
        files={
            "system": guest.system,
            "site": guest.site / "ncnn",
            "worker.py": HERE / "ncnn_worker.py",
            "network.param": network,
            plugin.OPENMP_BY_TURNS: shim,
        },
        sha256=f"{guest.identity} {sha256_file(network)} {sha256_file(HERE / 'ncnn_worker.py')}"
        f" {shim.name if threads > 1 else ''}",
        marker=_GETPPID,
        root=guest.system,
        threads=threads,
        preloaded=plugin.OPENMP_BY_TURNS if threads > 1 else "",
    )
    if threads > 1:
        turns = counting.count_turns(execution, model, hierarchies(figure), qemu)[figure.caches]
        inference = parallel.inference(turns, model, meetings=2)
        return inference.predicted(model, figure.memory).total_ns / 1e6
    counts = counting.count(execution, model, hierarchies(figure), qemu)[figure.caches]
    if kept:
        kept_counts.keep(counts, kept / f"{figure.network}-{row['core']}-{row['ncnn_wheel']}.gz")
    return predicted(timed(counts, model), model, figure.memory).total_ns / 1e6


def main() -> int:
    """Predict, print every figure and the summary; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--params", type=Path, required=True, help="ncnn's folder benchmark")
    parser.add_argument("--network", action="append", default=[], help="only this one")
    parser.add_argument("--core", action="append", default=[], help="only this one")
    parser.add_argument("--median", type=float, default=0.08, help="largest median error")
    parser.add_argument("--within", type=float, default=0.94, help="least share within 25 %%")
    parser.add_argument("--threads", type=int, default=1, help="published for so many")
    parser.add_argument("--keep", type=Path, help="write counts of one thread to this folder")
    options = parser.parse_args()
    qemu, errors = plugin.emulator(), []
    for figure in figures(options.network, options.core, options.threads):
        try:
            ours = predicted_ms(figure, options.params, qemu, options.keep)
        except (DeployError, OSError) as error:
            print(f"error: {figure.network}, {figure.row['board']}: {error}", file=sys.stderr)
            return 1
        error_share = ours / figure.measured_ms - 1
        errors.append(error_share)
        print(
            f"{figure.network:13} {figure.row['core']:11} {figure.row['ghz']:.1f} GHz"
            f"  predicted {ours:7.2f} ms  published {figure.measured_ms:7.2f} ms"
            f"  {error_share:+5.0%}  {figure.row['board'][:44]}",
            flush=True,
        )
    if not errors:
        print("error: no figure is of that network and core", file=sys.stderr)
        return 2
    sizes = sorted(map(abs, errors))
    median, within = statistics.median(sizes), sum(one <= 0.25 for one in sizes) / len(sizes)
    print(
        f"{len(sizes)} figures: median error {median:.1%}, 80 % within"
        f" {sizes[math.ceil(0.8 * len(sizes)) - 1]:.0%}, {within:.0%} within 25 %,"
        f" largest {sizes[-1]:.0%}"
    )
    return int(median > options.median or within < options.within)


if __name__ == "__main__":
    sys.exit(main())
