"""The values that travel between layers and are stored: immutable, self-describing, JSON-ready.

Every record is a frozen pydantic model, built by keyword only. Statistics are not stored here:
raw samples are, and ``stats`` derives the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from shufflenet_deploy.errors import UsageError


class Record(BaseModel):
    """A frozen value with a stable JSON form; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Format(StrEnum):
    """A file format a model is exported to."""

    ONNX = "onnx"
    TFLITE = "tflite"


class Precision(StrEnum):
    """The arithmetic of an exported model."""

    FP32 = "fp32"
    INT8 = "int8"


class Metric(StrEnum):
    """What one sample counts: wall time, or instructions executed by a virtual CPU."""

    LATENCY = "latency"
    INSTRUCTIONS = "instructions"

    @property
    def unit(self) -> str:
        """The unit of one raw sample."""
        return "ns" if self is Metric.LATENCY else "instructions"


class Resolution(Record):
    """An input size in pixels, written ``HEIGHTxWIDTH`` as in the paper's Table 8."""

    height: int = Field(gt=0)
    width: int = Field(gt=0)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"480x640"`` (height x width) or ``"224"`` (square).

        Raises:
            UsageError: ``text`` is not a resolution.
        """
        match = re.fullmatch(r"\s*(\d{1,5})(?:\s*[xX×]\s*(\d{1,5}))?\s*", text)
        if match is None or int(match[1]) == 0 or (match[2] is not None and int(match[2]) == 0):
            raise UsageError(f"'{text}' is not a resolution: write HEIGHTxWIDTH, such as 480x640")
        return cls(height=int(match[1]), width=int(match[2] or match[1]))

    @property
    def pixels(self) -> int:
        """Height times width."""
        return self.height * self.width

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def _parse_resolution(value: object) -> object:
    return Resolution.parse(value) if isinstance(value, str) else value


#: A resolution that is stored as its ``"HxW"`` text.
ResolutionText = Annotated[
    Resolution, BeforeValidator(_parse_resolution), PlainSerializer(str, return_type=str)
]


class TensorSpec(Record):
    """One input or output of an exported model. ``scale``/``zero_point`` when it is quantised."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


class WeightsInfo(Record):
    """Where a model's weights came from. ``trained`` is False for a seeded initialisation."""

    source: str
    sha256: str
    layout: str
    trained: bool


class CalibrationInfo(Record):
    """The pictures that set the activation ranges; ``fingerprint`` hashes their names and bytes."""

    source: str
    pictures: int
    fingerprint: str
    method: str


class Parity(Record):
    """How far an exported file is from the module it came from, on held-out inputs.

    ``sqnr_db`` is signal to quantisation-noise ratio in dB over the logits, the minimum over the
    inputs; ``top1_agreement`` the share of inputs whose best class is the same.
    """

    inputs: int
    max_abs_diff: float
    sqnr_db: float
    cosine: float
    top1_agreement: float
    passed: bool
    reason: str = ""
    first_diverging: str | None = None


class Artifact(Record):
    """One exported file and everything needed to know what it is. ``path`` is absolute."""

    path: Path
    sha256: str
    size_bytes: int
    model: str
    format: Format
    precision: Precision
    resolution: ResolutionText
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    multiply_adds: int
    parameters: int
    options: dict[str, str] = Field(default_factory=dict)
    weights: WeightsInfo
    converter: str
    calibration: CalibrationInfo | None = None
    parity: Parity
    tools: dict[str, str] = Field(default_factory=dict)
    created_at: datetime


class Core(Record):
    """One CPU of a target. ``max_khz`` is None where the kernel does not tell."""

    index: int
    max_khz: int | None = None
    part: str | None = None


class TargetFacts(Record):
    """What a target is: stable between reboots, gathered once per connection."""

    host: str
    transport: str
    arch: str
    os: str
    kernel: str
    cpu: str
    board: str | None = None
    cores: tuple[Core, ...]
    memory_bytes: int | None = None
    free_bytes: int | None = None
    libc: str | None = None
    python: str | None = None
    features: tuple[str, ...] = ()

    def core_name(self, cpus: Iterable[int] | None = None) -> str:
        """The fastest of its cores (or of ``cpus``) as one word: ``cortex-a76``, ``amd-epyc``."""
        chosen = [one for one in self.cores if cpus is None or one.index in set(cpus)]
        fastest = max(chosen, key=lambda one: one.max_khz or 0, default=None)
        name = fastest.part if fastest is not None and fastest.part else self.cpu
        return re.sub(r"[^a-z0-9.]+", "-", re.sub(r"^\d+x ", "", name).lower()).strip("-")


