"""The questions of ``doctor`` to a target; ``preflight`` makes checks of the answers."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shufflenet_deploy import runtime
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.target import HealthProbe, Place, ProvisioningPlan, SensorReading, Target


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Everything that was asked of a target. ``plans`` by the name of the runtime."""

    facts: TargetFacts
    sensors: SensorReading
    health: HealthProbe
    plans: Mapping[str, ProvisioningPlan]
    measuring_for: str | None = None
    place: Place | None = None

    @property
    def host_word(self) -> str:
        """The host as a word of a command line; the serial of a phone may have spaces in it."""
        return shlex.quote(self.facts.host)


def probe(target: Target, runtimes: Sequence[str]) -> Probe:
    """Ask a target everything; nothing is written there.

    Raises:
        UsageError: there is no such runtime.
        TransportError: the link failed.
        TargetError: it has no POSIX shell.
    """
    engines = [runtime.get(name) for name in runtimes]
    return Probe(
        facts=target.facts(),
        sensors=target.sensors(),
        health=target.health(),
        plans={engine.name: _plan(engine, target) for engine in engines},
        measuring_for=target.measuring_for(),
        place=target.place(),
    )


def _plan(engine: runtime.Runtime, target: Target) -> ProvisioningPlan:
    if engine.standalone:
        from shufflenet_deploy.codegen.cpu_target import for_facts  # noqa: PLC0415

        try:
            for_facts(target.facts())
        except ExportError as error:
            return ProvisioningPlan(how=None, text=str(error), standalone=True)
    plan = target.plan_provisioning(engine.payload)
    check = engine.build_check
    if check is None or plan.how is None:
        return plan
    lack = _lack(check, plan, target)
    return ProvisioningPlan(how=None, text=lack, remedy=check.remedy) if lack else plan


def _lack(check: runtime.BuildCheck, plan: ProvisioningPlan, target: Target) -> str:
    """What the build lacks that would be used; "" if nothing."""
    if plan.installed is None:
        return check.wheels_lack
    command = (*plan.installed.python, "-c", check.program.read_text(encoding="utf-8"))
    result = target.invoke(command, env=plan.installed.env)
    return first_line(result.complaint if result.exit_code else result.text.strip())
