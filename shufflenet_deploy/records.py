"""The values that travel between layers and are stored: immutable, self-describing, JSON-ready.

Every record is a frozen pydantic model, built by keyword only. Statistics are not stored here:
raw samples are, and ``stats`` derives the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
)

from shufflenet_deploy.bounded import (
    INT_MAX,
    MAX_COUNT,
    MAX_SAMPLES,
    MAX_SECS,
    Count,
    Int,
    JsonObject,
    Moment,
    Name,
    Sample,
    Size,
    Span,
    Text,
    first_line,
)
from shufflenet_deploy.errors import UsageError


class Record(BaseModel):
    """A frozen value with a stable JSON form; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


#: What names a run, a suite or a file's bytes; no longer than the journal's columns.
RunId = Annotated[Name, StringConstraints(min_length=1, max_length=64)]
SuiteId = Annotated[Name, StringConstraints(min_length=1, max_length=128)]
Sha256 = Annotated[Name, StringConstraints(max_length=64)]


def first_problem(error: ValidationError) -> str:
    """Where and what, of the first problem that pydantic found: ``threads: must be 1 or more``."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = first_line(".".join(str(part) for part in first["loc"]), 80)
    what = first_line(str(first["msg"]).removeprefix("Value error, "))
    return f"{where}: {what}" if where else what


class Precision(StrEnum):
    """The arithmetic of an exported model, in the order of tables."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def place(self) -> int:
        """Its place among the others; as texts they would stand in another order."""
        return tuple(Precision).index(self)

    @property
    def lanes(self) -> int | None:
        """Multiply-adds of one vector instruction of AArch64; None in int8, where cores differ."""
        return {Precision.FP32: 4, Precision.FP16: 8}.get(self)


#: Stands for every precision that there is, in a format, on a core.
ALL: Literal["all"] = "all"


def _known_precision(value: object) -> object:
    words = (*Precision, ALL)
    if isinstance(value, str) and value not in words:
        raise ValueError(f"'{value}' is not a precision: choose from {', '.join(words)}")
    return value


#: Precisions as a user asks for them; ``export.precisions`` tells which are meant.
AskedPrecisions = Annotated[
    tuple[Annotated[Precision | Literal["all"], BeforeValidator(_known_precision)], ...],
    Field(min_length=1),
]


class Format(StrEnum):
    """A file format a model is exported to."""

    ONNX = "onnx"
    TFLITE = "tflite"
    NATIVE = "native"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What its files can compute in; which of them a program can is for its core to say."""
        return tuple(Precision) if self is Format.NATIVE else (Precision.FP32, Precision.INT8)


class Metric(StrEnum):
    """What one sample counts: wall time, or instructions executed by a virtual CPU."""

    LATENCY = "latency"
    INSTRUCTIONS = "instructions"

    @property
    def unit(self) -> str:
        """The unit of one raw sample."""
        return "ns" if self is Metric.LATENCY else "instructions"


#: The largest input, 4096x4096: the activations of anything larger fill the memory of a host.
MAX_PIXELS = 4096 * 4096


class Resolution(Record):
    """An input size in pixels, written ``HEIGHTxWIDTH`` as in the paper's Table 8."""

    height: int = Field(gt=0, le=99_999)
    width: int = Field(gt=0, le=99_999)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"480x640"`` (height x width) or ``"224"`` (square).

        Raises:
            UsageError: ``text`` is not a resolution.
        """
        match = re.fullmatch(r"\s*([0-9]{1,5})(?:\s*[xX×]\s*([0-9]{1,5}))?\s*", text)
        if match is None or int(match[1]) == 0 or (match[2] is not None and int(match[2]) == 0):
            raise UsageError(f"'{text}' is not a resolution: write HEIGHTxWIDTH, such as 480x640")
        found = cls(height=int(match[1]), width=int(match[2] or match[1]))
        if found.pixels > MAX_PIXELS:
            raise UsageError(
                f"'{text}' has {found.pixels / 1e6:.0f} million pixels: "
                f"{MAX_PIXELS / 1e6:.0f} million at most"
            )
        return found

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

    name: Text
    shape: tuple[Int, ...]
    dtype: Text
    scale: float | None = None
    zero_point: Int | None = None


class WeightsInfo(Record):
    """Where a model's weights came from. ``trained`` is False for a seeded initialisation."""

    source: Text
    sha256: Name
    layout: Text
    trained: bool


class CalibrationInfo(Record):
    """The pictures that set the activation ranges; ``fingerprint`` hashes their names and bytes."""

    source: Text
    pictures: Size
    fingerprint: Text
    method: Text


