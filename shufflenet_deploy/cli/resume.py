"""Compatibility check of ``bench --resume``: it may extend a suite, never sample it otherwise.

Processes of one cell are pooled only if they sampled alike (``Run.sampling``), so an option that
would change that is refused by its name. Options that only add to a suite are accepted (more
processes, a profile, a sustained measurement, a cross-check), and so are those of its schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shufflenet_deploy.cli.bench_suite import OPTIONS
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite

#: The fields that a resumed suite keeps.
KEPT = frozenset(
    (
        *(
            "models",
            "cards",
            "files",
            "baseline",
            "alexnet_head",
            "head",
            "weights",
            "calibration",
            "lowerings",
        ),
        *("runtimes", "precisions", "resolutions", "threads", "payload", "cores", "governor"),
    )
)
#: The same of its spec.
KEPT_OF_SPEC = frozenset(
    (
        *("metric", "cpus", "warmup_runs", "warmup_secs", "min_runs", "min_secs", "max_secs"),
        *("background_load", "energy"),
    )
)


def check(suite_id: str, known: Suite, wanted: Suite) -> None:
    """Refuse options that would change what the suite samples.

    Args:
        suite_id: its id.
        known: the suite as it was measured so far.
        wanted: the same, overruled by the options that were given.

    Raises:
        UsageError: an option differs; it and both values are named.
    """
    of_spec = {f"spec.{name}" for name in KEPT_OF_SPEC}
    for field, option in OPTIONS.items():
        if field not in KEPT | of_spec:
            continue
        name = field.removeprefix("spec.")
        mine, theirs = (known.spec, wanted.spec) if name != field else (known, wanted)
        before, now = getattr(mine, name), getattr(theirs, name)
        if not _same(before, now):
            raise UsageError(
                f"{option} {_text(now)}: the suite {suite_id} measures with {_text(before)}, and "
                f"--resume keeps what decides its samples; leave {option} out, or measure a suite "
                "of its own without --resume"
            )


def check_host(suite_id: str, known: str, given: str | None) -> None:
    """Refuse to go on with a suite on another target.

    Raises:
        UsageError: the host is not the suite's.
    """
    if given is not None and given != known:
        raise UsageError(
            f"--host {given}: the suite {suite_id} is measured on {known}; leave --host out, or "
            "measure a suite of its own without --resume"
        )


def _same(before: object, now: object) -> bool:
    if isinstance(before, tuple) and isinstance(now, tuple):
        return set(before) == set(now)
    return before == now


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={one}" for name, one in value.items()) or "none"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
