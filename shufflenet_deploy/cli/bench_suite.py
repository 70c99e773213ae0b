"""The suite that ``bench`` measures: options, suite files and journal rows -> a checked suite."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shufflenet_deploy.atomic_files import user_path
from shufflenet_deploy.cli.checkpoints import checkpoints
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line

if TYPE_CHECKING:
    from shufflenet_deploy.bench import FieldError, Suite

_DEFAULTS: dict[str, Any] = {"models": ["shufflenet-g3-0.5x"], "resolutions": ["224x224"]}

#: Instruction counts need no warm-up and hardly vary: few runs suffice.
INSTRUCTIONS: dict[str, Any] = {
    "warmup_runs": 1,
    "warmup_secs": 0.0,
    "min_runs": 3,
    "min_secs": 0.0,
    "max_secs": 60.0,
    "processes": 1,
    "timeout_secs": 1800.0,
}

#: The option that sets each field of a suite; those of its protocol begin with ``spec.``.
OPTIONS = {
    "models": "--model",
    "cards": "--model",
    "files": "--file",
    "baseline": "--baseline",
    "alexnet_head": "--alexnet-head",
    "head": "--head",
    "weights": "--weights",
    "calibration": "--calib",
    "lowerings": "--lowering",
    "runtimes": "--runtime",
    "precisions": "--precision",
    "resolutions": "--resolution",
    "threads": "--threads",
    "payload": "--payload",
    "cores": "--cpus",
    "governor": "--governor",
    "precision_target": "--precision-target",
    "max_processes": "--max-processes",
    "retries": "--retries",
    "max_temperature_c": "--max-temperature",
    "profile": "--profile",
    "rate_hz": "--rate",
    "sustained_secs": "--sustained",
    "benchmark_model": "--benchmark-model",
    "benchmark_model_args": "--benchmark-model-arg",
    "spec.shapes": "--shape",
    "spec.metric": "--metric",
    "spec.cpus": "--cpus",
    "spec.background_load": "--background-load",
    "spec.energy": "--energy",
    "spec.warmup_runs": "--warmup",
    "spec.warmup_secs": "--warmup",
    "spec.min_runs": "--min-runs",
    "spec.min_secs": "--min-secs",
    "spec.max_secs": "--max-secs",
    "spec.processes": "--processes",
    "spec.cooldown_secs": "--cooldown",
    "spec.timeout_secs": "--timeout",
}
_SHOWN_CHARACTERS = 60

_KINDS_OF_CORES = ("big", "all")


def make_suite(
    base: dict[str, Any],
    options: dict[str, Any],
    spec: dict[str, Any],
    weights: list[str],
    *,
    fresh: bool,
    defaults: dict[str, Any] | None = None,
) -> Suite:
    """The suite of a file or of the journal, overruled by the options that were given.

    ``defaults`` apply to fields of the spec that neither sets.

    Raises:
        UsageError: a value is wrong; it is named by its option.
    """
    from shufflenet_deploy.bench import FieldError, Suite  # noqa: PLC0415

    fields: dict[str, Any] = {**_DEFAULTS, **base}
    fields.update({key: value for key, value in options.items() if value is not None})
    if options.get("cores"):
        fields["spec"] = {**fields.get("spec", {}), "cpus": None}
    if fields.get("baseline") in ("none", ""):
        fields["baseline"] = None
    given = {key: value for key, value in spec.items() if value is not None}
    counting = INSTRUCTIONS if fresh and given.get("metric") == "instructions" else {}
    fields["spec"] = {**(defaults or {}), **fields.get("spec", {}), **counting, **given}
    if weights:
        fields["weights"] = {**fields.get("weights", {}), **checkpoints(weights, fields["models"])}
    for key in ("calibration",):
        if fields.get(key):
            fields[key] = str(user_path(fields[key]).absolute())
    try:
        return Suite.of(fields, source="bench")
    except FieldError as error:
        if error.field not in OPTIONS:
            raise
        raise UsageError(_by_option(error)) from error


def _by_option(error: FieldError) -> str:
    """One line for a wrong field, with the option in place of its name."""
    problem = error.problem.replace("Input should be", "must be")
    for field, option in OPTIONS.items():
        if field.startswith("spec."):
            name = field.removeprefix("spec.").replace("_", "-")
            problem = re.sub(rf"(?<![\w-]){name}(?![\w-])", option, problem)
    values = error.value if isinstance(error.value, list | tuple) else (error.value,)
    shown = first_line(
        ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in values),
        _SHOWN_CHARACTERS,
    )
    option = OPTIONS[error.field]
    # Some problems quote the value themselves.
    return f"{option}: {problem}" if f"'{shown}'" in problem else f"{option} {shown}: {problem}"


def read_suite(name: str) -> dict[str, Any]:
    """The fields of a suite file, or of a shipped suite, ready to be overruled."""
    from shufflenet_deploy.bench import Suite, find_suite  # noqa: PLC0415

    return Suite.read(find_suite(name)).model_dump(mode="json")


def definition_of(text: str, suite_id: str) -> dict[str, Any]:
    """The fields of a suite of the journal.

    Raises:
        UsageError: it has none, or what is stored is no suite.
    """
    if not text:
        raise UsageError(
            f"the suite {suite_id} was imported without its definition: run bench anew"
        )
    from shufflenet_deploy.bench import Suite  # noqa: PLC0415
    from shufflenet_deploy.bounded import parse_json  # noqa: PLC0415

    source = f"the suite {suite_id} in the journal"
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{source} is damaged: {error}; run bench anew") from error
    if not isinstance(fields, dict):
        raise UsageError(f"{source} is damaged: run bench anew")
    Suite.of(fields, source=source)
    return fields


def integers(values: list[str] | None) -> list[int] | None:
    """``["1,4"]`` as ``[1, 4]``; None when the option was not given."""
    from shufflenet_deploy.bounded import integer  # noqa: PLC0415

    words = listed(values)
    if not words:
        return None
    try:
        return [integer(word) for word in words]
    except ValueError as error:
        raise UsageError(
            f"--threads {first_line(','.join(words), 60)}: write integers, such as 1,4"
        ) from error


def cores(text: str | None) -> list[int] | None:
    """``"0,2-3"`` as ``[0, 2, 3]``; None for a word, which ``kind_of_cores`` reads."""
    if text is None or text in _KINDS_OF_CORES:
        return None
    cores: set[int] = set()
    for word in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?\s*", word)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--cpus {text}: write big, all, or core numbers, such as 0,1 or 4-7")
        cores.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(cores)


def kind_of_cores(text: str | None) -> str | None:
    """``big`` or ``all``; None when cores are named, or none are."""
    return text if text in _KINDS_OF_CORES else None


def warmup_limits(text: str | None) -> dict[str, Any]:
    """``"10"`` inferences, or ``"0.5s"``; the other minimum is then zero."""
    if text is None:
        return {}
    if re.fullmatch(r"[0-9]{1,18}", text):
        return {"warmup_runs": int(text), "warmup_secs": 0.0}
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(ms|s)", text.strip())
    if match is None:
        raise UsageError(f"--warmup {text}: write a number of inferences or seconds: 10, 0.5s")
    return {"warmup_runs": 1, "warmup_secs": float(match[1]) / (1000 if match[2] == "ms" else 1)}


_UNIT_SECS = {"s": 1, "m": 60, "min": 60, "h": 3600}


def duration_secs(text: str | None) -> float | None:
    """``"10m"``, ``"90s"`` or ``"1h"`` in seconds; None when the option was not given."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(s|m|min|h)", text.strip())
    if match is None or float(match[1]) * _UNIT_SECS[match[2]] < 1:
        raise UsageError(f"--sustained {text}: write a time such as 10m or 90s")
    return float(match[1]) * _UNIT_SECS[match[2]]


def program(path: Path | None) -> str | None:
    """The absolute path of a program that can be pushed; None when the option was not given."""
    if path is None:
        return None
    file = user_path(path).absolute()
    if not file.is_file():
        raise UsageError(f"--benchmark-model: {path} is not a file")
    if not os.access(file, os.X_OK):
        raise UsageError(f"--benchmark-model: {path} may not be executed: chmod +x {path}")
    return str(file)