class Parity(Record):
    """How far an exported file is from the module it came from, on held-out inputs.

    ``sqnr_db`` is signal to quantisation-noise ratio in dB over the logits, the minimum over the
    inputs; ``top1_agreement`` the share of inputs whose best class is the same.
    """

    inputs: Size
    max_abs_diff: float
    sqnr_db: float
    cosine: float
    top1_agreement: float
    passed: bool
    reason: Text = ""
    first_diverging: Text | None = None


#: How activation ranges are chosen from the calibration pictures.
CalibrationMethod = Literal["minmax", "percentile", "entropy"]


class Recipe(Record):
    """How a file was made int8.

    ``method`` chose the ranges of activations; ``equalised`` channels were scaled alike first;
    ``float_layers`` compute in float.
    """

    method: CalibrationMethod
    equalised: bool = False
    float_layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.method} calibration"]
        if self.equalised:
            parts.append("equalised channels")
        if count := len(self.float_layers):
            parts.append(f"{count} layer{'s' if count > 1 else ''} in float")
        return ", ".join(parts)


class Attempt(Record):
    """One recipe that was tried because an earlier one missed its floors, and what came of it."""

    recipe: Recipe
    parity: Parity


class Artifact(Record):
    """One exported file and everything needed to know what it is. ``path`` is absolute.

    ``recipe`` is how an int8 file was made. ``attempts`` are all that were tried, in order, where
    the recipe that was asked for missed its floors; else there are none.
    """

    path: Path
    sha256: Sha256
    size_bytes: Size
    model: Name
    format: Format
    precision: Precision
    resolution: ResolutionText
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    multiply_adds: Size
    parameters: Size
    options: dict[Name, Text] = Field(default_factory=dict)
    weights: WeightsInfo
    converter: Text
    calibration: CalibrationInfo | None = None
    recipe: Recipe | None = None
    attempts: tuple[Attempt, ...] = ()
    parity: Parity
    tools: dict[Name, Text] = Field(default_factory=dict)
    created_at: Moment


class Core(Record):
    """One CPU of a target. ``max_khz`` is None where the kernel does not tell."""

    index: Count
    max_khz: Size | None = None
    part: Name | None = None


class TargetFacts(Record):
    """What a target is: stable between reboots, gathered once per connection."""

    host: Name
    transport: Name
    arch: Name
    os: Name
    kernel: Name
    cpu: Name
    board: Name | None = None
    cores: tuple[Core, ...]
    memory_bytes: Size | None = None
    free_bytes: Size | None = None
    libc: Name | None = None
    python: Name | None = None
    features: tuple[Name, ...] = ()

    def core_name(self, cpus: Iterable[int] | None = None) -> str:
        """The fastest of its cores (or of ``cpus``) as one word: ``cortex-a76``, ``amd-epyc``."""
        chosen = [one for one in self.cores if cpus is None or one.index in set(cpus)]
        fastest = max(chosen, key=lambda one: one.max_khz or 0, default=None)
        name = fastest.part if fastest is not None and fastest.part else self.cpu
        return re.sub(r"[^a-z0-9.]+", "-", re.sub(r"^\d+x ", "", name).lower()).strip("-")


class Conditions(Record):
    """The state of a target at one moment; None where the target does not tell."""

    at: Moment
    governors: dict[Name, Name] = Field(default_factory=dict)
    frequency_khz: dict[Name, Int] = Field(default_factory=dict)
    temperature_c: dict[Name, float] = Field(default_factory=dict)
    throttled: Int | None = None
    load_1min: float | None = None
    memory_available_bytes: Int | None = None
    swap_used_bytes: Int | None = None
    battery_percent: Int | None = None
    battery_status: Name | None = None


class BenchmarkSpec(Record):
    """How one process measures: warm-up and sampling each end when *both* limits are met.

    ``max_secs`` bounds the sampling phase. ``cpus`` is the affinity mask, None for the target's
    own choice. ``processes`` and ``cooldown_secs`` concern the schedule of a suite.
    """

    metric: Metric = Metric.LATENCY
    warmup_runs: int = Field(default=5, ge=0, le=MAX_SAMPLES)
    warmup_secs: float = Field(default=0.5, ge=0, le=MAX_SECS)
    min_runs: int = Field(default=30, ge=1, le=MAX_SAMPLES)
    min_secs: float = Field(default=1.0, ge=0, le=MAX_SECS)
    max_secs: float = Field(default=30.0, gt=0, le=MAX_SECS)
    processes: int = Field(default=3, ge=1, le=MAX_COUNT)
    threads: int = Field(default=1, ge=1, le=MAX_COUNT)
    cpus: tuple[Count, ...] | None = None
    cooldown_secs: float = Field(default=0.0, ge=0, le=MAX_SECS)
    timeout_secs: float = Field(default=300.0, gt=0, le=MAX_SECS)

    @property
    def protocol(self) -> BenchmarkSpec:
        """What decides the samples of one process, the schedule of the suite left at its defaults.

        Two specs sample alike when their protocols are equal.
        """
        defaults = {name: type(self).model_fields[name].default for name in SCHEDULE}
        return self.model_copy(update=defaults)


