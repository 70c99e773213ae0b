"""The values of a speedup table: blocks of one setting, rows of models, columns of resolutions.

This is the shape of the paper's Table 8. A block contains comparable runs only: one suite on one
target with one runtime, version, format, precision, thread count and metric. Everything a renderer
shows is a number here: ``table_builder`` derives them from runs, ``render`` turns them into text.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import Field

from shufflenet_deploy.records import (
    Artifact,
    BenchmarkSpec,
    Conditions,
    Failure,
    Format,
    Metric,
    Precision,
    Record,
    ResolutionText,
)


class RunSettings(Record):
    """The setting shared by all runs of a block; runs that differ in it are never merged."""

    suite: str
    host: str
    transport: str
    arch: str
    os: str
    kernel: str
    cpu: str
    board: str | None
    metric: Metric
    runtime: str
    runtime_version: str | None
    format: Format
    precision: Precision
    threads: int
    cpus: tuple[int, ...] | None
    background_load: int = 0


class Estimate(Record):
    """Statistics of one cell in ``Metric.unit``: the median of its processes' medians with its
    95 % interval, and the quantiles of the pooled samples.
    """

    median: float
    low: float
    high: float
    p10: float
    p90: float
    p99: float
    minimum: float
    maximum: float
    mad: float
    samples: int
    outliers: int


class Speedup(Record):
    """Measured ratio baseline / candidate with its 95 % interval: above 1 is faster.

    ``distinguishable`` is False where the interval contains 1, "no difference".
    """

    ratio: float
    low: float
    high: float
    distinguishable: bool


class Footprint(Record):
    """Memory of one cell in bytes, and what an application pays once, in ``Metric.unit``.

    ``peak_rss_bytes`` is the largest resident size of a process, ``model_rss_bytes`` the same
    without what Python and numpy had taken before, ``arena_bytes`` what the runtime reserves for
    activations, where it says so: each the largest over the processes. ``load`` (reading the file,
    preparing it) and ``first`` (the first inference) are medians over the processes.
    """

    file_bytes: int | None
    arena_bytes: int | None
    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    load: float
    first: float


class CellEnergy(Record):
    """Energy of one inference in the steady state, by the sensor of the target that reads most.

    ``joules`` is the median over the processes, ``low`` and ``high`` the least and the most that
    the readings of all of them allow. ``watts`` is the mean power while sampling,
    ``idle_before_watts`` and ``idle_after_watts`` those when nothing was measured: idle power is
    part of ``joules``. The sensor was read every ``interval_ms`` and gave ``updates_per_sec`` new
    values, ``resolution`` (uW or uJ) apart at least. Without a sensor there is a ``reason`` only.
    """

    sensor: str = ""
    joules: float | None = None
    low: float | None = None
    high: float | None = None
    watts: float | None = None
    idle_before_watts: float | None = None
    idle_after_watts: float | None = None
    interval_ms: float | None = None
    updates_per_sec: float | None = None
    resolution: int | None = None
    reason: str = ""


class CellFinding(Record):
    """One finding against a cell: its cause, the evidence, and the command to try next."""

    cause: str
    message: str
    remedy: str


class Process(Record):
    """One process that measured a cell: its share of the samples and the state of the target."""

    run: str
    process: int
    started_at: datetime
    samples: tuple[int, ...] = Field(exclude=True, repr=False)
    first: int
    load: int
    peak_rss_bytes: int | None
    model_rss_bytes: int | None
    arena_bytes: int | None
    before: Conditions | None
    after: Conditions | None


class PredictedFigure(Record):
    """A figure that was not measured: the latency a model of one board's core predicts of a cell.

    The measured figure is expected from ``low_ns`` to ``high_ns``. ``validated`` says that
    predictions for this core were compared with published latencies, ``error`` is predicted over
    measured, minus one.
    """

    kind: Literal["predicted"] = "predicted"
    board: str
    core: str
    predicted_ns: float
    low_ns: float
    high_ns: float
    validated: bool
    error: float

    @property
    def relative(self) -> float:
        """The larger half-width of the interval over the prediction."""
        wider = max(self.high_ns - self.predicted_ns, self.predicted_ns - self.low_ns)
        return wider / self.predicted_ns


class TableCell(Record):
    """One cell of the table: a model at a resolution, measured or failed.

    ``instruction_efficiency`` is the least possible number of multiply-adds of whole vectors over
    the instructions executed: ``Metric.INSTRUCTIONS`` only, and not in int8. ``predictions`` of
    boards with this core stand beside ``estimate`` and never enter it. ``marks`` point into
    ``Block.notes``, counted from 1.
    """

    resolution: ResolutionText
    multiply_adds: int | None
    estimate: Estimate | None
    speedup: Speedup | None
    theoretical_speedup: float | None
    instruction_efficiency: float | None
    paper_latency_ms: float | None
    paper_speedup: float | None
    paper_map_percent: float | None = None
    footprint: Footprint | None = None
    energy: CellEnergy | None = None
    predictions: tuple[PredictedFigure, ...] = ()
    stability: Literal["stable", "noisy", "tainted", "failed"]
    flaws: tuple[CellFinding, ...]
    failure: Failure | None
    spec: BenchmarkSpec
    artifact: Artifact | None
    processes: tuple[Process, ...]
    marks: tuple[int, ...]


class MeasuredError(Record):
    """The top-1 error of a row's very file, in percent with its 95 % interval; see ``eval``."""

    percent: float
    low: float
    high: float
    pictures: int
    resolution: ResolutionText


class Row(Record):
    """One model with its options: complexity and error as in the paper, then its entries.

    ``entries`` has one element per column of the block, None where nothing was measured.
    ``multiply_adds`` are counted at ``Block.complexity_at``.
    """

    model: str
    options: dict[str, str]
    title: str
    is_baseline: bool
    trained: bool | None
    multiply_adds: int | None
    paper_mega_multiply_adds: float | None
    paper_top1_error_percent: float | None
    measured_top1_error: MeasuredError | None
    marks: tuple[int, ...]
    entries: tuple[TableCell | None, ...]


class Block(Record):
    """Everything measured in one setting; ``baseline`` is None where it was not measured."""

    setting: RunSettings
    columns: tuple[ResolutionText, ...]
    complexity_at: ResolutionText
    baseline: str | None
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    governors: tuple[str, ...]
    started_at: datetime
    ended_at: datetime
    tool: dict[str, str]

    def is_speedup_tainted(self, entry: TableCell) -> bool:
        """True if either latency of a speedup is tainted."""
        rivals = (other for row in self.rows if row.is_baseline for other in row.entries)
        return entry.speedup is not None and any(
            other.stability == "tainted"
            for other in (entry, *rivals)
            if other is not None and other.resolution == entry.resolution
        )

    def entries(self) -> Iterable[tuple[Row, TableCell]]:
        """Every filled cell, row by row."""
        for row in self.rows:
            for entry in row.entries:
                if entry is not None:
                    yield row, entry