class Conditions(Record):
    """The state of a target at one moment; None where the target does not tell."""

    at: datetime
    governors: dict[str, str] = Field(default_factory=dict)
    frequency_khz: dict[str, int] = Field(default_factory=dict)
    temperature_c: dict[str, float] = Field(default_factory=dict)
    throttled: int | None = None
    load_1min: float | None = None
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    battery_percent: int | None = None
    battery_status: str | None = None


class BenchmarkSpec(Record):
    """How one process measures: warm-up and sampling each end when *both* limits are met.

    ``max_secs`` bounds the sampling phase. ``cpus`` is the affinity mask, None for the target's
    own choice. ``processes`` and ``cooldown_secs`` concern the schedule of a suite.
    """

    metric: Metric = Metric.LATENCY
    warmup_runs: int = Field(default=5, ge=0)
    warmup_secs: float = Field(default=0.5, ge=0)
    min_runs: int = Field(default=30, ge=1)
    min_secs: float = Field(default=1.0, ge=0)
    max_secs: float = Field(default=30.0, gt=0)
    processes: int = Field(default=3, ge=1)
    threads: int = Field(default=1, ge=1)
    cpus: tuple[int, ...] | None = None
    cooldown_secs: float = Field(default=0.0, ge=0)
    timeout_secs: float = Field(default=300.0, gt=0)


class Measurement(Record):
    """What one process measured. ``samples`` are steady-state inferences in ``Metric.unit``.

    ``load``, ``first`` and ``warmup`` are in the same unit and never mixed with ``samples``.
    ``others_busy_cores`` is how many cores other programs kept busy while sampling, on average.
    """

    samples: tuple[int, ...] = Field(min_length=1)
    warmup: tuple[int, ...] = ()
    first: int
    load: int
    peak_rss_bytes: int | None = None
    clock_resolution_ns: int | None = None
    cpus: tuple[int, ...] | None = None
    others_busy_cores: float | None = None


class FailureKind(StrEnum):
    """Why a cell has no measurement."""

    EXPORT = "export"
    UNSUPPORTED = "unsupported"
    RUNTIME_MISSING = "runtime-missing"
    OUT_OF_MEMORY = "out-of-memory"
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    CONNECTION = "connection"
    TARGET = "target"
    PARSE = "parse"


class Failure(Record):
    """A cell that could not be measured, and the line that says why."""

    kind: FailureKind
    message: str
    transient: bool = False


class Cell(Record):
    """What is measured, apart from where: one box of a table."""

    model: str
    options: dict[str, str] = Field(default_factory=dict)
    runtime: str
    format: Format
    precision: Precision
    resolution: ResolutionText
    threads: int = 1


class Run(Record):
    """One process measuring one cell on one target, kept raw. ``raw`` is the runner's stdout.

    ``artifact`` is None only when the export itself failed.
    """

    id: str
    suite: str
    started_at: datetime
    process: int
    cell: Cell
    artifact: Artifact | None
    multiply_adds: int | None = None
    runtime_version: str | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    before: Conditions | None = None
    after: Conditions | None = None
    raw: str = ""
    outcome: Measurement | Failure
    tool: dict[str, Any] = Field(default_factory=dict)

    @property
    def kind(self) -> Literal["measurement", "failure"]:
        """Which of the two outcomes this run had."""
        return "measurement" if isinstance(self.outcome, Measurement) else "failure"


def last_attempts(runs: Iterable[Run]) -> list[Run]:
    """The runs that count: of several attempts at one process of one cell, the last given.

    ``runs`` come in the order they were made. Retried and resumed attempts stay in the journal;
    the newest stands for its process.
    """
    latest: dict[tuple[str, str, str, int], Run] = {}
    for run in runs:
        key = (run.suite, run.target.host, run.cell.model_dump_json(), run.process)
        # A newer attempt moves to the end, so that the order stays that of the clock.
        latest.pop(key, None)
        latest[key] = run
    return list(latest.values())