#: Fields of ``BenchmarkSpec`` that say how many processes there are and when one starts or is given
#: up; none of them changes what a process that ran to its end has sampled.
SCHEDULE = ("processes", "cooldown_secs", "timeout_secs")


class Measurement(Record):
    """What one process measured. ``samples`` are steady-state inferences in ``Metric.unit``.

    ``load``, ``first`` and ``warmup`` are in the same unit and never mixed with ``samples``.
    ``peak_rss_bytes`` is the largest resident size of the process, of which Python and numpy had
    taken ``idle_rss_bytes`` before the runtime was loaded. ``others_busy_cores`` is how many cores
    other programs kept busy while sampling, on average.
    """

    samples: tuple[Sample, ...] = Field(min_length=1)
    warmup: tuple[Span, ...] = ()
    first: Span
    load: Span
    idle_rss_bytes: Size | None = None
    peak_rss_bytes: Size | None = None
    clock_resolution_ns: Span | None = None
    cpus: tuple[Count, ...] | None = None
    others_busy_cores: float | None = None

    @property
    def model_rss_bytes(self) -> int | None:
        """What the runtime with the model took at most, where the idle size is known."""
        if self.idle_rss_bytes is None or self.peak_rss_bytes is None:
            return None
        return max(0, self.peak_rss_bytes - self.idle_rss_bytes)


class LayerKind(StrEnum):
    """What a layer does, as far as its cost is concerned."""

    CONVOLUTION = "convolution"
    POINTWISE = "1x1 convolution"
    DEPTHWISE = "depthwise"
    SHUFFLE = "shuffle"
    POOL = "pool"
    JOIN = "add, concat"
    DENSE = "fully connected"
    OTHER = "other"


class LayerWork(Record):
    """One layer of a network, with the multiply-adds that the paper counts of it."""

    name: Text
    kind: LayerKind
    multiply_adds: Size


class OperatorTiming(Record):
    """One operator that a runtime executed, in every profiled inference, in ``Metric.unit``.

    ``layer`` is the layer of the network it does the work of; None where the runtime added it
    between layers (another memory layout, another number format) or the file tells no layers.
    """

    name: Text
    operator: Text
    layer: Text | None = None
    samples: tuple[Span, ...] = Field(min_length=1)


class Profile(Record):
    """Inferences taken apart by the runtime's own profiler, in a process of their own.

    ``inference`` is the runtime's own figure for each whole inference, in ``Metric.unit``;
    ``operators`` stand in the order in which they ran. ``layers`` are those of the network, empty
    where the file's names do not tell them.
    """

    method: Text
    inference: tuple[Span, ...] = Field(min_length=1)
    operators: tuple[OperatorTiming, ...]
    layers: tuple[LayerWork, ...] = ()


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
    message: Text
    transient: bool = False


class Cell(Record):
    """What is measured, apart from where: one box of a table."""

    model: Name
    options: dict[Name, Name] = Field(default_factory=dict)
    runtime: Name
    format: Format
    precision: Precision
    resolution: ResolutionText
    threads: Count = 1

    @property
    def display_order(self) -> tuple[str, int, int]:
        """Sorts settings as every screen shows them: by runtime, precision, threads."""
        return self.runtime, self.precision.place, self.threads


class Run(Record):
    """One process measuring one cell on one target, kept raw. ``raw`` is the runner's stdout.

    ``artifact`` is None only when the export itself failed. A run that profiles is kept beside
    those that measure and never among them: its ``outcome`` holds a few inferences of the same
    process without the profiler, its ``profile`` those with it.
    """

    id: RunId
    suite: SuiteId
    started_at: Moment
    process: Count
    cell: Cell
    artifact: Artifact | None
    multiply_adds: Size | None = None
    runtime_version: Name | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    before: Conditions | None = None
    after: Conditions | None = None
    raw: Text = ""
    outcome: Measurement | Failure
    purpose: Literal["measure", "profile"] = "measure"
    profile: Profile | None = None
    tool: JsonObject = Field(default_factory=dict)

    @property
    def sampling(self) -> tuple[str | None, BenchmarkSpec]:
        """What decides the samples of this process on its target: the file's sha256, the protocol.

        The one property by which a resumed session knows a process again, and by which tables,
        comparisons and histories put the samples of a cell's processes together.
        """
        return (self.artifact.sha256 if self.artifact else None, self.spec.protocol)

    @property
    def kind(self) -> Literal["measurement", "failure", "profile"]:
        """Which of the two outcomes a measurement had, or that this run profiled."""
        if self.purpose == "profile":
            return "profile"
        return "measurement" if isinstance(self.outcome, Measurement) else "failure"


