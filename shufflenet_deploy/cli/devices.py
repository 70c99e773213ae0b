"""``devices``: discover reachable boards and phones, their hardware, and missing packages."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from shufflenet_deploy.cli import common_options
from shufflenet_deploy.cli.hosts import (
    Coordinator,
    SshClient,
    SshClientName,
    lab_of,
    transport_to,
)
from shufflenet_deploy.cli.inventory import hosts_of
from shufflenet_deploy.cli.stdout import Column, print_grid, print_json
from shufflenet_deploy.errors import ConnectError, DeployError, UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.fleet import Host
    from shufflenet_deploy.records import Core, TargetFacts
    from shufflenet_deploy.target import Target
    from shufflenet_deploy.transport import Lab

_DEFAULT_SECS = 15.0
_FAILED = 1


@dataclass(frozen=True, kw_only=True)
class Device:
    """One row. ``problem`` is why nothing else is known; ``missing`` what has to be pushed."""

    host: str
    problem: str | None = None
    abi: str | None = None
    cores: str | None = None
    soc: str | None = None
    os: str | None = None
    python: str | None = None
    memory_bytes: int | None = None
    free_bytes: int | None = None
    temperature_c: float | None = None
    battery_percent: int | None = None
    missing: tuple[str, ...] = ()


def register(app: typer.Typer) -> None:
    """Add the ``devices`` command."""
    app.command()(devices)


def devices(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST",
            help="Ask these only, as after bench --host; @GROUP too. [default: all known]",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.5, help="Seconds that all of them have to answer.")
    ] = _DEFAULT_SECS,
    ssh_client: SshClient = "auto",
    coordinator: Coordinator = "",
    as_json: common_options.AsJson = False,
) -> None:
    """List hosts of hosts.toml and ~/.ssh/config, phones that adb knows, running virtual boards.

    All are probed at the same time; those that do not answer are listed with the reason. A HOST
    that was named and does not answer is a failure.
    """
    notes: list[str] = []
    wanted = hosts_of(hosts or _known(notes))
    lab = lab_of(coordinator, wait=False)
    found = _probe_all(wanted, timeout, ssh_client, lab)
    if as_json:
        print_json({"devices": [asdict(one) for one in found], "notes": notes})
    else:
        _print(found, notes)
    if hosts and any(one.problem for one in found):
        raise typer.Exit(_FAILED)


def _print(found: Sequence[Device], notes: Sequence[str]) -> None:
    if found:
        _print_table(found)
    for one in found:
        if one.problem:
            typer.echo(f"{one.host}: {one.problem}", err=True)
    for note in notes:
        typer.echo(note, err=True)
    if not found:
        typer.echo(
            "no device: plug a phone in, name a board in ~/.ssh/config, or start a virtual one "
            "with: shufflenet-deploy board up",
            err=True,
        )


def _known(notes: list[str]) -> list[str]:
    """Discover all known hosts; the reason that a source cannot be listed goes to ``notes``."""
    from shufflenet_deploy import board, transport  # noqa: PLC0415
    from shufflenet_deploy.fleet import read_inventory  # noqa: PLC0415

    names: list[str] = [*read_inventory().hosts]
    try:
        names += [f"adb:{one.serial}" for one in transport.devices()]
    except (UsageError, ConnectError) as error:
        notes.append(f"no phones are listed: {error}")
    try:
        names += transport.aliases()
    except UsageError as error:
        notes.append(f"no hosts of the ssh configuration are listed: {error}")
    for one in board.boards():
        if one.running:
            names.append("board" if one.name == board.DEFAULT_NAME else f"board:{one.name}")
    return names


def _probe_all(
    hosts: list[Host], timeout_secs: float, ssh_client: SshClientName, lab: Lab
) -> list[Device]:
    """Probe all at once; a thread that does not return in time is abandoned."""
    answers: queue.Queue[Device] = queue.Queue()
    for host in hosts:
        threading.Thread(
            target=_probe_host, args=(host, answers.put, ssh_client, lab), daemon=True
        ).start()
    found: dict[str, Device] = {}
    deadline = time.monotonic() + timeout_secs
    while len(found) < len(hosts):
        try:
            one = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[one.host] = one
    late = f"did not answer within {timeout_secs:g} s: is it on, and in reach?"
    return [found.get(host.name) or Device(host=host.name, problem=late) for host in hosts]


def _probe_host(
    host: Host, put: Callable[[Device], None], ssh_client: SshClientName, lab: Lab
) -> None:
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    try:
        link = transport_to(host.target, name=host.name, ssh_client=ssh_client, lab=lab)
        with link, Target(link, root=host.folder or "") as target:
            found = _described(host.name, target)
        # A place of a lab is given back by now.
        put(found)
    except DeployError as error:
        put(Device(host=host.name, problem=str(error)))
    except Exception as error:  # noqa: BLE001 - one odd machine must not hide the others
        put(Device(host=host.name, problem=f"{type(error).__name__}: {error}"))


def _described(host: str, target: Target) -> Device:
    facts, state = target.facts(), target.sensors()
    return Device(
        host=host,
        abi=facts.arch,
        cores=_cores(facts.cores),
        soc=", ".join(filter(None, (facts.board, facts.cpu))),
        os=facts.os,
        python=facts.python,
        memory_bytes=facts.memory_bytes,
        free_bytes=facts.free_bytes,
        temperature_c=state.hottest_c,
        battery_percent=state.battery_percent,
        missing=_missing(facts),
    )


def _missing(facts: TargetFacts) -> tuple[str, ...]:
    from shufflenet_deploy.target import brings_python  # noqa: PLC0415

    if facts.python is not None:
        return ()
    brought = " (bench brings one)" if brings_python(facts.arch) else ""
    return (f"Python{brought}",)


def _cores(cores: tuple[Core, ...]) -> str:
    """``8: 1x 2.8 + 3x 2.4 + 4x 1.8 GHz``; the number alone where frequencies are unknown."""
    speeds = Counter(core.max_khz for core in cores)
    if not speeds or None in speeds:
        return str(len(cores))
    groups = sorted(((khz, count) for khz, count in speeds.items() if khz), reverse=True)
    return f"{len(cores)}: " + " + ".join(f"{n}x {khz / 1e6:.1f}" for khz, n in groups) + " GHz"


def _print_table(found: Sequence[Device]) -> None:
    print_grid(
        (
            *(Column(title=name) for name in ("host", "abi", "cores")),
            *(Column(title=name, prose=True) for name in ("SoC", "OS")),
            *(Column(title=name, right=True) for name in ("free", "°C")),
            Column(title="missing", prose=True),
        ),
        [
            (
                one.host,
                one.abi or "-",
                one.cores or "-",
                one.soc or "-",
                one.os or "-",
                "-" if one.free_bytes is None else f"{one.free_bytes / 1e9:.1f} GB",
                "-" if one.temperature_c is None else f"{one.temperature_c:.0f}",
                "does not answer" if one.problem else ", ".join(one.missing) or "nothing",
            )
            for one in found
        ],
    )
