#!/usr/bin/env python3
"""A count of the networks of pytorchcv and timm that become graphs and files that compute the same.

    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage --json found.jsonl
    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage --source timm --only resnet18
    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage --json found.jsonl --resume
    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage --markdown docs/coverage.md

Every network runs in processes of its own, with weights and statistics drawn at random, at 224x224
or what it asks for if that is smaller. ``findings.STAGES`` are counted. What is left out is listed
with its reason; ``--json`` keeps every finding as soon as it is known, and ``--resume`` goes on.
The page is written from ``findings.jsonl`` beside this file, and nothing is run for it, unless
``--json`` names another file.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from model_coverage.findings import BUILT, KEPT, STAGES, Findings
from model_coverage.networks import Network, find_timm, pytorchcv_networks, timm_networks
from model_coverage.page import left_out, markdown, not_counted, summary
from model_coverage.processes import Limits, findings
from shufflenet_deploy.codegen import cpu_target_named

_NETWORKS = {"pytorchcv": pytorchcv_networks, "timm": timm_networks}


def main() -> int:
    """Examine the networks, print the counts and what was left out."""
    given = _parser().parse_args()
    if given.markdown and not given.json:
        given.json, given.resume, given.stages = KEPT, True, ()
    if given.json and given.json.is_file() and not (given.resume or given.retry):
        print(f"{given.json} exists: go on with --resume, or name another file", file=sys.stderr)
        return 2
    if "timm" in given.source and given.stages:
        find_timm()
    networks = [one for source in given.source for one in _NETWORKS[source]()]
    networks.sort(key=lambda network: not network.classifier)
    if given.only:
        networks = [one for one in networks if one.name in given.only]
    known = Findings(given.json)
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda network: _examine(network, known, given), networks))
    found = known.of(networks)
    print("", *summary(found), "", *left_out(found), "", *not_counted(found), sep="\n")
    if given.markdown:
        machine = cpu_target_named("host").name
        given.markdown.write_text(markdown(found, machine), encoding="utf-8")
    return 0


def _examine(network: Network, known: Findings, given: argparse.Namespace) -> None:
    limits = Limits(
        side=given.side,
        timeout_secs=given.timeout_secs,
        memory_bytes=int(given.memory_gib * 2**30),
    )
    asked = [one for one in given.stages if one in STAGES]
    for one in findings(
        network, known.stages_left(network, stages=asked, retry=given.retry), limits
    ):
        known.add(one)
        verdict = "passed" if one.passed else "not counted" if one.stage == BUILT else "FAILED"
        print(f"{one.name:32} {one.stage:12} {verdict:11} {one.secs:6.1f} s  {one.reason}")
        sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Networks of others that become graphs and files.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--source", type=_words, default=list(_NETWORKS), help="pytorchcv, timm, or both (default)")
    add("--only", type=_words, help="only the networks of these names")
    add("--stages", type=_words, default=STAGES, help=f"of {', '.join(STAGES)}")
    add("--side", type=int, default=224, help="largest height and width of the images")
    add("--jobs", type=int, default=1, help="networks at a time")
    add("--timeout-secs", type=float, default=600.0, help="for each stage of a network")
    add("--memory-gib", type=float, default=8.0, help="address space of each process")
    add("--json", type=Path, help="keep every finding in this file, a line each")
    add("--resume", action="store_true", help="go on with the file of --json")
    add("--retry", action="store_true", help="the same, and try again what failed")
    add("--markdown", type=Path, help="write the page of the figures that are kept to this file")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