class LabelledData(Record):
    """The pictures of an evaluation: ``pictures`` were chosen of the ``found`` in ``source``.

    ``fingerprint`` hashes the chosen pictures: their names, bytes and classes.
    """

    source: Text
    fingerprint: Text
    pictures: Size
    found: Size
    classes: Size


class TopKCounts(Record):
    """How often the right class came first, and among the first five, of ``pictures``.

    ``tied`` counts the pictures whose highest score several classes share; the lowest index wins.
    """

    pictures: Size
    top1: Size
    top5: Size
    tied: Size


class ContingencyTable(Record):
    """A file beside the module it came from, picture by picture: who had the first class right.

    ``same_class`` counts the pictures for which both name the same class, right or wrong.
    """

    both_right: Size
    only_module_right: Size
    only_file_right: Size
    both_wrong: Size
    same_class: Size


class Evaluation(Record):
    """The accuracy of one exported file and of its PyTorch module on the same labelled pictures.

    Counts only: ``proportions`` derives percentages and intervals. ``unreadable`` names pictures
    that could not be decoded; they are in ``data.pictures`` but in no count.
    """

    kind: Literal["evaluation"] = "evaluation"
    id: RunId
    at: Moment
    artifact: Artifact
    data: LabelledData
    unreadable: tuple[Text, ...] = ()
    file: TopKCounts
    module: TopKCounts
    pairing: ContingencyTable
    tools: dict[Name, Text] = Field(default_factory=dict)


class SuiteNote(Record):
    """What a journal knows of a suite besides its runs; ``definition`` is what resumes it."""

    kind: Literal["suite"] = "suite"
    id: SuiteId
    name: Name
    host: Name
    created_at: Moment
    definition: Text


def last_attempts(runs: Iterable[Run]) -> list[Run]:
    """Of several attempts at one process of one cell, the last; see ``attempts`` for what counts.

    ``runs`` come in the order they were made. This tells what became of each process in the end.
    """
    latest: dict[tuple[str, str, str, int], Run] = {}
    for run in runs:
        key = (run.suite, run.target.host, run.cell.model_dump_json(), run.process)
        # A newer attempt moves to the end, so that the order stays that of the clock.
        latest.pop(key, None)
        latest[key] = run
    return list(latest.values())


# --- what is measured besides runs ---------------------------------------------------------------


class TurnSamples(Record):
    """Inferences of one model, one right after the other, in a sustained measurement.

    ``subject`` is the model's place among ``Sustained.cells``. The slice began ``at_ns`` after the
    measurement; ``first`` came right after another model's and is kept apart from ``samples`` (ns).
    """

    subject: Count
    at_ns: Size
    first: Span
    samples: tuple[Sample, ...] = Field(min_length=1)


class TracePoint(Record):
    """The state of the target between two slices, ``at_ns`` after the measurement began."""

    at_ns: Size
    frequency_khz: dict[Name, Int] = Field(default_factory=dict)
    temperature_c: dict[Name, float] = Field(default_factory=dict)
    throttled: Int | None = None


class Sustained(Record):
    """Models of one group that ran by turns in one process for a long time, kept raw.

    ``cells`` and ``artifacts`` (sha256 of the files) go together. With a ``failure`` there are no
    slices.
    """

    kind: Literal["sustained"] = "sustained"
    id: RunId
    suite: SuiteId
    started_at: Moment
    cells: tuple[Cell, ...] = Field(min_length=1)
    artifacts: tuple[Text, ...] = Field(min_length=1)
    baseline: Name | None
    duration_secs: float = Field(gt=0, le=MAX_SECS)
    runtime_version: Name | None = None
    target: TargetFacts
    spec: BenchmarkSpec
    slices: tuple[TurnSamples, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    failure: Failure | None = None
    tool: JsonObject = Field(default_factory=dict)


class Aggregate(Record):
    """What another program says about samples that it does not give away, in microseconds."""

    count: int = Field(ge=1, le=INT_MAX)
    average_us: float = Field(gt=0)
    min_us: float
    max_us: float
    std_us: float
    first_us: float | None = None
    init_us: float | None = None


class CrossCheck(Record):
    """One cell measured by a program that is not ours. ``raw`` is all that it printed.

    ``artifact`` and ``program_sha256`` name the bytes of the model and of the program.
    """

    kind: Literal["cross-check"] = "cross-check"
    id: RunId
    suite: SuiteId
    started_at: Moment
    cell: Cell
    artifact: Text
    program: Text
    program_sha256: Text
    argv: tuple[Text, ...]
    target: TargetFacts
    spec: BenchmarkSpec
    aggregate: Aggregate | None = None
    failure: Failure | None = None
    raw: Text = ""


#: What a suite may hold besides runs.
Observation = Annotated[Sustained | CrossCheck, Field(discriminator="kind")]
