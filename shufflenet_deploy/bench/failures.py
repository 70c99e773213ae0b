"""Parsing of a remote program's result: its report, or a classified failure."""

from __future__ import annotations

import signal

from shufflenet_deploy import runtime
from shufflenet_deploy.errors import CommandTimeout, DeployError, ParseError, TransportError
from shufflenet_deploy.printing import first_line, masked
from shufflenet_deploy.records import Failure, FailureKind
from shufflenet_deploy.runtime import Report
from shufflenet_deploy.transport import CommandResult

_STDERR_TAIL = 2000


def read(engine: runtime.Runtime, result: CommandResult) -> Report | Failure:
    """Parse the agent's report; without one, classify its exit status."""
    try:
        return engine.parse(result.text)
    except ParseError as error:
        return unexplained(result, error)


def unexplained(result: CommandResult, error: ParseError) -> Failure:
    """Classify the exit status of a program without a readable report."""
    number = _signal_of(result.exit_code)
    if number == signal.SIGKILL:
        return Failure(
            kind=FailureKind.OUT_OF_MEMORY,
            message=(
                "the agent was killed (SIGKILL), most often by the kernel when memory runs "
                "out: free memory, or choose a smaller model or resolution"
            ),
        )
    if number is not None:
        return Failure(
            kind=FailureKind.CRASHED,
            message=f"the runtime crashed ({_signal_name(number)}){_last_line(result)}",
        )
    if result.exit_code:
        return Failure(
            kind=FailureKind.CRASHED,
            message=f"the agent ended with status {result.exit_code}{_last_line(result)}",
        )
    return Failure(kind=FailureKind.PARSE, message=str(error))


def failure_of(error: DeployError, timeout_secs: float) -> Failure:
    """A program that could not be run to its end."""
    if isinstance(error, CommandTimeout):
        message = (
            f"not done after {timeout_secs:g} s and killed: raise --timeout, "
            "or choose a smaller resolution"
        )
        return Failure(kind=FailureKind.TIMEOUT, message=message)
    if isinstance(error, TransportError):
        return Failure(kind=FailureKind.CONNECTION, message=str(error), transient=error.transient)
    return Failure(kind=FailureKind.TARGET, message=str(error), transient=error.transient)


def _signal_of(exit_code: int) -> int | None:
    if exit_code < 0:
        return -exit_code
    return exit_code - 128 if 128 < exit_code < 128 + 65 else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(result: CommandResult) -> str:
    lines = [line.strip() for line in tail(result.stderr).splitlines() if line.strip()]
    return f": {masked(first_line(lines[-1], 500))}" if lines else ""


def tail(stderr: bytes) -> str:
    """The end of what a program wrote to standard error."""
    return stderr.decode("utf-8", "replace")[-_STDERR_TAIL:]
