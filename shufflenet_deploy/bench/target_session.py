"""A target held for one suite: the lock, the governor, the pauses, and patience with its link.

Only this module retries. What is transient is tried again, over a new connection where the old one
broke; the lock and the governor end with their connection, so a new one takes both anew.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

from shufflenet_deploy.bench import events
from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.bench.thermal import LONGEST_WAIT_SECS, ThermalGate
from shufflenet_deploy.errors import (
    AuthenticationError,
    CommandTimeout,
    ConnectError,
    DeployError,
)
from shufflenet_deploy.target import Governor, Target
from shufflenet_deploy.transport import CommandResult

if TYPE_CHECKING:
    import tenacity

#: For a target that has just answered again.
_HELLO_SECS = 30.0
#: Longer than all that may keep us from saying that we still need the governor.
_LEASE_SLACK_SECS = LONGEST_WAIT_SECS + 120.0

_Value = TypeVar("_Value")
OnEvent = Callable[[events.Event], object]


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Retry policy: limits and backoff of waiting for another benchmark or a lost connection.

    The first pause after a broken connection is doubled each time, up to the longest. A target
    that does not answer may be restarting: it is waited for up to ``restart_secs``, with pauses of
    at most ``restart_pause_secs``, and may refuse logins that it took before for ``login_secs``.
    """

    lock_wait_secs: float = 60.0
    first_pause_secs: float = 1.0
    longest_pause_secs: float = 30.0
    restart_secs: float = 300.0
    restart_pause_secs: float = 5.0
    login_secs: float = 60.0


DEFAULT_PATIENCE = Patience()


class TargetSession:
    """The one way in which a suite does anything on its target.

    Entered, it keeps other benches away. ``patiently`` serves before that, too.
    """

    def __init__(
        self,
        suite: Suite,
        target: Target,
        *,
        emit: OnEvent,
        patience: Patience,
        sleep: Callable[[float], None],
    ) -> None:
        self._suite, self._target = suite, target
        self._emit, self._patience, self._sleep = emit, patience, sleep
        self._held = contextlib.ExitStack()
        self._governor: Governor | None = None
        self._broken = False
        self._gone = False
        self._measured = False

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            TargetError: somebody else measures there.
        """
        self._lock()
        return self

    def __exit__(self, *exception: object) -> None:
        """Put the governor back and give the lock back."""
        self._held.close()

    def check_governor(self) -> None:
        """Refuse a governor that the target has not, or that we may not set, before anything slow.

        Raises:
            UsageError: the kernel has no such governor, or none at all.
            TargetError: we may not set it.
        """
        governor = self._suite.governor
        if governor is not None:
            self.with_retry(
                "asking for its governors", lambda: self._target.check_governor(governor)
            )

    def set_governor(self) -> None:
        """Set what the suite asks for, for as long as the target is held."""
        if self._suite.governor is not None:
            self._governor = self._held.enter_context(
                self._target.governor(self._suite.governor, lease_secs=self._lease_secs)
            )

    def cool_down(self, longer_secs: float = 0.0) -> None:
        """Pause before a process; ``longer_secs`` is how much longer it may take than usual."""
        governor, lease_secs = self._governor, self._lease_secs + longer_secs
        if governor is not None:
            self.with_retry("keeping the governor", lambda: governor.renew(lease_secs))
        secs = self._suite.spec.cooldown_secs
        if secs > 0 and self._measured:
            self._emit(events.Cooling(secs=secs))
            self._sleep(secs)
        self._measured = True
        self._gate.wait()

    def with_retry(self, what: str, action: Callable[[], _Value]) -> _Value:
        """Do something on the target; again, over a new connection, while errors are transient.

        A target that does not answer any more may be restarting and is waited for. A program that
        ran past its limit is not started again: it would run past it again.
        """
        import tenacity  # noqa: PLC0415 - asyncio comes with it

        def attempt() -> _Value:
            if self._broken:
                self._reconnect()
            try:
                return action()
            except ConnectError:
                self._broken = True
                raise

        def announce(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait_secs = state.next_action.sleep if state.next_action else 0.0
            if isinstance(error, Exception):
                self._emit(events.Retrying(what=what, error=error, wait_secs=float(wait_secs)))

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._suite.retries + 1),
            wait=tenacity.wait_exponential(
                multiplier=self._patience.first_pause_secs,
                min=self._patience.first_pause_secs,
                max=self._patience.longest_pause_secs,
            ),
            retry=tenacity.retry_if_exception(self._is_worth_a_retry),
            before_sleep=announce,
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(attempt)

    def invoke(
        self,
        what: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float,
        cpus: Sequence[int] | None = None,
    ) -> CommandResult:
        """Run a program on the target, patiently."""
        return self.with_retry(
            what, lambda: self._target.invoke(argv, env=env, timeout_s=timeout_s, cpus=cpus)
        )

    @property
    def _lease_secs(self) -> float:
        spec = self._suite.spec
        return spec.timeout_secs + spec.cooldown_secs + _LEASE_SLACK_SECS

    @cached_property
    def _gate(self) -> ThermalGate:
        return ThermalGate(
            limit_c=self._suite.max_temperature_c,
            hottest_c=lambda: (
                self.with_retry("reading temperatures", self._target.sensors).hottest_c
            ),
            emit=self._emit,
            sleep=self._sleep,
        )

    def _is_worth_a_retry(self, error: BaseException) -> bool:
        transient = isinstance(error, DeployError) and error.transient
        return transient and not self._gone and not isinstance(error, CommandTimeout)

    def _await_return(self) -> None:
        """Connect again, to a target that may be restarting.

        Raises:
            ConnectError: it did not come back within ``Patience.restart_secs``.
            AuthenticationError: it lets nobody in, nor later.
            TransportError: as when connecting first.
        """
        patience, link = self._patience, self._target.transport
        pause_secs = patience.first_pause_secs
        waited_secs = refused_secs = 0.0
        while True:
            began = time.monotonic()
            try:
                link.__enter__()
                # A system that shuts down still lets in, and runs nothing.
                link.run(["true"], timeout_s=_HELLO_SECS)
            except (ConnectError, CommandTimeout, AuthenticationError) as error:
                spent_secs = time.monotonic() - began
                waited_secs += spent_secs
                if isinstance(error, AuthenticationError):
                    refused_secs += spent_secs + pause_secs
                if waited_secs >= patience.restart_secs or refused_secs >= patience.login_secs:
                    self._gone = True
                    raise
                self._emit(
                    events.Away(
                        host=self._target.host,
                        error=error,
                        waited_secs=waited_secs,
                        longest_secs=patience.restart_secs,
                    )
                )
                self._sleep(pause_secs)
                waited_secs += pause_secs
                pause_secs = min(2 * pause_secs, patience.restart_pause_secs)
            else:
                return

    def _lock(self) -> None:
        self._held.enter_context(
            self._target.exclusive(
                wait_secs=self._patience.lock_wait_secs,
                on_wait=lambda holder: self._emit(events.Stage(text=f"waiting for {holder}")),
            )
        )

    def _reconnect(self) -> None:
        # The old lock went with its connection; giving it back fails silently.
        self._held.close()
        self._target.transport.close()
        self._await_return()
        self._lock()
        if self._governor is not None:
            self.set_governor()
        self._broken = False
