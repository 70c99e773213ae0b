"""Time breakdown of an inference by layer, and cost gaps against the multiply-adds.

Pure functions over profiles. Values are in ``Metric.unit`` (ns, instructions) per inference. An
operator is the median of its own durations: an interrupt hits one operator or another and seldom
the same one twice. The whole's median minus the sum of the operators' is reported as ``OUTSIDE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from shufflenet_deploy import stats
from shufflenet_deploy.records import (
    Cell,
    LayerKind,
    LayerWork,
    Measurement,
    Metric,
    OperatorTiming,
    Profile,
    Record,
    Run,
)
from shufflenet_deploy.stats.attempts import CellRuns

#: Operators of no layer: the runtime added them for another memory layout or number format.
BETWEEN = "between layers"

#: Time of no operator: the executor, the profiler itself, and its rounding.
OUTSIDE = "outside operators"

#: An inference without the profiler minus the sum of its operators with it; may be negative.
REST = "rest"

#: The network's layers are unknown, so operators stand for themselves.
UNKNOWN = "unattributed"


class ProfiledPart(Record):
    """A part of an inference: its operators, their time, and their share of the whole.

    ``kind`` is that of a single layer.
    """

    name: str
    kind: LayerKind | None = None
    operators: int
    multiply_adds: int
    value: float
    share: float


class Breakdown(Record):
    """The time of one cell by layer kind, layer and operator.

    ``whole`` is an inference with the profiler; ``kinds``, ``layers`` and ``operators`` each add up
    to it, the last line being ``OUTSIDE``. ``plain`` is an inference without the profiler, in the
    same process before. ``measured`` are the samples of the bench, by process, if there are any.
    """

    cell: Cell
    host: str
    metric: Metric
    method: str
    runtime_version: str | None
    inferences: int
    whole: float
    plain: float
    measured: tuple[tuple[int, ...], ...] = ()
    multiply_adds: int
    kinds: tuple[ProfiledPart, ...]
    layers: tuple[ProfiledPart, ...]
    operators: tuple[ProfiledPart, ...]

    @property
    def overhead(self) -> float:
        """Profiling overhead: an inference with the profiler over one without it."""
        return self.whole / self.plain

    @property
    def inside(self) -> float:
        """The sum of all operators over an inference without the profiler."""
        return sum(part.value for part in self.operators if part.name != OUTSIDE) / self.plain

    @property
    def attributed(self) -> bool:
        """True if the operators are attributed to layers."""
        return bool(self.layers)


def take_apart(
    profile: Profile,
    plain: Sequence[int],
    *,
    cell: Cell,
    host: str,
    metric: Metric,
    multiply_adds: int,
    runtime_version: str | None = None,
    measured: Sequence[Sequence[int]] = (),
) -> Breakdown:
    """Aggregate a profile by layer kind, layer and operator.

    Args:
        profile: inferences with the profiler.
        plain: inferences without it, in the same process.
        cell: what was profiled.
        host: where.
        metric: what the samples count.
        multiply_adds: of the whole network.
        runtime_version: of the runtime that ran.
        measured: samples of the bench by process, if there are any.
    """
    whole = float(median(profile.inference))
    work = {layer.name: layer for layer in profile.layers}

    def kind_of(one: OperatorTiming) -> str:
        if one.layer is not None:
            return work[one.layer].kind.value
        return BETWEEN if work else UNKNOWN

    def parts(
        key: Callable[[OperatorTiming], str], adds: dict[str, int], order: Sequence[str] = ()
    ) -> list[ProfiledPart]:
        found: dict[str, list[OperatorTiming]] = {name: [] for name in order if name in adds}
        for one in profile.operators:
            found.setdefault(key(one), []).append(one)
        return [
            _part(name, members, adds.get(name, 0), whole)
            for name, members in found.items()
            if members or adds.get(name)
        ]

    by_kind = parts(kind_of, _adds_by_kind(profile.layers), [kind.value for kind in LayerKind])
    order = [*(kind.value for kind in LayerKind), BETWEEN, UNKNOWN]
    by_kind.sort(key=lambda part: order.index(part.name))
    by_operator = parts(lambda one: one.operator, {})
    by_operator.sort(key=lambda part: part.value, reverse=True)
    outside = _outside(profile, whole)
    return Breakdown(
        cell=cell,
        host=host,
        metric=metric,
        method=profile.method,
        runtime_version=runtime_version,
        inferences=len(profile.inference),
        whole=whole,
        plain=float(median(plain)),
        measured=tuple(tuple(samples) for samples in measured),
        multiply_adds=multiply_adds,
        kinds=(*by_kind, outside),
        layers=_by_layer(profile, whole),
        operators=(*by_operator, outside),
    )


def _part(name: str, members: Sequence[OperatorTiming], adds: int, whole: float) -> ProfiledPart:
    value = float(sum(median(one.samples) for one in members))
    return ProfiledPart(
        name=name, operators=len(members), multiply_adds=adds, value=value, share=value / whole
    )


def _outside(profile: Profile, whole: float) -> ProfiledPart:
    inside = _part("", profile.operators, 0, whole).value
    return ProfiledPart(
        name=OUTSIDE,
        operators=0,
        multiply_adds=0,
        value=whole - inside,
        share=(whole - inside) / whole,
    )


def _adds_by_kind(layers: Iterable[LayerWork]) -> dict[str, int]:
    found: dict[str, int] = {}
    for layer in layers:
        found[layer.kind.value] = found.get(layer.kind.value, 0) + layer.multiply_adds
    return found


def _by_layer(profile: Profile, whole: float) -> tuple[ProfiledPart, ...]:
    """Every layer in the network's order, those merged into another with no operators.

    Operators between layers are one line at the end.
    """
    if not profile.layers:
        return ()
    owned: dict[str | None, list[OperatorTiming]] = {}
    for one in profile.operators:
        owned.setdefault(one.layer, []).append(one)
    parts = [
        _part(layer.name, owned.get(layer.name, []), layer.multiply_adds, whole).model_copy(
            update={"kind": layer.kind}
        )
        for layer in profile.layers
    ]
    if None in owned:
        parts.append(_part(BETWEEN, owned[None], 0, whole))
    return (*parts, _outside(profile, whole))


# --- one model against another -------------------------------------------------------------------


class CostGap(Record):
    """One kind of layer in two models.

    ``theory`` is how many times fewer multiply-adds the candidate has there, ``ratio`` how many
    times faster it is. ``promised`` is its time if it scaled with the multiply-adds of the whole
    network (see ``decompose``), ``lost`` the time beyond that.
    """

    name: str
    baseline: float
    candidate: float
    promised: float
    lost: float
    theory: float | None
    ratio: float | None


class Decomposition(Record):
    """The cost gap, by layer kind, between measured and theoretical speedup (multiply-adds).

    ``theory`` is the ratio of multiply-adds, ``speedup`` that of inferences that nothing profiled,
    of the processes that profiled later. ``gaps`` add up to both inferences and to ``lost``,
    ``REST`` included. ``measured``, ``low`` and ``high`` are the bench's speedup and its 95 %
    interval, where it measured both.
    """

    candidate: Cell
    baseline: Cell
    metric: Metric
    theory: float
    speedup: float
    measured: float | None
    low: float | None
    high: float | None
    lost: float
    gaps: tuple[CostGap, ...]


def decompose(candidate: Breakdown, baseline: Breakdown) -> Decomposition | None:
    """Compare two models kind by kind of layer; None where the layers of one are unknown.

    The baseline's inference, divided by the ratio of all multiply-adds, is what is promised. It is
    shared out by kind as it was spent by the baseline, so that a kind that shrinks less than the
    multiply-adds loses. Where the two do not multiply in the same kinds of layers (AlexNet has no
    1x1 convolutions), that share is laid together for all kinds that multiply and given to the
    candidate's by their multiply-adds.
    """
    if not candidate.attributed or not baseline.attributed:
        return None
    scale = candidate.multiply_adds / baseline.multiply_adds
    ours, theirs = _with_rest(candidate), _with_rest(baseline)
    alike = {*_multiplying(ours)} == {*_multiplying(theirs)}
    pace = sum(part.value for part in _multiplying(theirs).values()) / sum(
        part.multiply_adds for part in theirs.values()
    )
    gaps = []
    for name in (*(kind.value for kind in LayerKind), BETWEEN, REST):
        one, other = ours.get(name), theirs.get(name)
        if one is None and other is None:
            continue
        value, base = (part.value if part else 0.0 for part in (one, other))
        adds, base_adds = (part.multiply_adds if part else 0 for part in (one, other))
        multiplies = not alike and (adds or base_adds)
        promised = adds * pace if multiplies else base * scale
        gaps.append(
            CostGap(
                name=name,
                baseline=base,
                candidate=value,
                promised=promised,
                lost=value - promised,
                theory=base_adds / adds if adds and base_adds else None,
                ratio=base / value if value > 0 and base > 0 else None,
            )
        )
    known = bool(candidate.measured and baseline.measured)
    interval = stats.speedup_interval(baseline.measured, candidate.measured) if known else None
    return Decomposition(
        candidate=candidate.cell,
        baseline=baseline.cell,
        metric=candidate.metric,
        theory=1 / scale,
        speedup=baseline.plain / candidate.plain,
        measured=interval.estimate if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        lost=candidate.plain - baseline.plain * scale,
        gaps=tuple(gaps),
    )


def _multiplying(parts: Mapping[str, ProfiledPart]) -> dict[str, ProfiledPart]:
    return {name: part for name, part in parts.items() if part.multiply_adds}


def _with_rest(whole: Breakdown) -> dict[str, ProfiledPart]:
    """The kinds by name, and ``REST``, up to the inference without the profiler."""
    kinds = {part.name: part for part in whole.kinds if part.name != OUTSIDE}
    value = whole.plain - sum(part.value for part in kinds.values())
    rest = ProfiledPart(
        name=REST, operators=0, multiply_adds=0, value=value, share=value / whole.plain
    )
    return {**kinds, REST: rest}


def decompositions(breakdowns: Sequence[Breakdown], against: str) -> list[Decomposition]:
    """Every model with no more multiply-adds against the one named, in the same setting."""
    found = []
    for one in breakdowns:
        rivals = [other for other in breakdowns if _comparable(one, other, against)]
        if one.cell.model == against or not rivals or one.multiply_adds > rivals[0].multiply_adds:
            continue
        made = decompose(one, rivals[0])
        if made is not None:
            found.append(made)
    return found


def _comparable(one: Breakdown, other: Breakdown, against: str) -> bool:
    setting = ("runtime", "format", "precision", "resolution", "threads")
    same = all(getattr(one.cell, name) == getattr(other.cell, name) for name in setting)
    same = same and (one.host, one.metric) == (other.host, other.metric)
    return same and other.cell.model == against


def of_suite(profiles: Iterable[Run], measured: Sequence[Run]) -> list[Breakdown]:
    """The breakdowns of a suite's profiles, with the samples of its measurements."""
    found = []
    for run in profiles:
        if run.profile is None or not isinstance(run.outcome, Measurement):
            continue
        host = run.target.host
        same = [one for one in measured if one.cell == run.cell and one.target.host == host]
        found.append(
            take_apart(
                run.profile,
                run.outcome.samples,
                cell=run.cell,
                host=host,
                metric=run.spec.metric,
                multiply_adds=run.multiply_adds or 0,
                runtime_version=run.runtime_version,
                measured=stats.samples_of(CellRuns.of(same).kept),
            )
        )
    return found
