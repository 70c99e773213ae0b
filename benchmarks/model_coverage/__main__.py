#!/usr/bin/env python3
"""A count of the networks of pytorchcv and timm that become graphs that compute the same, counted.

    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage
    PYTHONPATH=benchmarks .venv/bin/python -m model_coverage --source timm --only resnet18

Every network runs in a process of its own, one after the other on one core, with weights and
statistics drawn at random, at 224x224 or what it asks for if that is smaller. Two stages are
counted: it was read, and the interpreter of graphs computes what the module does. What is left out
is listed with its reason; ``--json`` keeps everything.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import platformdirs
import torch

from model_coverage.networks import Network, pytorchcv_networks, timm_networks
from model_coverage.stages import STAGES, Finding, examine


def main() -> int:
    """Examine the networks, print the counts and what was left out."""
    given = _parser().parse_args()
    torch.set_num_threads(1)
    networks = [one for source in given.source for one in _networks(source)]
    if given.only:
        networks = [one for one in networks if one.name in given.only]
    findings: list[Finding] = []
    for network in networks:
        finding = _in_own_process(network, given)
        findings.append(finding)
        print(f"{finding.name:32} {finding.reached:12} {finding.secs:6.1f} s  {finding.reason}")
        sys.stdout.flush()
    print()
    for line in _summary(findings):
        print(line)
    if given.json:
        text = json.dumps([asdict(one) for one in findings], indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Networks of others that become graphs.", allow_abbrev=False
    )
    add = parser.add_argument
    sources = ["pytorchcv", "timm"]
    add("--source", type=_words, default=sources, help="pytorchcv, timm, or both (default)")
    add("--only", type=_words, help="only the networks of these names")
    add("--side", type=int, default=224, help="largest height and width of the images")
    add("--timeout-secs", type=float, default=300.0, help="for each network")
    add("--memory-gib", type=float, default=8.0, help="address space of each network's process")
    add("--json", type=Path, help="keep every finding in this file")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _networks(source: str) -> list[Network]:
    if source == "timm":
        folder = Path(platformdirs.user_cache_dir("shufflenet-deploy")) / "timm"
        return list(timm_networks(folder))
    return list(pytorchcv_networks())


def _in_own_process(network: Network, given: argparse.Namespace) -> Finding:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(network, sender, given))
    process.start()
    sender.close()
    try:
        if not receiver.poll(given.timeout_secs):
            return Finding.lost(network, f"took more than {given.timeout_secs:.0f} s")
        finding: Finding = receiver.recv()
    except EOFError:
        return Finding.lost(network, "its process ended without an answer")
    finally:
        process.kill()
        process.join()
    return finding


def _send(
    network: Network, sender: multiprocessing.connection.Connection, given: argparse.Namespace
) -> None:
    limit = int(given.memory_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    sender.send(examine(network, given.side))


def _summary(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for source in sorted({one.source for one in findings}):
        for classifier, kind in ((True, "classifiers"), (False, "other networks")):
            of_kind = [
                one
                for one in findings
                if one.source == source and one.classifier == classifier and one.counts
            ]
            if not of_kind:
                continue
            parts = []
            for stage in STAGES:
                count = sum(one.passed(stage) for one in of_kind)
                parts.append(f"{stage} {count} ({100 * count / len(of_kind):.1f} %)")
            lines.append(f"{source}, {len(of_kind)} {kind}: {', '.join(parts)}")
    left_out = [one for one in findings if one.reason]
    lines += ["", f"Left out, {len(left_out)}:"] if left_out else []
    lines += [f"  {one.name} ({one.source}): {one.reason}" for one in left_out]
    return lines


if __name__ == "__main__":
    sys.exit(main())
