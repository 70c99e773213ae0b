"""A board's card from the board itself: clock, caches and memory, measured there by a program.

``memory_probe.c`` is compiled here for the machine and runs there; what it prints is read as
everything that a board says: within limits, or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shufflenet_deploy.bounded import Count
from shufflenet_deploy.cores import CORES, Core
from shufflenet_deploy.cores import core as described
from shufflenet_deploy.errors import DeployError, ParseError, TargetError, UsageError
from shufflenet_deploy.predict import boards
from shufflenet_deploy.predict.boards import BoardCard, Figure, Figures
from shufflenet_deploy.predict.caches import Cache, Caches
from shufflenet_deploy.predict.compiling import STATIC, compiled
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Record, TargetFacts
from shufflenet_deploy.target import Target, answers
from shufflenet_deploy.transport import CommandResult

_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64"}
#: What QEMU's machine for virtual boards calls itself, and what the boards of ``board up`` do.
_EMULATED_BOARD = re.compile(r"dummy-virt|QEMU \S+, (emulated|counting instructions)$")
_MOST_SECS = 600.0
_MOST_CORES = 16
#: Sets of addresses that the figures are taken at: beyond every level, and of the first level.
_DRAM_KIB, _FIRST_KIB = 16 << 10, 8

Positive = Annotated[float, Field(gt=0, le=1e4)]


class Latency(Record):
    """Nanoseconds of a dependent load from so many KiB."""

    kib: Annotated[int, Field(gt=0, le=1 << 20)]
    ns: Positive


class Bandwidth(Record):
    """GB/s of so many cores together."""

    cores: Annotated[int, Field(gt=0, le=64)]
    read_gb_s: Positive
    fill_gb_s: Positive
    copy_gb_s: Positive


class KernelCache(Record):
    """What the kernel says of one of a core's data caches; 0 where it does not know."""

    level: Count
    kib: Count
    ways: Count


class Probe(Record):
    """What ``memory_probe.c`` prints."""

    probe: Annotated[int, Field(ge=1, le=1)]
    clock_ghz: Annotated[float, Field(ge=0.05, le=10)]
    latency: tuple[Latency, ...] = Field(min_length=4, max_length=32)
    bandwidth: tuple[Bandwidth, ...] = Field(min_length=1, max_length=64)
    caches: tuple[KernelCache, ...] = Field(max_length=8)

    def beyond_first_level(self, kib: int) -> float:
        """What a load from so many KiB takes longer than one from the first level, in ns.

        Raises:
            DeployError: that was not measured, or is no time.
        """
        by_size = {one.kib: one.ns for one in self.latency}
        if kib not in by_size or _FIRST_KIB not in by_size:
            raise DeployError(f"the probe measured no loads from {kib} KiB")
        if by_size[kib] <= by_size[_FIRST_KIB]:
            raise DeployError(
                f"a load from {kib} KiB took no longer than one from the first level: the machine"
                " is busy with something else, or its caches are larger than the card's"
            )
        return round(by_size[kib] - by_size[_FIRST_KIB], 2)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A card as it was measured, and all that was."""

    card: BoardCard
    probe: Probe
    cpus: tuple[int, ...]

    @property
    def toml(self) -> str:
        """The card as a file."""
        return _toml(self.card)


def calibrate(
    target: Target,
    *,
    name: str,
    core: str | None = None,
    cpus: Sequence[int] = (),
    secs: float = 0.2,
    force: bool = False,
    today: date,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Measure a board: the fastest of its clusters, or the cores that are named.

    Raises:
        UsageError: the machine is emulated (unless ``force``), or nothing describes its core.
        TargetError: there is no program for the machine, or it failed there.
        DeployError: what it printed is no measurement.
    """
    facts = target.facts()
    if _EMULATED_BOARD.search(facts.board or "") and not force:
        raise UsageError(
            f"{facts.host} is emulated: times there are QEMU's own and of no board; --force writes"
            " a card all the same"
        )
    arch = _ARCHITECTURES.get(facts.arch)
    if arch is None:
        raise TargetError(
            f"{facts.host} is a {facts.arch}: there is a probe for aarch64 and x86_64"
        )
    chosen = tuple(cpus) or _fastest(facts)
    model = described(core) if core else _core_of(facts, chosen)
    on_stage("compiling the probe")
    source = Path(__file__).with_name("memory_probe.c")
    program = compiled(source, f"probe-{arch}", f"{arch}-linux-musl", *STATIC)
    target.require_programs("the probe")
    with target.exclusive(wait_secs=0):
        on_stage(f"measuring {facts.host}, core {chosen[0]} of {len(chosen)}")
        words = [target.install(program), ",".join(map(str, chosen)), f"{secs:g}"]
        done = target.invoke(words, timeout_s=_MOST_SECS)
    probe = read(done, facts.host)
    card = _card(name, model, facts, probe, source=f"measured on {facts.host}, {today}")
    return Calibration(card=card, probe=probe, cpus=chosen)


