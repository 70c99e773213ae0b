"""A benchmark suite: the validated definition of what to measure, expanded to cells."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from shufflenet_deploy import runtime
from shufflenet_deploy.atomic_files import read_toml
from shufflenet_deploy.bench.suite_names import distinct_labels
from shufflenet_deploy.bounded import MAX_COUNT, MAX_SECS, Count, Int, Name, Text
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.lowering_names import AUTO
from shufflenet_deploy.export.lowering_names import parse as parse_lowering
from shufflenet_deploy.export.precisions import resolve
from shufflenet_deploy.names import Argument, Line, SuiteName
from shufflenet_deploy.records import (
    ALL,
    MAX_RATE_HZ,
    AskedPrecisions,
    BenchmarkSpec,
    Cell,
    MeasuredFile,
    Precision,
    Record,
    ResolutionText,
    first_problem,
)
from shufflenet_deploy.target import Mode

#: Architectures whose fully connected layers need a policy at other resolutions than their own.
_HEADED = ("alexnet", "vgg", "pvanet")

#: The option of a cell that names one of several checkpoints of its model.
WEIGHTS = "weights"
#: More than anybody waits for, and few enough to be listed.
_MOST_CELLS = 10_000


class FieldError(UsageError):
    """A field of a suite has a wrong value.

    Args:
        field: its name; ``spec.min_secs`` is one of the protocol's.
        value: the wrong value.
        problem: what is wrong, without the name of the field.
        message: the whole line; by default the problem, which then explains itself.
    """

    def __init__(self, field: str, value: object, problem: str, message: str | None = None) -> None:
        super().__init__(message or problem)
        self.field, self.value, self.problem = field, value, problem


class Suite(Record):
    """Every combination of the axes, measured against one baseline.

    ``cards`` are the references of models that do not ship with this package, by the models' names;
    ``files`` are models that are measured as they are, each in the runtimes of its format alone.
    ``precision_target`` is the wanted half width of the speedup's interval relative to it (0.02 is
    2 %); rounds are added until it is met or ``max_processes`` is reached. ``retries`` bounds both
    new attempts after transient errors and repetitions of disturbed measurements. ``payload``
    selects where the runtimes come from. ``cores`` counts where ``spec.cpus`` names none: the
    fastest ones, all, or what suits the target. No process starts while the target is hotter than
    ``max_temperature_c``, unless it does not get any cooler. ``weights`` names the checkpoints of
    models; of several each is a cell. Without a ``head`` networks end in their last feature map. Of
    several ``lowerings`` each is a cell where there are such files; the baseline is then lowered as
    by ``auto``. Of ``precisions``, ``all`` is every one that there is in a runtime, on the target.
    ``governor`` is the frequency governor for the time of the measurement. After the rounds the
    processes of each cell infer ``rate_hz`` times per second and take the images of
    ``end_to_end`` (a file or folder) through it, the models of each group take turns for
    ``sustained_secs``, and ``benchmark_model`` (a file) measures the TFLite cells once more,
    with ``benchmark_model_args`` after the protocol's. With ``profile`` each cell is profiled at
    the end, in a process of its own.
    """

    name: SuiteName = "bench"
    title: Line = ""
    models: tuple[Name, ...] = Field(min_length=1)
    cards: dict[str, str] = Field(default_factory=dict)
    files: dict[Name, MeasuredFile] = Field(default_factory=dict)
    baseline: Name | None = "alexnet"
    alexnet_head: Literal["fixed", "dense"] = "fixed"
    head: Literal["fixed", "none"] = "fixed"
    weights: dict[Name, tuple[Text, ...]] = Field(default_factory=dict)
    calibration: Text | None = None
    lowerings: tuple[Name, ...] = Field(default=(AUTO,), min_length=1)
    runtimes: tuple[Name, ...] = Field(default=("onnxruntime",), min_length=1)
    precisions: AskedPrecisions = (Precision.FP32,)
    resolutions: tuple[ResolutionText, ...] = Field(min_length=1)
    threads: tuple[Count, ...] = Field(default=(1,), min_length=1)
    precision_target: float | None = Field(default=None, gt=0, lt=1)
    max_processes: int = Field(default=20, ge=1, le=MAX_COUNT)
    retries: int = Field(default=2, ge=0, le=MAX_COUNT)
    seed: Int = 0
    payload: Mode = Mode.AUTO
    cores: Literal["auto", "big", "all"] = "auto"
    max_temperature_c: float | None = Field(default=None, gt=0, lt=150)
    profile: bool = False
    rate_hz: float | None = Field(default=None, gt=0, le=MAX_RATE_HZ)
    end_to_end: Text | None = None
    sustained_secs: float | None = Field(default=None, ge=1, le=MAX_SECS)
    benchmark_model: Text | None = None
    benchmark_model_args: tuple[Argument, ...] = ()
    governor: str | None = None
    spec: BenchmarkSpec = BenchmarkSpec()

    @field_validator("runtimes")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if ALL in names:
            return (ALL,)
        return tuple(runtime.get(name).name for name in names)

    @field_validator("weights", mode="before")
    @classmethod
    def _one_or_several(cls, weights: object) -> object:
        """A checkpoint may stand alone, as in suites that know no more than one of a model."""
        if not isinstance(weights, dict):
            return weights
        return {
            name: (files,) if isinstance(files, str) else files for name, files in weights.items()
        }

    @field_validator("weights")
    @classmethod
    def _distinct(cls, weights: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if empty := [name for name, files in weights.items() if not files]:
            raise ValueError(f"{empty[0]} has no checkpoint: name a file, or leave it out")
        return {name: tuple(dict.fromkeys(files)) for name, files in weights.items()}

    @field_validator("precision_target", mode="before")
    @classmethod
    def _share(cls, target: object) -> object:
        return parse_share(target) if isinstance(target, str) else target

    @field_validator("threads")
    @classmethod
    def _positive(cls, threads: tuple[int, ...]) -> tuple[int, ...]:
        if any(count < 1 for count in threads):
            raise ValueError("must be 1 or more")
        return threads

    @field_validator("governor")
    @classmethod
    def _word(cls, governor: str | None) -> str | None:
        if governor is not None and re.fullmatch(r"[a-z_]+", governor) is None:
            raise ValueError("a governor is one lower-case word, such as performance")
        return governor

    @field_validator("*", mode="wrap")
    @classmethod
    def _by_field(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        """Name the field in whatever the validators above raise."""
        try:
            return handler(value)
        except UsageError as error:
            raise FieldError(info.field_name or "", value, str(error)) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a suite from TOML: the fields of this class, written with dashes.

        Raises:
            UsageError: it cannot be read, or a key is unknown, missing or of the wrong kind; the
                message names the file, the key and the nearest known one.
        """
        fields = read_toml(path, what="the suite")
        fields.setdefault("name", path.stem)
        return cls.of(fields, source=f"suite {path}")

    @classmethod
    def of(cls, fields: dict[str, Any], *, source: str) -> Self:
        """Check fields (dashes or underscores); ``source`` begins every message.

        Raises:
            UsageError: a field is unknown or missing.
            FieldError: a field is wrong.
        """
        given = _underscored(fields)
        _refuse_unknown(given, cls, source)
        spec = given.get("spec")
        if isinstance(spec, dict):
            given["spec"] = _underscored(spec)
            _refuse_unknown(given["spec"], BenchmarkSpec, f"{source}, [spec]")
        try:
            return cls.model_validate(given)
        except FieldError as error:
            message = f"{source}: {error}"
            raise FieldError(error.field, error.value, error.problem, message) from error
        except ValidationError as error:
            raise _field_error(error, source) from error

    def cells(self, machine: str | None = None) -> tuple[Cell, ...]:
        """Every cell, the baseline's included, grouped as a table shows them.

        ``machine`` is what native programs are for, None where the target is not known yet.

        Raises:
            UsageError: it does not compute in a precision that was asked for by its name.
        """
        models = tuple(dict.fromkeys(self.models))
        if self.baseline is not None and self.baseline not in models:
            models = (*models, self.baseline)
        exported = (
            Cell(
                model=model,
                options=self._options(model, lowering, checkpoint),
                runtime=name,
                format=runtime.get(name).formats[0],
                precision=precision,
                resolution=resolution,
                threads=threads,
            )
            for name in self.runtime_names
            for precision in self._precisions_in(name, machine)
            for threads in dict.fromkeys(self.threads)
            for resolution in dict.fromkeys(self.resolutions)
            for model in models
            if model not in self.files
            for checkpoint in self._labels(model) or ("",)
            for lowering in self._lowerings_of(model)
            if _possible(lowering, name, precision)
        )
        return (*exported, *self._cells_of_files(models))

    def _cells_of_files(self, models: Sequence[str]) -> Iterator[Cell]:
        """Each file in every runtime of its format."""
        for name, threads in product(self.runtime_names, dict.fromkeys(self.threads)):
            for model in models:
                file = self.files.get(model)
                if file is not None and file.format in runtime.get(name).formats:
                    yield Cell(
                        model=model,
                        runtime=name,
                        format=file.format,
                        precision=file.precision,
                        resolution=file.resolution,
                        threads=threads,
                    )

    def head_of(self, model: str) -> str:
        """The head that a model is measured with; see ``zoo.Head``."""
        if self.head == "none":
            return self.head
        return self.alexnet_head if model.startswith(_HEADED) else "fixed"

    def spec_of(self, cell: Cell) -> BenchmarkSpec:
        """The protocol of one process of a cell."""
        file = self.files.get(cell.model)
        shapes = file.shapes if file is not None else ()
        return self.spec.model_copy(update={"threads": cell.threads, "shapes": shapes})

    def weights_of(self, cell: Cell) -> str | None:
        """The checkpoint that a cell is about; None for the model's own weights."""
        files = self.weights.get(cell.model, ())
        label = cell.options.get(WEIGHTS)
        if label is None:
            return files[0] if files else None
        return dict(zip(self._labels(cell.model), files, strict=True))[label]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        axes = (self.models, self.runtime_names, self.precisions, self.threads, self.resolutions)
        if math.prod(map(len, (*axes, self.lowerings))) > _MOST_CELLS:
            raise ValueError(f"more than {_MOST_CELLS} cells: split the suite")
        shortest, longest = self.spec.min_secs, self.spec.max_secs
        if longest < shortest:
            problem = f"less than the {shortest:g} s of min-secs: raise the one or lower the other"
            raise FieldError("spec.max_secs", longest, problem, f"spec.max-secs: {problem}")
        self._check_lowerings()
        return self

    def _check_lowerings(self) -> None:
        """Refuse a precision or a lowering that no runtime of the suite has."""
        try:
            files = [(name, one) for name in self.runtime_names
                     for one in self._precisions_in(name)]  # fmt: skip
        except UsageError as error:
            raise FieldError("precisions", self.precisions, str(error)) from error
        for lowering in self.lowerings:
            if not any(_possible(lowering, *file) for file in files):
                try:
                    parse_lowering(lowering, runtime.get(files[0][0]).formats[0], files[0][1])
                except UsageError as error:
                    raise FieldError("lowerings", lowering, str(error)) from error

    @property
    def runtime_names(self) -> tuple[str, ...]:
        """The runtimes, each once: all there are where ``all`` was asked for."""
        return runtime.names() if ALL in self.runtimes else tuple(dict.fromkeys(self.runtimes))

    def _precisions_in(self, name: str, machine: str | None = None) -> tuple[Precision, ...]:
        if ALL in self.runtimes and ALL not in self.precisions:
            # Of every runtime there is, one that has not what was asked for is a row that says so.
            return tuple(Precision(one) for one in dict.fromkeys(self.precisions))
        return resolve(self.precisions, runtime.get(name).formats[0], machine, runtime=name)

    def _lowerings_of(self, model: str) -> tuple[str, ...]:
        several = len(set(self.lowerings)) > 1
        return (
            (AUTO,) if several and model == self.baseline else tuple(dict.fromkeys(self.lowerings))
        )

    def _labels(self, model: str) -> tuple[str, ...]:
        """Distinct labels of a model's checkpoints; empty where there is one at most."""
        files = self.weights.get(model, ())
        return distinct_labels(files) if len(files) > 1 else ()

    def _options(self, model: str, lowering: str, checkpoint: str) -> dict[str, str]:
        head = self.head_of(model)
        chosen: dict[str, str] = {"head": head} if head != "fixed" else {}
        if checkpoint:
            chosen[WEIGHTS] = checkpoint
        return chosen | ({"lowering": lowering} if lowering != AUTO else {})


