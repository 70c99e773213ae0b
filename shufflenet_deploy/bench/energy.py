"""Energy beside a measuring process: the command line that reads the target's sensors meanwhile."""

from __future__ import annotations

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bench.prepared import BenchContext, PreparedCell
from shufflenet_deploy.records import EnergyTrace, Failure, Measurement

_SCRIPT = "energy.py"
#: Idle time that is measured before and after each process, each.
IDLE_SECS = 2.0
#: A target without Python has nothing that could read its sensors beside a native program.
NO_PYTHON = "not measurable here: no Python on the target to read its sensors"


def beside(
    argv: tuple[str, ...], ready: PreparedCell, context: BenchContext
) -> tuple[tuple[str, ...], float]:
    """The command line that reads sensors beside ``argv``, and the seconds that it takes more.

    It is ``argv`` itself where no energy is asked for, or nothing could read it.
    """
    python = _python(ready, context)
    if not context.spec_of(ready.cell).energy or not python:
        return argv, 0.0
    script = context.install(resource("device_scripts", _SCRIPT))
    options = ("--idle-secs", f"{IDLE_SECS:g}", "--")
    return (*python, script, *options, *argv), 2 * IDLE_SECS


def explained(
    outcome: Measurement | Failure, ready: PreparedCell, context: BenchContext
) -> Measurement | Failure:
    """The outcome, with the reason where energy was asked for and nothing could read it."""
    asked = context.spec_of(ready.cell).energy
    if not asked or isinstance(outcome, Failure) or _python(ready, context):
        return outcome
    return outcome.model_copy(update={"energy": EnergyTrace(reason=NO_PYTHON)})


def _python(ready: PreparedCell, context: BenchContext) -> tuple[str, ...]:
    return ready.python or context.target.python
