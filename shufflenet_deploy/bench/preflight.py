"""Preflight checks of a target: one per condition that may spoil figures, each with its remedy.

Pure functions of a ``Probe``, which ``preflight_probe`` makes. The limits are those under which a
figure would be called tainted afterwards (see ``stats``), or what the largest models of the suites
need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shufflenet_deploy.bench.preflight_probe import Probe
from shufflenet_deploy.stats.disturbances import throttle_reasons, tolerated_busy_cores
from shufflenet_deploy.target import (
    Frequency,
    Mode,
    brings_python,
)

_MIB = 1 << 20

_HOT_C, _WARM_C = 80.0, 65.0
#: Closer to the kernel's limit than that, a measurement reaches it.
_NEAR_TRIP_C = 10.0
#: AlexNet has 61 million weights: 244 MB in fp32, and runtimes pack them a second time.
_LITTLE_MEMORY_BYTES, _TOO_LITTLE_MEMORY_BYTES = 700 * _MIB, 200 * _MIB
_MUCH_SWAP_BYTES = 64 * _MIB
#: A self-contained payload takes 170 MB, the models of a suite as much again.
_LITTLE_DISK_BYTES, _TOO_LITTLE_DISK_BYTES = 500 * _MIB, 100 * _MIB
_COARSE_STEP_NS, _TOO_COARSE_STEP_NS = 1_000, 100_000
_DEAR_READ_NS = 2_000
_LOW_BATTERY_PERCENT = 30
_SOME_BUSY_CORES = 0.2


class Status(StrEnum):
    """``FAIL`` would spoil the figures, ``WARN`` may."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line: what was looked at, what was seen, why it matters, and what to type next."""

    name: str
    status: Status
    value: str
    why: str = ""
    remedy: str = ""


def checks(seen: Probe) -> list[Check]:
    """Every check of a target, in the order to look at them."""
    checks = [_machine(seen), *_cores(seen), *_governor(seen), *_limits(seen), _temperature(seen)]
    checks += [_power(seen), *_phone(seen), _load(seen), _memory(seen), _swap(seen), _disk(seen)]
    checks += _folder(seen)
    checks += [_clock(seen), _python(seen), *_runtimes(seen), *_others(seen)]
    return checks


def is_ready(checks: Sequence[Check]) -> bool:
    """True if no check failed, so that figures can be trusted."""
    return all(check.status is not Status.FAIL for check in checks)


def _check(name: str, value: str, *, why: str = "") -> Check:
    return Check(name=name, status=Status.OK, value=value, why=why)


def _bad(name: str, status: Status, value: str, why: str, remedy: str) -> Check:
    return Check(name=name, status=status, value=value, why=why, remedy=remedy)


# --- the machine ---------------------------------------------------------------------------------


def _machine(seen: Probe) -> Check:
    facts = seen.facts
    parts = (facts.board, facts.cpu, facts.arch, facts.os, facts.kernel)
    return _check("machine", ", ".join(dict.fromkeys(filter(None, parts))))


def _cores(seen: Probe) -> Iterator[Check]:
    speeds = Counter(core.max_khz for core in seen.facts.cores)
    known = sorted(((khz, count) for khz, count in speeds.items() if khz), reverse=True)
    value = f"{len(seen.facts.cores)}"
    if known:
        value += ": " + " + ".join(f"{count}x {khz / 1e6:.1f} GHz" for khz, count in known)
    if len(known) < 2:
        yield _check("cores", value)
    elif seen.facts.transport == "adb":
        yield _check("cores", f"{value}; single threads are bound to the fastest")
    else:
        yield _bad(
            "cores",
            Status.WARN,
            value,
            "the scheduler moves a thread between fast and slow cores",
            f"shufflenet-deploy bench --host {seen.host_word} --cpus big",
        )


