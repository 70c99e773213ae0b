"""Output of sustained measurements and cross-checks by ``bench`` and ``runs``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shufflenet_deploy.records import AnyObservation, Run, Sustained
    from shufflenet_deploy.stats import Interval


def newest(observations: Sequence[AnyObservation]) -> list[AnyObservation]:
    """The last attempt of each measurement."""
    latest: dict[tuple[object, ...], AnyObservation] = {}
    for one in observations:
        cells = one.cells if one.kind == "sustained" else (one.cell,)
        more: tuple[object, ...] = ()
        if one.kind in {"paced", "pipeline"}:
            rate = one.rate_hz if one.kind == "paced" else None
            more = (rate, one.process)
        key = (one.kind, one.target.host, cells, *more)
        latest.pop(key, None)
        latest[key] = one
    return list(latest.values())


def summaries(observations: Sequence[AnyObservation], runs: Sequence[Run]) -> list[str]:
    """One text per sustained measurement, and one each for all paced ones and cross-checks."""
    from shufflenet_deploy.report import cross_check, paced, pipelines, sustained  # noqa: PLC0415

    texts = [sustained.summary(one) for one in observations if one.kind == "sustained"]
    if pipes := [one for one in observations if one.kind == "pipeline"]:
        texts.insert(0, pipelines.summary(pipes))
    if at_a_rate := [one for one in observations if one.kind == "paced"]:
        texts.insert(0, paced.summary(at_a_rate, runs))
    checks = [one for one in observations if one.kind == "cross-check"]
    return [*texts, cross_check.summary(checks, runs)] if checks else texts


def described(one: AnyObservation, runs: Sequence[Run]) -> dict[str, Any]:
    """The object for ``--json``: the findings, without samples (see ``runs export``)."""
    return {"host": one.target.host, **_described(one, runs)}


def _described(one: AnyObservation, runs: Sequence[Run]) -> dict[str, Any]:
    from shufflenet_deploy.report import cross_check, paced, pipelines  # noqa: PLC0415

    if one.kind == "cross-check":
        fields = one.model_dump(mode="json", exclude={"raw", "target", "spec"})
        return {**fields, "our_mean_ns": cross_check.mean_ns(one, runs)}
    if one.kind == "paced":
        fields = one.model_dump(mode="json", exclude={"latency", "inference", "target", "spec"})
        return {**fields, **paced.figures(one)}
    if one.kind == "pipeline":
        fields = one.model_dump(mode="json", exclude={"stages", "total", "target", "spec"})
        return {**fields, **pipelines.figures(one)}
    fields = one.model_dump(mode="json", exclude={"slices", "trace", "target", "spec"})
    return fields if one.failure is not None else {**fields, **_findings(one)}


def _findings(one: Sustained) -> dict[str, Any]:
    from shufflenet_deploy.analysis.sustained import analyse  # noqa: PLC0415

    found = analyse(one)
    return {
        "window_secs": found.window_secs,
        "models": [
            {
                "model": course.cell.model,
                "first_ns": _interval(course.first),
                "last_ns": _interval(course.last),
                "slowdown": _interval(course.slowdown),
            }
            for course in found.courses
        ],
        "speedups": [
            {
                "model": speedup.cell.model,
                "first": _interval(speedup.first),
                "last": _interval(speedup.last),
                "change": _interval(speedup.change),
            }
            for speedup in found.speedups
        ],
        "ranking_first": [cell.model for cell in found.fastest_first],
        "ranking_last": [cell.model for cell in found.fastest_last],
        "overtaking": [
            {"was_faster": before.model, "is_faster": after.model}
            for before, after in found.overtaking
        ],
        "throttling": None if found.throttling is None else asdict(found.throttling),
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