def _field_error(error: ValidationError, source: str) -> UsageError:
    """The first problem that pydantic found, in the words of suite files."""
    first = error.errors(include_url=False, include_context=False)[0]
    key, colon, what = first_problem(error).partition(": ")
    what = what.replace("Tuple", "List").replace("tuple", "list")
    message = f"{source}: {key.replace('_', '-')}{colon}{what}"
    if not first["loc"] or first["type"] == "missing":
        return UsageError(message)
    depth = 2 if first["loc"][0] == "spec" else 1
    field = ".".join(map(str, first["loc"][:depth]))
    return FieldError(field, first["input"], what, message)


def _possible(lowering: str, runtime_name: str, precision: Precision) -> bool:
    """True if the lowering applies to files of this precision for this runtime."""
    if lowering == AUTO:
        return True
    try:
        parse_lowering(lowering, runtime.get(runtime_name).formats[0], precision)
    except UsageError:
        return False
    return True


def parse_share(text: str) -> float:
    """``"2%"`` or ``"0.02"`` as 0.02.

    Raises:
        UsageError: it is neither, or not between 0 and 100 %.
    """
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})\s*(%?)\s*", text)
    share = float(match[1]) / (100.0 if match[2] else 1.0) if match else 0.0
    if not 0.0 < share < 1.0:
        raise UsageError(f"'{text}' is not a precision: write a share such as 2%")
    return share


def _underscored(fields: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in fields.items()}


def _refuse_unknown(fields: dict[str, Any], model: type[Record], source: str) -> None:
    for key in fields:
        if key not in model.model_fields:
            near = difflib.get_close_matches(key, model.model_fields, n=1)
            known = [near[0]] if near else list(model.model_fields)
            hint = ", ".join(name.replace("_", "-") for name in known)
            raise UsageError(
                f"{source}: unknown key '{key.replace('_', '-')}' "
                f"({'did you mean' if near else 'known are'} {hint}{'?' if near else ''})"
            )
