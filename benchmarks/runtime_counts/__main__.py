#!/usr/bin/env python3
"""Instructions of one inference on a Cortex-A76, in our programs and in four other runtimes.

    PYTHONPATH=benchmarks .venv/bin/python -m runtime_counts --json counts.jsonl
    PYTHONPATH=benchmarks .venv/bin/python -m runtime_counts --json counts.jsonl --only resnet-18
    PYTHONPATH=benchmarks .venv/bin/python -m runtime_counts --json counts.jsonl \
        --counted --markdown docs/counts.md

What counts is `predict`: one steady inference of one thread under QEMU's user emulation, the same
on every host. What is in the file of ``--json`` is not counted again, but for our own programs,
whose counts are looked up by their contents. Several of these may run at a time on one file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_coverage.networks import find_timm

from runtime_counts.counts import NATIVE, PRECISIONS, RUNTIMES, Cell, Counted
from runtime_counts.networks import NETWORKS, Network
from runtime_counts.page import markdown, table
from shufflenet_deploy import predict
from shufflenet_deploy.predict import boards
from shufflenet_deploy.records import Precision, Resolution

_CORE = "cortex-a76"


def main() -> int:
    """Count what is missing, and print the tables."""
    given = _parser().parse_args()
    networks = [one for one in NETWORKS if not given.only or one.name in given.only]
    known = Counted(given.json, given.side)
    if not given.counted:
        find_timm()
        for network in networks:
            for precision in given.precision:
                _count(network, precision, known, given)
    for precision in PRECISIONS:
        print("", *table(known, networks, precision), sep="\n")
    if given.markdown:
        given.markdown.write_text(markdown(known), encoding="utf-8")
    return 0


def _count(network: Network, precision: str, known: Counted, given: argparse.Namespace) -> None:
    """Count a network in the runtimes that it was not counted in, and anew in ours."""
    runtimes = [
        one
        for one in RUNTIMES[precision]
        if one in given.runtime and (one == NATIVE or known.get(network, one, precision) is None)
    ]
    if not runtimes:
        return
    plan = predict.Plan(
        boards=(boards.board_of_core(_CORE),),
        models=(network.reference(given.side),),
        runtimes=tuple(runtimes),
        precisions=(Precision(precision),),
        resolution=Resolution.parse(known.resolution),
    )
    result = predict.predict(plan, out=given.artifacts, on_stage=_tell)
    for found in result.predictions:
        cell = Cell(
            network=network.name,
            runtime=found.runtime,
            precision=precision,
            resolution=known.resolution,
            version=found.version,
            instructions=found.instructions,
            multiply_adds=found.multiply_adds,
        )
        known.add(cell)
        print(f"{network.name:20} {cell.runtime:12} {precision} {cell.instructions:>13,}")
    for problem in result.problems:
        print(f"{network.name:20} {problem}")
    sys.stdout.flush()


def _tell(stage: str) -> None:
    print(f"{stage}...", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Instructions of an inference in every runtime.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--json", type=Path, required=True, help="keep every count in this file, a line each")
    add("--only", type=_words, help=f"of {', '.join(one.name for one in NETWORKS)}")
    add("--precision", type=_words, default=list(PRECISIONS), help="fp32, int8, or both (default)")
    add("--runtime", type=_words, default=RUNTIMES["fp32"], help="all by default")
    add("--side", type=int, default=112, help="height and width of the images")
    add("--artifacts", type=Path, default=Path("artifacts"), help="folder of exported files")
    add("--counted", action="store_true", help="count nothing: print what was")
    add("--markdown", type=Path, help="write the page of the figures to this file")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
