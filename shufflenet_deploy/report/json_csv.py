"""The table for machines: JSON complete and versioned, CSV tidy with one line per cell."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from typing import Any

from shufflenet_deploy.report import numerals
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, CellEnergy, PredictedFigure, Row, TableCell


def as_json(table: Table) -> str:
    """The whole table; raw samples stay in the journal (``runs export``)."""
    return table.model_dump_json(indent=2) + "\n"


def as_csv(table: Table) -> str:
    """One line per cell: every number in raw units (``unit``), and the conditions around it."""
    stream = StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    lines = [_line(block, row, entry) for block in table.blocks for row, entry in block.entries()]
    if lines:
        writer.writerow(lines[0])
    writer.writerows(map(_written, line.values()) for line in lines)
    return stream.getvalue()


def _written(value: Any) -> Any:
    return numerals.plain(value) if isinstance(value, float) else value


def _line(block: Block, row: Row, entry: TableCell) -> dict[str, Any]:
    setting = block.setting.model_dump(mode="json")
    setting["cpus"] = _joined(map(str, block.setting.cpus or ()))
    return {
        **setting,
        "governors": _joined(block.governors),
        "started_at": block.started_at.isoformat(),
        "ended_at": block.ended_at.isoformat(),
        "tool": _joined(f"{name}={value}" for name, value in block.tool.items()),
        "model": row.model,
        "options": _joined(f"{name}={value}" for name, value in row.options.items()),
        "title": row.title,
        "baseline": block.baseline,
        "is_baseline": row.is_baseline,
        "trained": row.trained,
        "resolution": str(entry.resolution),
        "multiply_adds": entry.multiply_adds,
        "unit": block.setting.metric.unit,
        **_statistics(entry),
        "theoretical_speedup": entry.theoretical_speedup,
        "instruction_efficiency": entry.instruction_efficiency,
        "paper_latency_ms": entry.paper_latency_ms,
        "paper_speedup": entry.paper_speedup,
        "paper_map_percent": entry.paper_map_percent,
        "paper_top1_error_percent": row.paper_top1_error_percent,
        **_error(row),
        "paper_mega_multiply_adds": row.paper_mega_multiply_adds,
        **_footprint(entry),
        **_energy(entry),
        **predicted(entry.predictions),
        "stability": entry.stability,
        "causes": _joined(flaw.cause for flaw in entry.flaws),
        "failure": entry.failure.kind.value if entry.failure else None,
        "failure_message": entry.failure.message if entry.failure else None,
        "notes": _joined(block.notes[mark - 1] for mark in (*row.marks, *entry.marks)),
        "processes": len(entry.processes),
        **_made_of(entry),
    }


def _statistics(entry: TableCell) -> dict[str, Any]:
    estimate, speedup = entry.estimate, entry.speedup
    names = ("median", "low", "high", "p10", "p90", "p99", "minimum", "maximum", "mad")
    counts = ("samples", "outliers")
    ratios = ("ratio", "low", "high", "distinguishable")
    return {
        **{name: getattr(estimate, name, None) for name in (*names, *counts)},
        **{f"speedup_{name}": getattr(speedup, name, None) for name in ratios},
    }


def _footprint(entry: TableCell) -> dict[str, Any]:
    """Its file is ``artifact_bytes``."""
    names = ("arena_bytes", "peak_rss_bytes", "model_rss_bytes", "load", "first")
    return {name: getattr(entry.footprint, name, None) for name in names}


def _energy(entry: TableCell) -> dict[str, Any]:
    return {f"energy_{name}": getattr(entry.energy, name, None) for name in CellEnergy.model_fields}


def predicted(predictions: Sequence[PredictedFigure]) -> dict[str, Any]:
    """What was not measured, in columns of its own; those of several boards are joined."""

    def all_of(name: str) -> Any:
        values = [getattr(one, name) for one in predictions]
        return values[0] if len(values) == 1 else _joined(map(str, map(_written, values))) or None

    return {
        "predicted_board": all_of("board"),
        "predicted_ns": all_of("predicted_ns"),
        "predicted_low_ns": all_of("low_ns"),
        "predicted_high_ns": all_of("high_ns"),
        "predicted_validated": all_of("validated"),
    }


def _error(row: Row) -> dict[str, Any]:
    names = ("percent", "low", "high", "pictures")
    error = row.measured_top1_error
    return {f"measured_top1_error_{name}": getattr(error, name, None) for name in names}


def _made_of(entry: TableCell) -> dict[str, Any]:
    artifact = entry.artifact
    spec = entry.spec.model_dump(mode="json", exclude={"metric", "threads", "cpus"})
    spec["planned_processes"] = spec.pop("processes")
    return {
        "artifact_sha256": artifact.sha256 if artifact else None,
        "artifact_bytes": artifact.size_bytes if artifact else None,
        "weights_sha256": artifact.weights.sha256 if artifact else None,
        "converter": artifact.converter if artifact else None,
        **spec,
    }


def _joined(values: Any) -> str:
    return "; ".join(values)
