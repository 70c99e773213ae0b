"""Health check: possible disturbances of a measurement, read by the target's ``sh`` in one second.

Nothing is written on the target, and no Python is needed there (the clock is left out then).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from shufflenet_deploy.bounded import MAX_COUNT, parse_json
from shufflenet_deploy.target import answers, plausibility
from shufflenet_deploy.target.facts import sections_of

#: The smallest step of the clock that the agent uses and what reading it costs; the same arithmetic
#: as there.
CLOCK_PROGRAM = """\
import json, time
clock = time.perf_counter_ns
readings = [clock() for _ in range(2001)]
steps = sorted(later - earlier for earlier, later in zip(readings, readings[1:]))
positive = [step for step in steps if step > 0]
print(json.dumps([positive[0] if positive else 1, (readings[-1] - readings[0]) // 2000]))
"""

# Parameters: our folder, the program above, and the Python to run it with or nothing.
SCRIPT = """\
root=$1 program=$2
shift 2
section() { printf '\\n== %s\\n' "$1"; }
section busy
read -r before </proc/stat 2>/dev/null && echo "$before"
sleep 1
read -r after </proc/stat 2>/dev/null && echo "$after"
section frequency
for folder in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
    [ -d "$folder" ] || continue
    line=${folder%/cpufreq}
    line=${line##*/cpu}
    for name in scaling_governor scaling_driver scaling_min_freq scaling_max_freq \\
        cpuinfo_max_freq; do
        value=
        [ -r "$folder/$name" ] && read -r value <"$folder/$name"
        line="$line ${value:--}"
    done
    echo "$line"
done 2>/dev/null
section rights
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
    [ -w "$file" ] && echo direct && break
done
command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null && echo sudo
section noted
for note in governors governors.bench; do [ -e "$root/$note" ] && echo "$note"; done
section throttled
{ command -v vcgencmd >/dev/null 2>&1 && vcgencmd get_throttled; } 2>/dev/null ||
    cat /sys/devices/platform/soc/soc:firmware/get_throttled 2>/dev/null
section trips
for zone in /sys/class/thermal/thermal_zone*; do
    for trip in "$zone"/trip_point_*_type; do
        kind= degrees= name=
        read -r kind <"$trip" && [ "$kind" = passive ] && read -r degrees <"${trip%type}temp" &&
            read -r name <"$zone/type" && echo "$degrees $name"
    done
done 2>/dev/null
section memory; grep -E '^(MemAvailable|SwapTotal|SwapFree):' /proc/meminfo 2>/dev/null
section load; cat /proc/loadavg 2>/dev/null
section tick; getconf CLK_TCK 2>/dev/null
section clocksource
cat /sys/devices/system/clocksource/clocksource0/current_clocksource 2>/dev/null
section clock
[ $# -gt 0 ] && "$1" -c "$program" 2>/dev/null
exit 0
"""

_DEFAULT_TICKS_PER_SEC = 100
_RIGHTS = ("direct", "sudo")
_NOTES = ("governors", "governors.bench")


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """cpufreq settings of one core; None where the kernel does not report one."""

    core: int
    governor: str | None
    driver: str | None
    min_khz: int | None
    max_khz: int | None
    hardware_max_khz: int | None


@dataclass(frozen=True, kw_only=True)
class HealthProbe:
    """State of a target during one second; None or empty where it does not report it.

    ``busy_cores`` is how many cores worked during that second. ``rights`` states how a governor can
    be set: "direct", "sudo", or not at all. ``noted`` are changes of ours that wait for being put
    back. ``trip_c`` are the temperatures from which the kernel slows down, by sensor.
    """

    busy_cores: float | None = None
    load_1min: float | None = None
    frequencies: tuple[Frequency, ...] = ()
    rights: str | None = None
    noted: tuple[str, ...] = ()
    throttled: int | None = None
    trip_c: dict[str, float] = field(default_factory=dict)
    memory_available_bytes: int | None = None
    swap_used_bytes: int | None = None
    clocksource: str | None = None
    clock_step_ns: int | None = None
    clock_read_ns: int | None = None


def read_health(printed: str) -> HealthProbe:
    """Read what ``SCRIPT`` printed. Pure: a captured text can be replayed."""
    sections = sections_of(printed)
    rows = re.findall(r"^(\w{1,40}):[ \t]*([0-9]{1,20})", sections.get("memory", ""), re.M)
    sizes = {name: answers.kilobytes(word) for name, word in rows}
    memory = {name: size for name, size in sizes.items() if size is not None}
    swap = [memory[name] for name in ("SwapTotal", "SwapFree") if name in memory]
    rights = sections.get("rights", "").split()
    step_ns, read_ns = _clock(sections.get("clock", ""))
    load = (answers.name(sections.get("load")) or "").partition(" ")[0]
    return HealthProbe(
        busy_cores=_busy_cores(sections.get("busy", ""), sections.get("tick", "")),
        load_1min=answers.decimal(load),
        frequencies=_frequencies(sections.get("frequency", "")),
        rights=rights[0] if rights and rights[0] in _RIGHTS else None,
        noted=tuple(note for note in sections.get("noted", "").split() if note in _NOTES),
        throttled=_throttled(sections.get("throttled", "")),
        trip_c=_trips(sections.get("trips", "")),
        memory_available_bytes=memory.get("MemAvailable"),
        swap_used_bytes=swap[0] - swap[1] if len(swap) == 2 else None,
        clocksource=answers.name(sections.get("clocksource")),
        clock_step_ns=step_ns,
        clock_read_ns=read_ns,
    )


def _busy_cores(text: str, ticks: str) -> float | None:
    """Work between two first lines of /proc/stat that were read a second apart."""
    moments = [
        [answers.number(word) for word in line.split()[1:9]]
        for line in text.splitlines()
        if line.startswith("cpu ")
    ]
    if len(moments) != 2 or any(len(moment) < 5 or None in moment for moment in moments):
        return None
    spent = [(later or 0) - (earlier or 0) for earlier, later in zip(*moments, strict=False)]
    # Idle and waiting for a disk is the rest; all cores together have the wall time of each.
    busy: int = sum(spent) - spent[3] - spent[4]
    per_sec = answers.number(ticks) or _DEFAULT_TICKS_PER_SEC
    return float(max(0.0, busy / per_sec))


def _frequencies(text: str) -> tuple[Frequency, ...]:
    found = []
    for line in text.splitlines():
        word, governor, driver, low, high, hardware = (line.split() + ["-"] * 6)[:6]
        core = answers.number(word, most=MAX_COUNT)
        if core is None or " " not in line.strip():
            continue
        found.append(
            Frequency(
                core=core,
                governor=None if governor == "-" else answers.name(governor),
                driver=None if driver == "-" else answers.name(driver),
                min_khz=_khz(low),
                max_khz=_khz(high),
                hardware_max_khz=_khz(hardware),
            )
        )
    return tuple(found)


def _khz(word: str) -> int | None:
    khz = answers.number(word)
    return khz if khz is not None and plausibility.is_frequency(khz) else None


def _throttled(text: str) -> int | None:
    """The bits of ``throttled=0x50000``, or of the number alone."""
    word = (answers.name(text) or "").rpartition("=")[2].strip().lower()
    return answers.hexadecimal(word.removeprefix("0x"))


def _trips(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for word, sensor in re.findall(r"^([0-9]{1,9}) (.+)$", text, re.MULTILINE):
        degrees = plausibility.celsius(float(word))
        name = answers.name(sensor)
        if name is not None and degrees is not None:
            found[name] = min(degrees, found.get(name, degrees))
    return found


def _clock(text: str) -> tuple[int | None, int | None]:
    line = next((line for line in text.splitlines() if line.startswith("[")), None)
    try:
        found = parse_json(line) if line else None
    except ValueError:
        return None, None
    if not isinstance(found, list) or [type(one) for one in found] != [int, int] or min(found) < 0:
        return None, None
    return found[0], found[1]