def read(done: CommandResult, host: str) -> Probe:
    """What the probe printed.

    Raises:
        TargetError: it failed.
        ParseError: it is no measurement.
    """
    whose = f"the probe on {host}"
    if done.exit_code:
        with suppress(ParseError):
            said = answers.json_of(done.text, whose=whose)
            if isinstance(said, dict) and isinstance(said.get("error"), str):
                raise TargetError(f"{whose} failed: {first_line(said['error'], 200)}")
        raise TargetError(f"{whose} failed: {done.complaint}")
    return answers.record(Probe, answers.json_of(done.text, whose=whose), whose=whose)


def _fastest(facts: TargetFacts) -> tuple[int, ...]:
    """The cores of the fastest cluster: those of one kind and clock."""
    best = max(facts.cores, key=lambda one: (one.max_khz or 0, -one.index), default=None)
    if best is None:
        return (0,)
    alike = (one for one in facts.cores if (one.part, one.max_khz) == (best.part, best.max_khz))
    return tuple(one.index for one in alike)[:_MOST_CORES]


def _core_of(facts: TargetFacts, cpus: Sequence[int]) -> Core:
    name = facts.core_name(cpus)
    try:
        return described(name)
    except UsageError as error:
        raise UsageError(
            f"{facts.host} has cores that no description is of ({name}): name the one that comes"
            f" nearest with --core: {', '.join(CORES)}"
        ) from error


def _card(name: str, model: Core, facts: TargetFacts, probe: Probe, *, source: str) -> BoardCard:
    caches, told = _caches(model, probe)
    alone, together = probe.bandwidth[0], probe.bandwidth[-1]

    def figure(value: float) -> Figure:
        return Figure(value=round(value, 3), source=source)

    def latency(kib: int) -> Figure:
        return figure(probe.beyond_first_level(kib))

    # Half of a level, as tinymembench's figures on the shipped cards; 16 MiB are beyond them all.
    figures = Figures(
        clock_ghz=figure(probe.clock_ghz),
        l2_ns=latency(_power_of_two(caches[1].kib // 2)),
        l3_ns=latency(_power_of_two(caches[2].kib // 2)) if len(caches) == 3 else None,
        dram_ns=latency(_DRAM_KIB),
        read_gb_s=figure(alone.read_gb_s),
        fill_gb_s=figure(alone.fill_gb_s),
        read_all_gb_s=figure(max(one.read_gb_s for one in probe.bandwidth)),
        fill_all_gb_s=figure(max(one.fill_gb_s for one in probe.bandwidth)),
    )
    return BoardCard(
        name=name,
        title=first_line(facts.board or facts.cpu, 100) or name,
        core=model.name,
        cores=min(together.cores, _MOST_CORES),
        caches_source=told,
        figures=figures,
        caches=caches,
    )


def _caches(model: Core, probe: Probe) -> tuple[Caches, str]:
    """The kernel's levels with the core's policies of replacement; else the core's generic ones."""
    usual = boards.board_of_core(model.name).caches
    known = sorted((one for one in probe.caches if one.kib and one.ways), key=lambda one: one.level)
    with suppress(ValueError):
        caches = tuple(
            Cache(kib=one.kib, ways=one.ways, replacement=usual[min(at, 1)].replacement)
            for at, one in enumerate(known)
        )
        if 2 <= len(caches) <= 3:
            return caches, "the kernel's /sys/devices/system/cpu"
    return usual, f"guessed: those of {model.name} on a generic board"


def _power_of_two(kib: int) -> int:
    return 1 << (kib.bit_length() - 1)


def _toml(card: BoardCard) -> str:
    lines = [f"title = {json.dumps(card.title)}", f"core = {json.dumps(card.core)}"]
    lines += [f"cores = {card.cores}", f"caches_source = {json.dumps(card.caches_source)}"]
    lines += ["", "[figures]"]
    for name in Figures.model_fields:
        figure = getattr(card.figures, name)
        if figure is not None:
            source = json.dumps(figure.source)
            lines.append(f"{name} = {{ value = {figure.value:g}, source = {source} }}")
    for cache in card.caches:
        lines += ["", "[[caches]]", f"kib = {cache.kib}", f"ways = {cache.ways}"]
        lines.append(f"replacement = {json.dumps(cache.replacement.value)}")
    return "\n".join(lines) + "\n"
