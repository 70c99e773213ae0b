"""The conditions a process starts under: on which cores, and how warm the target may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from shufflenet_deploy.bench import events
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import BenchmarkSpec, Cell, TargetFacts

_POLL_SECS = 5.0
#: A target whose temperature moved less than this in that time will not cool any further.
_STEADY_C = 0.5
_STEADY_SECS = 60.0
#: No process waits longer than that for a target to cool down.
LONGEST_WAIT_SECS = 600.0


def spec_on(suite: Suite, cell: Cell, facts: TargetFacts) -> BenchmarkSpec:
    """The protocol of one process of a cell on this target, its CPU affinity resolved.

    A single thread on a phone with unlike cores would wander between them, so it is bound to the
    fastest unless the user chooses others.

    Raises:
        UsageError: the fastest cores are asked for and the target does not report frequencies.
    """
    spec = suite.spec_of(cell)
    if spec.cpus is not None or suite.cores == "all":
        return spec
    speeds = {core.max_khz for core in facts.cores}
    if suite.cores == "auto":
        if facts.transport != "adb" or cell.threads > 1 or None in speeds or len(speeds) < 2:
            return spec
    elif None in speeds or not speeds:
        raise UsageError(
            f"{facts.host} does not report how fast its cores are: name them, such as --cpus 4-7"
        )
    return spec.model_copy(update={"cpus": big_cores(facts, cell.threads)})


def big_cores(facts: TargetFacts, threads: int) -> tuple[int, ...]:
    """The cores with the highest maximum frequency, and slower ones until each thread has one."""
    chosen: set[int] = set()
    for speed in sorted({core.max_khz or 0 for core in facts.cores}, reverse=True):
        if len(chosen) >= max(threads, 1):
            break
        chosen |= {core.index for core in facts.cores if (core.max_khz or 0) == speed}
    return tuple(sorted(chosen))


@dataclass(kw_only=True)
class ThermalGate:
    """Waits until a target is no warmer than a limit, or as cool as it gets.

    ``hottest_c`` asks the target, ``sleep`` waits. Nothing is waited for without a limit, or where
    the target reports no temperature.
    """

    limit_c: float | None
    hottest_c: Callable[[], float | None]
    emit: Callable[[events.Event], object]
    sleep: Callable[[float], None]
    _blind: bool = field(default=False, init=False)

    def wait(self) -> None:
        """Return when the next process may start."""
        if self.limit_c is None or self._blind:
            return
        seen: list[float] = []
        while True:
            now_c = self.hottest_c()
            if now_c is None:
                self._blind = True
                self._note("the target reports no temperature, so --max-temperature has no effect")
                return
            if now_c <= self.limit_c:
                return
            seen.append(now_c)
            waited_secs = (len(seen) - 1) * _POLL_SECS
            lately = seen[-int(_STEADY_SECS / _POLL_SECS) - 1 :]
            if waited_secs >= _STEADY_SECS and max(lately) - min(lately) < _STEADY_C:
                self._note(f"steady at {now_c:.1f} °C, above {self.limit_c:g} °C: measuring there")
                return
            if waited_secs >= LONGEST_WAIT_SECS:
                self._note(
                    f"still {now_c:.1f} °C after {waited_secs:.0f} s, above {self.limit_c:g} °C: "
                    "measuring there"
                )
                return
            self.emit(
                events.Hot(
                    now_c=now_c,
                    limit_c=self.limit_c,
                    waited_secs=waited_secs,
                    longest_secs=LONGEST_WAIT_SECS,
                )
            )
            self.sleep(_POLL_SECS)

    def _note(self, text: str) -> None:
        self.emit(events.Stage(text=text))
