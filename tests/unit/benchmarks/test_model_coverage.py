"""Findings on others' networks: kept at once, gone on with, and counted on a page."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from model_coverage.findings import BUILT, KEPT, READ_BACK, Finding, Findings
from model_coverage.networks import TIMM_NETWORKS, Network, pytorchcv_networks, timm_networks
from model_coverage.page import markdown
from model_coverage.processes import Limits, ending, findings

NET = Network("pytorchcv", "resnet10")
BIG = Network("timm", "enormous")
LIMITS = Limits(side=32, timeout_secs=120, memory_bytes=8 << 30)


def finding(network: Network, stage: str, reason: str = "") -> Finding:
    return Finding(
        source=network.source,
        name=network.name,
        classifier=network.classifier,
        stage=stage,
        passed=not reason,
        reason=reason,
        size="96x96",
        date="2026-12-01",
    )


def test_findings_are_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    for one in (finding(NET, "graph"), finding(NET, "tflite", "no"), finding(BIG, BUILT, "large")):
        Findings(path).add(one)
    known = Findings(path)
    stages = ("graph", "tflite", "native")
    assert known.stages_left(NET, stages=stages, retry=False) == ["native"]
    assert known.stages_left(NET, stages=stages, retry=True) == ["tflite", "native"]
    assert known.stages_left(BIG, stages=stages, retry=True) == []
    known.add(finding(NET, "tflite"))
    assert Findings(path).stages_left(NET, stages=stages, retry=True) == ["native"]


def test_the_page_counts_and_names_what_is_left_out(tmp_path: Path) -> None:
    known = Findings(None)
    reason = "cannot export pytorchcv-resnet10: a | b"
    for one in (finding(NET, "graph"), finding(NET, "tflite", reason), finding(BIG, BUILT, "big")):
        known.add(one)
    page = markdown(known.of([NET, BIG]), "a machine")
    assert "| pytorchcv, classifiers | 1 | 1 (100.0 %) |  |  | 0 (0.0 %) |  |  |" in page
    assert "| resnet10 | pytorchcv | TFLite | a \\| b |" in page
    assert "| enormous | timm | big |" in page
    assert "drawn, too" not in page
    known.add(replace(finding(NET, "graph"), date=READ_BACK))
    assert "they are drawn, too" in markdown(known.of([NET]), "a machine")


def test_the_page_in_docs_is_that_of_the_findings_beside_the_program() -> None:
    networks = [*pytorchcv_networks(), *timm_networks()]
    networks.sort(key=lambda network: not network.classifier)
    shown = (Path(__file__).parents[3] / "docs" / "coverage.md").read_text(encoding="utf-8")
    machine = re.search(r"run\non (\S+)\. A figure", shown)
    assert machine is not None
    assert markdown(Findings(KEPT).of(networks), machine[1]) == shown


def test_sixty_of_timm_and_the_first_of_each_family() -> None:
    assert len(set(TIMM_NETWORKS)) == 60
    names = [one.name for one in pytorchcv_networks()]
    assert len(names) == len(set(names)) > 100


def test_a_network_in_a_process_of_its_own() -> None:
    found = list(findings(NET, ["graph", "interpreter"], LIMITS))
    assert [(one.stage, one.passed, one.reason) for one in found] == [
        ("graph", True, ""),
        ("interpreter", True, ""),
    ]


def test_what_takes_too_long_or_too_much_is_a_finding() -> None:
    (late,) = findings(NET, ["graph"], replace(LIMITS, timeout_secs=0.01))
    assert (late.passed, late.reason) == (False, "took more than 0 s")


def test_a_process_that_ends_by_itself_says_how() -> None:
    assert ending(-9) == "by SIGKILL"
    assert ending(1) == "with status 1, as without memory"
