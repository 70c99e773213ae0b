"""Targets: their permanent facts, and their state at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from shufflenet_deploy.bounded import Count, Int, Moment, Name, Size
from shufflenet_deploy.records.basics import Record


class Core(Record):
    """One CPU of a target. ``max_khz`` is None where the kernel does not report it."""

    index: Count
    max_khz: Size | None = None
    part: Name | None = None


class TargetFacts(Record):
    """Facts about a target, stable between reboots, gathered once per connection."""

    host: Name
    transport: Name
    arch: Name
    os: Name
    kernel: Name
    cpu: Name
    board: Name | None = None
    cores: tuple[Core, ...]
    memory_bytes: Size | None = None
    free_bytes: Size | None = None
    libc: Name | None = None
    python: Name | None = None
    features: tuple[Name, ...] = ()

    def core_name(self, cpus: Iterable[int] | None = None) -> str:
        """The fastest of its cores (or of ``cpus``) as one word: ``cortex-a76``, ``amd-epyc``."""
        chosen = [one for one in self.cores if cpus is None or one.index in set(cpus)]
        fastest = max(chosen, key=lambda one: one.max_khz or 0, default=None)
        name = fastest.part if fastest is not None and fastest.part else self.cpu
        return re.sub(r"[^a-z0-9.]+", "-", re.sub(r"^\d+x ", "", name).lower()).strip("-")


class Conditions(Record):
    """The state of a target at one moment; None where the target does not report it."""

    at: Moment
    governors: dict[Name, Name] = Field(default_factory=dict)
    frequency_khz: dict[Name, Int] = Field(default_factory=dict)
    temperature_c: dict[Name, float] = Field(default_factory=dict)
    throttled: Int | None = None
    load_1min: float | None = None
    memory_available_bytes: Int | None = None
    swap_used_bytes: Int | None = None
    battery_percent: Int | None = None
    battery_status: Name | None = None
