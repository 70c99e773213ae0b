"""The process that holds a place: a job on standard input, messages on standard output.

    python -m shufflenet_deploy.transport.lab.keeper

Whatever happens to whoever started it, its standard input closes then: the board is switched off
where that was asked for, and place and reservation are given back. A coordinator that restarts has
forgotten who holds what, so the place is taken again. What a killed keeper left is given back by
the next one on this machine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel

from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import first_problem
from shufflenet_deploy.transport.lab import leftovers
from shufflenet_deploy.transport.lab.coordinator import (
    Coordinator,
    CoordinatorError,
    Reservation,
    ReservationState,
    own_name,
)
from shufflenet_deploy.transport.lab.messages import Granted, LeaseJob, Refused, Stage

#: Of asking for our turn, as labgrid's own client does, and of looking whether the place is ours.
_TURN_SECS, _WATCH_SECS = 1.0, 0.25
_RECONNECT_SECS = 1.0
_POWER_SECS = 120.0
_LAST_SECS = 75.0


def main() -> int:
    """Hold the place until standard input closes; 1 where there was none to hold."""
    logging.disable(logging.CRITICAL)  # What matters is said as a message.
    job = LeaseJob.model_validate_json(sys.stdin.readline())
    return asyncio.run(_Keeper(job).run())


class _RefusedError(Exception):
    """No lease, or no longer one; ``usage`` as in ``Refused``."""

    def __init__(self, text: str, *, usage: bool = False) -> None:
        super().__init__(text)
        self.usage = usage


class _Keeper:
    def __init__(self, job: LeaseJob) -> None:
        self._job = job
        host, _, user = own_name().partition("/")
        self._owner = f"{host}-{secrets.token_hex(4)}/{user}"
        self._coordinator = Coordinator(job.coordinator, self._owner)
        self._over = asyncio.Event()
        self._place = ""
        self._borrowed = self._queued = False
        self._powered = False
        self._note: leftovers.Note | None = None
        self._told = ""

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._over.set)
        threading.Thread(target=self._await_end, args=(loop,), daemon=True).start()
        over, work = loop.create_task(self._over.wait()), loop.create_task(self._work())
        await asyncio.wait({over, work}, return_when=asyncio.FIRST_COMPLETED)
        refused = None
        if work.done():
            refused = work.exception()
            over.cancel()
        work.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await work
        if refused is not None:
            _say(Refused(text=_text(refused), usage=getattr(refused, "usage", False)))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._give_back(), _LAST_SECS)
        await self._coordinator.close()
        return 0 if refused is None else 1

    def _await_end(self, loop: asyncio.AbstractEventLoop) -> None:
        while sys.stdin.read(1):
            pass
        with suppress(RuntimeError):  # The loop has ended already.
            loop.call_soon_threadsafe(self._over.set)

    async def _work(self) -> None:
        await self._coordinator.connect()
        await self._give_back_of_the_dead()
        if not self._borrow():
            self._place = await self._turn()
            await self._take()
        granted, path = await self._service()
        if self._job.power_cycle:
            self._tell(f"switching {self._place} off and on")
            self._powered = True
            await self._power("cycle")
        _say(granted)
        await self._watch(path)

    # --- whose turn it is ------------------------------------------------------------------------

    def _borrow(self) -> bool:
        """Take the place as it is, if its user has acquired it by hand; it stays the user's."""
        wanted = self._coordinator.places.get(self._job.wanted.place)
        self._borrowed = wanted is not None and wanted.acquired == own_name()
        if self._borrowed:
            self._place = self._job.wanted.place
        return self._borrowed

    async def _turn(self) -> str:
        """Queue for the place; its name."""
        wanted = self._job.wanted
        if not self._coordinator.fitting(wanted.filters):
            known = ", ".join(sorted(self._coordinator.places)) or "none"
            raise _RefusedError(
                f"the lab has no place {wanted}: its places are {known}", usage=True
            )
        self._queued = True
        token = await self._coordinator.reserve(wanted.filters)
        while True:
            reservation = await self._coordinator.polled(token)
            if reservation.state is ReservationState.allocated:
                (place,) = reservation.allocations["main"]
                return str(place)
            if reservation.state is not ReservationState.waiting:
                raise _RefusedError(f"the reservation of {wanted} is {reservation.state.name}")
            queue = await self._queue(reservation)
            if not self._job.wait:
                raise _RefusedError(f"{wanted} is in use: {queue}")
            self._tell(f"waiting for {wanted}: {queue}")
            await asyncio.sleep(_TURN_SECS)

    async def _queue(self, ours: Reservation) -> str:
        """Who has what we want, and who comes before us."""
        fitting = self._coordinator.fitting(ours.filters["main"])
        names = {place.name for place in fitting}
        held = [f"{place.name} held by {place.acquired}" for place in fitting if place.acquired]
        reserved = len(fitting) - len(held)
        before = 0
        for one in await self._coordinator.reservations():
            if one.token == ours.token:
                break
            others = {place.name for place in self._coordinator.fitting(one.filters["main"])}
            before += one.state is ReservationState.waiting and bool(others & names)
        parts = [*held, *([f"{reserved} reserved"] if reserved else [])]
        return f"{', '.join(parts)}; number {before + 1} in the queue"

    async def _take(self) -> None:
        held = leftovers.HeldPlace(
            coordinator=self._job.coordinator, place=self._place, owner=self._owner
        )
        if self._note is None:
            with suppress(OSError):  # A full disk is no reason not to measure.
                self._note = leftovers.Note(Path(self._job.leases), held)
        await self._coordinator.acquire(self._place)

    async def _service(self) -> tuple[Granted, tuple[str, ...]]:
        for path, found in self._coordinator.services(self._place):
            extra = found.get("extra") or {}
            granted = Granted(
                place=self._place,
                address=str(found.get("address", "")),
                user=str(found.get("username", "")),
                port=int(found.get("port", 22)),
                proxy=str(extra.get("proxy") or "") if extra.get("proxy_required") else "",
            )
            return granted, path
        raise _RefusedError(
            f"the place {self._place} has no NetworkService, or its exporter is not connected:"
            " boards are reached over SSH, see labgrid-client show",
            usage=True,
        )

    # --- while it is ours ------------------------------------------------------------------------

    async def _watch(self, service: tuple[str, ...]) -> None:
        """Return never; raise when the place is not ours any more."""
        holder = own_name() if self._borrowed else self._owner
        was_exported = True
        while True:
            await asyncio.sleep(_WATCH_SECS)
            if self._coordinator.lost:
                await self._reconnect()
            place = self._coordinator.places.get(self._place)
            if place is None or place.acquired != holder:
                whose = f"{place.acquired} holds it" if place and place.acquired else "nobody does"
                raise _RefusedError(
                    f"the place {self._place} was taken from us ({whose}): what was measured until"
                    " then is kept, go on later"
                )
            exported = self._coordinator.is_exported(service)
            if exported != was_exported:
                what = "is back" if exported else "is gone; its board is measured on"
                self._tell(f"the exporter {service[0]} of {self._place} {what}")
            was_exported = exported

    async def _reconnect(self) -> None:
        """Wait for the coordinator; one that was restarted has forgotten that the place is ours."""
        self._tell(f"the coordinator at {self._coordinator.address} is gone; measuring goes on")
        while True:
            with suppress(CoordinatorError):
                await self._coordinator.connect()
                break
            await asyncio.sleep(_RECONNECT_SECS)
        place = self._coordinator.places.get(self._place)
        if place is not None and place.acquired is None and not self._borrowed:
            with suppress(CoordinatorError):  # Somebody was faster: ``_watch`` finds out.
                await self._coordinator.acquire(self._place)
        self._tell(f"the coordinator at {self._coordinator.address} is back")

    async def _power(self, action: str) -> None:
        """Switch with labgrid's own client, which has the drivers; it takes the place for ours."""
        host, _, user = (own_name() if self._borrowed else self._owner).partition("/")
        argv = ("-x", self._job.coordinator, "-p", self._place, "power", action)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "labgrid.remote.client", *argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "LG_HOSTNAME": host, "LG_USERNAME": user},
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _POWER_SECS)
        finally:
            if process.returncode is None:
                process.kill()
        if process.returncode:
            last = (said.decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
            raise _RefusedError(f"{self._place} cannot be switched {action}: {first_line(last)}")

    # --- giving back -----------------------------------------------------------------------------

    async def _give_back(self) -> None:
        """Switch off and give back; what cannot be is left to the next keeper, by its note."""
        if not (self._borrowed or self._queued):
            return
        try:
            if self._coordinator.lost:
                await self._coordinator.connect()
            await self._switch_off()
            if not self._borrowed:
                await self._coordinator.give_back(self._place, self._owner)
        except CoordinatorError as error:
            self._tell(f"{self._place} is not given back: {error}")
        else:
            if self._note is not None:
                self._note.forget()

    async def _switch_off(self) -> None:
        if self._powered:
            with suppress(_RefusedError, TimeoutError):
                await self._power("off")

    async def _give_back_of_the_dead(self) -> None:
        folder = Path(self._job.leases)
        with leftovers.of_the_dead(folder, self._job.coordinator) as notes:
            for held, path in notes:
                with suppress(CoordinatorError):
                    await self._coordinator.give_back(held.place, held.owner)
                    path.unlink(missing_ok=True)
                    self._tell(f"gave back {held.place}, which a killed command had left held")

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            _say(Stage(text=first_line(text, 500)))


def _text(error: BaseException) -> str:
    if isinstance(error, _RefusedError | CoordinatorError):
        return first_line(str(error), 500)
    if isinstance(error, ValueError):  # pydantic's errors are of this kind
        return f"the lab describes the board wrongly: {first_problem(error)}"
    return f"{type(error).__name__}: {first_line(str(error), 300)}"


def _say(message: BaseModel) -> None:
    try:
        sys.stdout.write(f"{message.model_dump_json()}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more. The interpreter must not fail once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
