"""TFLite's own ``benchmark_model``: its command line, and what it prints.

The formats are those of ``tensorflow/lite/tools/benchmark`` (``benchmark_model.cc``) and
``tensorflow/core/util/stats_calculator.h``: one line of statistics in whole microseconds for the
warm-up and one for the benchmark, the latter's average once more in the last line. Newer versions
begin lines with ``INFO: ``, and add percentiles to the statistics.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Aggregate, BenchmarkSpec
from shufflenet_deploy.target import answers

#: Results come last, and take a thousandth of this.
_MOST_CHARACTERS = 1 << 20
_NUMBER = r"[-+0-9.eE]{1,32}"
_STATISTICS = re.compile(rf"\bcount=([0-9]{{1,18}})((?: \w+={_NUMBER})+)")
#: Printed when all samples are alike, or there is only one.
_ALIKE = re.compile(
    rf"\bcount=([0-9]{{1,18}}) curr=({_NUMBER})(?:\s*\(all same\))?\s*$", re.MULTILINE
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): ({_NUMBER})"
)
_COMPLAINT = re.compile(r"^(?:ERROR: )?(.*(?:[Ff]ail|[Ee]rror|not found|invalid).*)$", re.MULTILINE)


def command(
    program: str, model: str, spec: BenchmarkSpec, more: Sequence[str] = ()
) -> tuple[str, ...]:
    """The argv that measures ``model`` (a path on the target) as a process of ours would.

    XNNPACK is asked for, since the Python runtimes apply it by themselves; ``more`` comes last, and
    of an argument that is given twice the program takes the last.
    """
    protocol = {
        "graph": model,
        "num_threads": spec.threads,
        "warmup_runs": max(1, spec.warmup_runs),
        "warmup_min_secs": f"{spec.warmup_secs:g}",
        "num_runs": spec.min_runs,
        "min_secs": f"{spec.min_secs:g}",
        "max_secs": f"{spec.max_secs:g}",
    }
    return (
        program,
        *(f"--{name}={value}" for name, value in protocol.items()),
        "--use_xnnpack=true",
        *more,
    )


#: Arguments that state the protocol: with others it would be no cross-check.
PROTOCOL = frozenset(
    ("graph", "num_threads", "warmup_runs", "warmup_min_secs", "num_runs", "min_secs", "max_secs")
)


def parse(printed: str) -> Aggregate:
    """Read both streams, one behind the other.

    Raises:
        ParseError: there is no result in them; the message holds the program's own complaint.
    """
    printed = printed[-_MOST_CHARACTERS:]
    timings = _TIMINGS.search(printed)
    if timings is None:
        complaint = _COMPLAINT.search(printed)
        reason = (
            first_line(complaint[1]) if complaint else "it printed no 'Inference timings in us'"
        )
        raise ParseError(f"benchmark_model gave no result: {reason}")
    try:
        init, first, average = (float(text) for text in timings.groups())
        fields, count = _last_statistics(printed[: timings.start()])
    except ValueError as error:
        raise ParseError(f"benchmark_model printed a wrong number: {error}") from error
    fields = {
        "count": count,
        "average_us": average,
        "min_us": fields["min"],
        "max_us": fields["max"],
        "std_us": fields["std"],
        "first_us": first,
        "init_us": init,
    }
    return answers.record(Aggregate, fields, whose="benchmark_model printed a wrong number")


def _last_statistics(text: str) -> tuple[dict[str, float], int]:
    """Those of the benchmark: the warm-up's stand before them."""
    places: list[tuple[int, dict[str, float], int]] = []
    for match in _STATISTICS.finditer(text):
        fields = {name: float(value) for name, value in re.findall(rf"(\w+)=({_NUMBER})", match[2])}
        if {"min", "max", "std"} <= fields.keys():
            places.append((match.start(), fields, int(match[1])))
    for match in _ALIKE.finditer(text):
        value = float(match[2])
        places.append((match.start(), {"min": value, "max": value, "std": 0.0}, int(match[1])))
    if not places:
        raise ParseError("benchmark_model printed no statistics (a line with count=, min=, max=)")
    _, fields, count = max(places, key=lambda place: place[0])
    return fields, count
