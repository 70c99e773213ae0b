"""Counts of inferences in several runtimes: kept at once, gone on with, and compared on a page."""

from __future__ import annotations

from pathlib import Path

from runtime_counts.counts import Cell, Counted, ratio
from runtime_counts.networks import NETWORKS
from runtime_counts.page import markdown, table

FIRST, SECOND = NETWORKS[:2]


def cell(network: str, runtime: str, millions: float, precision: str = "fp32") -> Cell:
    return Cell(
        network=network,
        runtime=runtime,
        precision=precision,
        resolution="96x96",
        version="" if runtime == "native" else "1.2",
        instructions=int(millions * 1e6),
        multiply_adds=32_000_000,
    )


def test_counts_are_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "counts.jsonl"
    for one in (cell(FIRST.name, "native", 12), cell(FIRST.name, "ncnn", 20)):
        Counted(path, 96).add(one)
    known = Counted(path, 96)
    assert list(known.of(FIRST, "fp32")) == ["native", "ncnn"]
    assert known.get(SECOND, "native", "fp32") is None
    assert Counted(path, 224).get(FIRST, "native", "fp32") is None
    known.add(cell(FIRST.name, "native", 10))
    known.add(cell(FIRST.name, "native", 10))
    assert len(path.read_text().splitlines()) == 3
    assert ratio(Counted(path, 96).of(FIRST, "fp32")) == 0.5


def test_the_page_compares_with_the_best_of_the_others(tmp_path: Path) -> None:
    known = Counted(tmp_path / "counts.jsonl", 96)
    for one in (
        cell(FIRST.name, "native", 10),
        cell(FIRST.name, "litert", 40),
        cell(FIRST.name, "mnn", 20),
        cell(SECOND.name, "native", 16),
        cell(SECOND.name, "ncnn", 8),
        cell(FIRST.name, "native", 4, "int8"),
    ):
        known.add(one)
    fp32 = list(table(known, NETWORKS, "fp32"))
    assert fp32[2:] == [
        f"| {FIRST.title} | 10.0 | 40.0 |  | 20.0 |  | 0.50 | 80% |",
        f"| {SECOND.title} | 16.0 |  |  |  | 8.0 | 2.00 | 50% |",
        "| geometric mean | | | | | | 1.00 | |",
    ]
    int8 = list(table(known, NETWORKS, "int8"))
    assert int8[2:] == [f"| {FIRST.title} | 4.0 |  |  |  |  | 50% |"]
    page = markdown(known)
    assert "litert 1.2, mnn 1.2, ncnn 1.2" in page
    assert "96x96" in page
