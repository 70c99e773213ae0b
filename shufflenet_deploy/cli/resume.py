"""Compatibility check of ``bench --resume``: it may extend a suite, never sample it otherwise.

Processes of one cell are pooled only if they sampled alike (``Run.sampling``), so an option that
would change that is refused by its name. Options that only add to a suite are accepted (more
processes, a profile, a sustained measurement, a cross-check), and so are those of its schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite

#: The option that sets each field that a resumed suite keeps.
KEPT = {
    "models": "--model",
    "cards": "--model",
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
}
#: The same for the fields of its spec.
KEPT_OF_SPEC = {
    "metric": "--metric",
    "cpus": "--cpus",
    "warmup_runs": "--warmup",
    "warmup_secs": "--warmup",
    "min_runs": "--min-runs",
    "min_secs": "--min-secs",
    "max_secs": "--max-secs",
}


def check(suite_id: str, known: Suite, wanted: Suite) -> None:
    """Refuse options that would change what the suite samples.

    Args:
        suite_id: its id.
        known: the suite as it was measured so far.
        wanted: the same, overruled by the options that were given.

    Raises:
        UsageError: an option differs; it and both values are named.
    """
    kept = [(KEPT[name], known, wanted, name) for name in KEPT]
    of_spec = [(KEPT_OF_SPEC[name], known.spec, wanted.spec, name) for name in KEPT_OF_SPEC]
    for option, mine, theirs, name in (*kept, *of_spec):
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
