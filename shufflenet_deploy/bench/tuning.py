"""Searches for the lowering that costs least on one target, by measuring there.

First every named lowering of fp32 and int8 side by side, then, stage by stage, other forms
of shuffle in the best of them. A candidate takes the place of a plainer one only where the interval
of their ratio lies wholly below 1, so a tie goes to the plainer and nothing is ever chosen that is
slower than the network as the paper draws it. The same samples give the same choice, which is what
makes an interrupted search resumable from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from shufflenet_deploy import runtime, stats
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.lowering_names import (
    FORMS,
    PAPER,
    Choice,
    is_formed,
    parse,
)
from shufflenet_deploy.export.tuning_table import TunedLowering, TuningFigure
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Measurement,
    Metric,
    Precision,
    Record,
    Run,
    RuntimeSpec,
)

#: Stages of a ShuffleNet whose shuffles may be written in different forms.
STAGES = ("stage2", "stage3", "stage4")

#: Counts repeat to 0.05 %: a smaller gain than this is none.
_LEAST_GAIN = 0.002

#: Measures a suite under a name that is the same when the search is resumed.
Measure = Callable[[str, Suite], Sequence[Run]]


class TuningRequest(Record):
    """One tuning task: a model in a runtime on a core, in the precisions whose files have
    lowerings. ``card`` is the model's file where it does not ship with this package.
    """

    model: str
    card: str | None = None
    weights: str | None = None
    runtime: str
    resolution: str
    core: str
    host: str
    spec: BenchmarkSpec
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.INT8)
    by_stage: bool = True


def tune(question: TuningRequest, measure: Measure) -> tuple[TunedLowering, ...]:
    """The best lowering per precision, with the figures that decided.

    Raises:
        TargetError: not even the plain network could be measured.
    """
    search = _Search(question, measure)
    samples = search.measured("all", question.precisions, search.named())
    entries = []
    for precision in question.precisions:
        best = search.best_of(samples[precision])
        if question.by_stage:
            best = search.by_stage(precision, best)
        entries.append(search.entry(precision, best))
    return tuple(search.compared(entries))


Samples = dict[str, list[tuple[int, ...]]]


class _Search:
    def __init__(self, question: TuningRequest, measure: Measure) -> None:
        self._question = question
        self._measure = measure
        self._format = runtime.get(question.runtime).formats[0]
        self._figures: dict[Precision, dict[str, TuningFigure]] = {}
        self._version = ""
        self._suites: list[str] = []

    def named(self) -> list[str]:
        """Every lowering of these files that has a name, plainest first."""
        names = [
            name
            for precision in self._question.precisions
            for name in formats.get(self._format).lowerings[precision]
        ]
        return list(dict.fromkeys(names))

    def measured(
        self, name: str, precisions: Sequence[Precision], lowerings: Sequence[str]
    ) -> dict[Precision, Samples]:
        """Samples by precision and lowering, plainest first; without what failed or is wrong."""
        question = self._question
        suite = Suite(
            name="tune",
            models=(question.model,),
            cards={question.model: question.card} if question.card else {},
            baseline=None,
            weights={question.model: question.weights} if question.weights else {},
            lowerings=tuple(lowerings),
            runtimes=(question.runtime,),
            precisions=tuple(precisions),
            resolutions=(question.resolution,),
            spec=question.spec,
        )
        title = f"{question.runtime.partition('==')[0]}-{name}"
        self._suites.append(title)
        found: dict[Precision, dict[str, list[Run]]] = {one: {} for one in precisions}
        for run in self._measure(title, suite):
            passed = run.artifact is not None and run.artifact.parity.passed
            if passed and isinstance(run.outcome, Measurement):
                of_precision = found[run.cell.precision]
                of_precision.setdefault(run.cell.options["lowering"], []).append(run)
                self._version = run.runtime_version or self._version
        samples = {
            precision: {
                lowering: stats.samples_of(runs[lowering])
                for lowering in lowerings
                if lowering in runs
            }
            for precision, runs in found.items()
        }
        for one, measured in samples.items():
            self._note(one, measured)
        return samples

    def _note(self, precision: Precision, samples: Samples) -> None:
        """Keep the figures, each relative to the plain network of the same suite."""
        plain = samples.get(PAPER)
        if plain is None:
            raise TargetError(
                f"{self._question.model} {precision.value} as the paper draws it could not be"
                f" measured in {self._question.runtime}: nothing to compare with"
            )
        known = self._figures.setdefault(precision, {})
        for lowering, processes in samples.items():
            ratio = stats.ratio_interval(plain, processes)
            known[lowering] = TuningFigure(
                lowering=lowering,
                value=round(stats.center(processes)),
                ratio=round(ratio.estimate, 5),
                low=round(ratio.low, 5),
                high=round(ratio.high, 5),
            )

    def best_of(self, samples: Samples) -> str:
        """The lowering that is surely faster than every plainer one that was best before it."""
        best = PAPER
        for lowering, processes in samples.items():
            if self._faster(samples[best], processes):
                best = lowering
        return best

    def _faster(
        self, known: Sequence[tuple[int, ...]], candidate: Sequence[tuple[int, ...]]
    ) -> bool:
        least = _LEAST_GAIN if self._question.spec.metric is Metric.INSTRUCTIONS else 0.0
        return stats.ratio_interval(known, candidate).high < 1 - least

    def by_stage(self, precision: Precision, best: str) -> str:
        """Other forms of shuffle in one stage after the other, as long as they gain."""
        for stage in STAGES:
            choice = parse(best, self._format, precision)
            if not is_formed(choice):
                return best
            others = [str(_with_form(choice, stage, form)) for form in FORMS]
            lowerings = [PAPER, best, *(one for one in others if one != best)]
            name = f"{precision.value}-{stage}"
            samples = self.measured(name, (precision,), lowerings)[precision]
            if best not in samples:
                return best
            for lowering, processes in list(samples.items())[2:]:
                if self._faster(samples[best], processes):
                    best = lowering
        return best

    def entry(self, precision: Precision, best: str) -> TunedLowering:
        """The tuning-table entry of one precision."""
        question = self._question
        figures = sorted(self._figures[precision].values(), key=lambda one: one.value)
        return TunedLowering(
            runtime=RuntimeSpec.parse(question.runtime).name,
            core=question.core,
            format=self._format,
            precision=precision,
            model=question.model,
            lowering=best,
            metric=question.spec.metric,
            version=self._version,
            host=question.host,
            measured=datetime.now(UTC).date().isoformat(),
            figures=tuple(figures),
        )

    def compared(self, entries: Sequence[TunedLowering]) -> list[TunedLowering]:
        """The entries, and whether int8 is worth it: both winners once more, side by side."""
        by_precision = {one.precision: one for one in entries}
        if set(by_precision) != {Precision.FP32, Precision.INT8}:
            return list(entries)
        winners = list(dict.fromkeys((PAPER, *(one.lowering for one in entries))))
        samples = self.measured("winners", self._question.precisions, winners)
        plain, small = (
            samples[precision].get(by_precision[precision].lowering)
            for precision in (Precision.FP32, Precision.INT8)
        )
        if plain is None or small is None:
            return list(entries)
        ratio = stats.ratio_interval(plain, small)
        worth_it = self._faster(plain, small)
        note = (
            f"int8 takes {ratio.estimate:.3f} of fp32 here"
            f" ({ratio.low:.3f} to {ratio.high:.3f}), both at their best"
            f"{'' if worth_it else ': use fp32'}"
        )
        return [
            one.model_copy(update={"worth_it": worth_it, "note": note})
            if one.precision is Precision.INT8
            else one
            for one in entries
        ]


def _with_form(choice: Choice, stage: str, form: str) -> Choice:
    return Choice(choice.name, tuple(sorted({**dict(choice.forms), stage: form}.items())))