def _governor(seen: Probe) -> Iterator[Check]:
    health, host = seen.health, seen.host_word
    found = Counter(one.governor for one in health.frequencies if one.governor)
    if not found:
        yield _check("governor", "not reported (the frequency is not the kernel's to choose)")
        return
    value = ", ".join(found) if len(found) == 1 else _counted(found)
    if health.noted:
        value += "; changed by us, and put back by: shufflenet-deploy restore --host " + host
    if set(found) == {"performance"}:
        yield _check("governor", value)
        return
    yield _bad(
        "governor",
        Status.FAIL if any(map(_slow, health.frequencies)) else Status.WARN,
        value,
        "the frequency follows the load, so that a figure depends on what came before it",
        f"shufflenet-deploy bench --host {host} --governor performance"
        if health.rights
        else "as root on the target: "
        "echo performance | tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def _slow(one: Frequency) -> bool:
    """True for a powersave governor that pins the lowest clock; intel_pstate's one does not."""
    return one.governor == "powersave" and not (one.driver or "").startswith(("intel_", "amd-"))


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{count}x {name}" for name, count in found.items())


def _limits(seen: Probe) -> Iterator[Check]:
    capped = [
        one
        for one in seen.health.frequencies
        if one.max_khz and one.hardware_max_khz and one.max_khz < one.hardware_max_khz
    ]
    if capped:
        one = capped[0]
        yield _bad(
            "frequency limit",
            Status.FAIL,
            f"core {one.core} may reach {(one.max_khz or 0) / 1000:.0f} of "
            f"{(one.hardware_max_khz or 0) / 1000:.0f} MHz",
            "figures would be those of a slower board",
            "as root on the target: for c in /sys/devices/system/cpu/cpu*/cpufreq; "
            "do cat $c/cpuinfo_max_freq > $c/scaling_max_freq; done",
        )
    elif seen.health.frequencies:
        yield _check("frequency limit", "none below the hardware's")


# --- heat and power ------------------------------------------------------------------------------


def _temperature(seen: Probe) -> Check:
    now_c = seen.sensors.hottest_c
    if now_c is None:
        return _check("temperature", "not reported")
    trip_c = min(seen.health.trip_c.values(), default=None)
    value = f"{now_c:.0f} °C" + (f", slows down at {trip_c:.0f} °C" if trip_c else "")
    hot_c = trip_c if trip_c else _HOT_C
    warm_c = trip_c - _NEAR_TRIP_C if trip_c else _WARM_C
    if now_c < warm_c:
        return _check("temperature", value)
    return _bad(
        "temperature",
        Status.FAIL if now_c >= hot_c else Status.WARN,
        value,
        "a hot processor slows down while it is measured",
        f"shufflenet-deploy bench --host {seen.host_word} "
        f"--max-temperature {max(warm_c - 10, 30):.0f}",
    )


def _power(seen: Probe) -> Check:
    bits = seen.health.throttled
    if bits is None:
        return _check("power", "not reported (only a Raspberry Pi's firmware does)")
    now, before = throttle_reasons(bits), throttle_reasons(bits >> 16)
    remedy = "use the board's own power supply and a short cable; then: vcgencmd get_throttled"
    if now:
        why = "the firmware slows the processor down at this moment"
        return _bad("power", Status.FAIL, f"{bits:#x}: {', '.join(now)}", why, remedy)
    if before:
        why = "it has happened since the board was started, and will happen again"
        value = f"{bits:#x}: {', '.join(before)}, in the past"
        return _bad("power", Status.WARN, value, why, remedy)
    return _check("power", "0x0: neither under-voltage nor throttling since the start")


def _phone(seen: Probe) -> Iterator[Check]:
    sensors = seen.sensors
    if sensors.battery_percent is not None:
        value = ", ".join(filter(None, (f"{sensors.battery_percent} %", sensors.battery_status)))
        if sensors.battery_percent < _LOW_BATTERY_PERCENT:
            why = "phones slow down to save a battery that is nearly empty"
            yield _bad("battery", Status.WARN, value, why, "charge it to 50 %, then unplug it")
        else:
            yield _check("battery", value)
    if sensors.screen == "off":
        why = "some phones slow down with the screen off"
        remedy = "adb shell svc power stayon true"
        yield _bad("screen", Status.WARN, "off", why, remedy)
    elif sensors.screen:
        yield _check("screen", sensors.screen)


# --- load, memory, disk --------------------------------------------------------------------------


def _load(seen: Probe) -> Check:
    health, cores = seen.health, len(seen.facts.cores)
    if health.busy_cores is None:
        return _check("load", "not reported")
    value = f"{health.busy_cores:.1f} of {cores} cores busy"
    if health.load_1min is not None:
        value += f", load {health.load_1min:.2f}"
    if health.busy_cores <= _SOME_BUSY_CORES:
        return _check("load", value)
    spoils = health.busy_cores > tolerated_busy_cores(cores, threads=1)
    return _bad(
        "load",
        Status.FAIL if spoils else Status.WARN,
        value,
        "other programs take cores and caches from the model",
        "stop them; list them on the target with: top -b -n 1 | head -15",
    )


def _memory(seen: Probe) -> Check:
    free = seen.health.memory_available_bytes
    if free is None:
        return _check("memory", "not reported")
    total = seen.facts.memory_bytes
    value = f"{free // _MIB} MiB available" + (f" of {total // _MIB}" if total else "")
    if free >= _LITTLE_MEMORY_BYTES:
        return _check("memory", value)
    return _bad(
        "memory",
        Status.FAIL if free < _TOO_LITTLE_MEMORY_BYTES else Status.WARN,
        value,
        "AlexNet in fp32 takes up to 600 MiB; without them the board swaps or ends the process",
        f"stop other programs, or: shufflenet-deploy bench --host {seen.host_word} "
        "--precision int8 --resolution 224x224",
    )


def _swap(seen: Probe) -> Check:
    used = seen.health.swap_used_bytes
    if used is None:
        return _check("swap", "not reported")
    if used <= _MUCH_SWAP_BYTES:
        return _check("swap", f"{used // _MIB} MiB in use")
    return _bad(
        "swap",
        Status.WARN,
        f"{used // _MIB} MiB in use",
        "memory was short: what is read back from swap takes time while the model runs",
        "on the target: sudo swapoff -a && sudo swapon -a",
    )


def _disk(seen: Probe) -> Check:
    free = seen.facts.free_bytes
    if free is None:
        return _check("disk", "not reported")
    value = f"{free / 1e9:.1f} GB free"
    if free >= _LITTLE_DISK_BYTES:
        return _check("disk", value)
    return _bad(
        "disk",
        Status.FAIL if free < _TOO_LITTLE_DISK_BYTES else Status.WARN,
        value,
        "runtimes and models may not fit",
        f"shufflenet-deploy clean --host {seen.host_word}, or SHUFFLENET_DEPLOY_ROOT on another "
        "disk",
    )


def _folder(seen: Probe) -> Iterator[Check]:
    place, host = seen.place, seen.host_word
    if place is None:
        return
    # Runtimes of the target's own Python need no executable in our folder; all others do.
    installed = [
        plan for plan in seen.plans.values() if plan.how is Mode.SYSTEM and not plan.standalone
    ]
    if not place.writable:
        why = "the folder of the runtimes and models cannot be made there"
        status, value = Status.FAIL, f"{place.folder} cannot be written"
    elif place.noexec:
        why = "neither native programs nor runtimes that are brought can be started from there"
        status = Status.WARN if installed else Status.FAIL
        value = f"{place.folder} is mounted noexec"
    else:
        yield _check("folder", f"{place.folder} can be written, and programs started from it")
        return
    remedy = f"{place.remedy} shufflenet-deploy bench --host {host}"
    yield _bad("folder", status, value, why, remedy)


# --- the clock and the runtimes ------------------------------------------------------------------


def _clock(seen: Probe) -> Check:
    health = seen.health
    if health.clock_step_ns is None or health.clock_read_ns is None:
        return _check("clock", "unknown without Python; every run records it")
    value = f"steps of {health.clock_step_ns} ns, {health.clock_read_ns} ns to read"
    if health.clocksource:
        value += f" ({health.clocksource})"
    if health.clock_step_ns < _COARSE_STEP_NS and health.clock_read_ns < _DEAR_READ_NS:
        return _check("clock", value)
    return _bad(
        "clock",
        Status.FAIL if health.clock_step_ns >= _TOO_COARSE_STEP_NS else Status.WARN,
        value,
        "short inferences cannot be distinguished",
        "on the target: cat /sys/devices/system/clocksource/clocksource0/available_clocksource",
    )


def _python(seen: Probe) -> Check:
    facts = seen.facts
    value = f"Python {facts.python or 'none'}, {facts.libc or 'C library not reported'}"
    if facts.python is not None:
        return _check("python", value)
    if all(plan.standalone for plan in seen.plans.values()):
        return _check("python", f"{value}; native programs need none")
    if brings_python(facts.arch):
        return _check("python", f"{value}; bench brings one")
    if any(plan.standalone and plan.how for plan in seen.plans.values()):
        why = "only native programs run without one, and we have none for this machine"
        remedy = f"shufflenet-deploy bench --host {seen.host_word} --runtime native"
        return _bad("python", Status.WARN, value, why, remedy)
    why = "nothing can be run without one, and we have none for this machine"
    return _bad("python", Status.FAIL, value, why, "sudo apt-get install python3")


def _runtimes(seen: Probe) -> Iterator[Check]:
    for name, plan in seen.plans.items():
        if plan.how is not None:
            how = "" if plan.standalone else f"{plan.how.value}: "
            yield _check(name, f"{how}{plan.text}")
            continue
        others = [one for one, other in seen.plans.items() if other.how]
        otherwise = (
            f"shufflenet-deploy bench --host {seen.host_word} --runtime {others[0]}"
            if others
            else "install Python 3.9 or newer with pip on the target"
        )
        yield _bad(
            name,
            Status.WARN if others else Status.FAIL,
            "cannot be had",
            plan.text,
            plan.remedy or otherwise,
        )


def _others(seen: Probe) -> Iterator[Check]:
    if seen.measuring_for:
        yield _bad(
            "in use",
            Status.FAIL,
            f"measuring for {seen.measuring_for}",
            "two benches would disturb each other",
            f"wait, then: shufflenet-deploy doctor --host {seen.host_word}",
        )
