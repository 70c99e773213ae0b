"""One connection to labgrid's coordinator, under a name of our own; for the keeper's process alone.

labgrid knows who holds a place by ``HOST/USER``. Ours is ``HOST-TOKEN/USER``: it tells two leases
of one user apart, so that each gives back what it holds and nothing else, and ``labgrid-client
release`` of that user still takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator, Mapping
from getpass import getuser
from socket import gethostname
from typing import Any, TypeVar

import grpc
from labgrid.remote.client import ClientSession, Error
from labgrid.remote.common import Place, Reservation, ReservationState
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.util.proxy import proxymanager

__all__ = ["Coordinator", "CoordinatorError", "Reservation", "ReservationState", "own_name"]

_PORT = 20408
_ANSWER_SECS = 30.0
_NETWORK_SERVICE = "NetworkService"

_Value = TypeVar("_Value")


class CoordinatorError(Exception):
    """The coordinator refused something, or does not answer; the message says which."""


def own_name() -> str:
    """What ``labgrid-client`` of this user on this machine is called."""
    host = os.environ.get("LG_HOSTNAME") or gethostname()
    return f"{host}/{os.environ.get('LG_USERNAME') or getuser()}"


class _Session(ClientSession):  # type: ignore[misc]
    """labgrid's session under another name."""

    owner = ""

    def gethostname(self) -> str:
        return self.owner.partition("/")[0]

    def getuser(self) -> str:
        return self.owner.partition("/")[2]


class Coordinator:
    """A session, entered; what it knows of places stays up to date while it is open."""

    def __init__(self, address: str, owner: str) -> None:
        self.address = proxymanager.get_grpc_address(address, default_port=_PORT)
        self.owner = owner
        self._session: Any = None

    async def connect(self) -> None:
        """Connect, anew where it was connected before.

        Raises:
            CoordinatorError: nobody answers.
        """
        await self.close()
        session = _Session(self.address, asyncio.get_running_loop())
        session.owner = self.owner
        try:
            await asyncio.wait_for(session.start(), _ANSWER_SECS)
        except (Error, TimeoutError) as error:
            await _closed(session)
            raise CoordinatorError(
                f"no labgrid coordinator answers at {self.address}: is it running? name another "
                "with --coordinator or LG_COORDINATOR"
            ) from error
        self._session = session

    async def close(self) -> None:
        """Disconnect; what is held stays held."""
        session, self._session = self._session, None
        if session is not None:
            await _closed(session)

    @property
    def lost(self) -> bool:
        """True when it does not answer any more."""
        return self._session is None or bool(self._session.stopping.is_set())

    @property
    def places(self) -> Mapping[str, Place]:
        """All places by name."""
        return self._session.places if self._session is not None else {}

    def fitting(self, tags: Mapping[str, str]) -> list[Place]:
        """The places that a reservation of these tags may be given."""
        return [
            place
            for place in self.places.values()
            if tags.items() <= {**place.tags, "name": place.name}.items()
        ]

    def services(self, place: str) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
        """The network services of a place that we hold: path and parameters, by path."""
        for path in sorted(map(tuple, self.places[place].acquired_resources)):
            exporter, group, kind, name = path
            if kind == _NETWORK_SERVICE and (data := self._resource(exporter, group, name)):
                yield path, data.get("params") or {}

    def is_exported(self, path: tuple[str, ...]) -> bool:
        """True while the exporter of a resource is there."""
        exporter, group, _, name = path
        return bool(self._resource(exporter, group, name).get("cls"))

    def _resource(self, exporter: str, group: str, name: str) -> Mapping[str, Any]:
        entry = self._session.resources.get(exporter, {}).get(group, {}).get(name)
        return entry.data if entry is not None else {}

    async def reserve(self, tags: Mapping[str, str]) -> str:
        """Queue for a place with these tags; the token of the reservation, which lapses by itself
        where it is not polled.
        """
        wanted = messages.Reservation.Filter(filter=dict(tags))
        request = messages.CreateReservationRequest(filters={"main": wanted}, prio=0.0)
        answer = await self._asked(self._session.stub.CreateReservation(request))
        return str(answer.reservation.token)

    async def polled(self, token: str) -> Reservation:
        """The reservation, kept from lapsing."""
        request = messages.PollReservationRequest(token=token)
        answer = await self._asked(self._session.stub.PollReservation(request))
        return Reservation.from_pb2(answer.reservation)

    async def reservations(self) -> list[Reservation]:
        """All reservations, in the order in which they get a place."""
        request = messages.GetReservationsRequest()
        answer = await self._asked(self._session.stub.GetReservations(request))
        known = map(Reservation.from_pb2, answer.reservations)
        return sorted(known, key=lambda one: (-one.prio, one.created))

    async def acquire(self, place: str) -> None:
        """Hold a place."""
        request = messages.AcquirePlaceRequest(placename=place)
        await self._asked(self._session.stub.AcquirePlace(request))
        await asyncio.wait_for(self._session.sync_with_coordinator(), _ANSWER_SECS)

    async def give_back(self, place: str, owner: str) -> None:
        """Release a place if this owner holds it, and cancel this owner's reservations."""
        if place in self.places:
            request = messages.ReleasePlaceRequest(placename=place, fromuser=owner)
            await self._asked(self._session.stub.ReleasePlace(request))
        for one in await self.reservations():
            if one.owner == owner:
                cancel = messages.CancelReservationRequest(token=one.token)
                with contextlib.suppress(CoordinatorError):  # It lapsed just now.
                    await self._asked(self._session.stub.CancelReservation(cancel))

    async def _asked(self, call: Awaitable[_Value]) -> _Value:
        try:
            return await asyncio.wait_for(call, _ANSWER_SECS)
        except grpc.aio.AioRpcError as error:
            raise CoordinatorError(error.details() or str(error.code())) from error
        except TimeoutError as error:
            raise CoordinatorError(f"the coordinator at {self.address} does not answer") from error


async def _closed(session: Any) -> None:
    session.stopping.set()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await session.stop()
    with contextlib.suppress(Exception):
        await session.close()
