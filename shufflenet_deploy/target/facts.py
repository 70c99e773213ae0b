"""Target identification: one ``sh`` round trip, parsed by a pure function.

The script must run under busybox and toybox; whatever a machine does not report is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shufflenet_deploy.bounded import MAX_COUNT, Name, parse_json
from shufflenet_deploy.records import Core, TargetFacts
from shufflenet_deploy.target import answers

#: Location of our folder, as shell code that sets ``root`` from the first parameter.
ROOT = """\
root=$1
if [ -z "$root" ]; then
    if [ -d /data/local/tmp ] && [ -e /system/build.prop ]; then
        root=/data/local/tmp/shufflenet-deploy
    else
        root=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/shufflenet-deploy/target
    fi
fi
case $root in "~/"*) root=$HOME/${root#"~/"} ;; esac
"""

#: Run by each Python found; prints one line of JSON. Any Python 3 understands it.
INTERPRETER_PROGRAM = """\
import json, os, struct, sys
try:
    from importlib.util import find_spec
    venv = all(find_spec(name) is not None for name in ("venv", "ensurepip"))
except Exception:
    venv = False
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION")
except Exception:
    libc = None
print(json.dumps({
    "executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3],
    "implementation": sys.implementation.name, "bits": struct.calcsize("P") * 8,
    "venv": venv, "libc": libc,
}))
"""

# Parameters: root or empty, the program above, then the names of interpreters to try.
SCRIPT = (
    ROOT
    + """\
program=$2
shift 2
section() { printf '\\n== %s\\n' "$1"; }
section machine; uname -m
section kernel; uname -sr
section root; echo "$root"
section os; cat /etc/os-release 2>/dev/null
section android; command -v getprop >/dev/null 2>&1 && {
    getprop ro.build.version.release; getprop ro.product.model; getprop ro.soc.model; }
section board
if [ -r /proc/device-tree/model ]; then tr -d '\\000' </proc/device-tree/model
else cat /sys/devices/virtual/dmi/id/product_name 2>/dev/null; fi
section cores
for folder in /sys/devices/system/cpu/cpu[0-9]*; do
    [ -d "$folder" ] || continue
    online=1 khz=
    [ -r "$folder/online" ] && read -r online <"$folder/online"
    [ "$online" = 1 ] || continue
    [ -r "$folder/cpufreq/cpuinfo_max_freq" ] && read -r khz <"$folder/cpufreq/cpuinfo_max_freq"
    echo "${folder##*/cpu} $khz"
done
section cpuinfo; cat /proc/cpuinfo 2>/dev/null
section memory; grep MemTotal: /proc/meminfo 2>/dev/null
section disk
folder=$root
while [ ! -d "$folder" ]; do
    case $folder in ?*/*) folder=${folder%/*} ;; *) folder=/ ;; esac
done
df -Pk "$folder" 2>/dev/null
section libc
getconf GNU_LIBC_VERSION 2>/dev/null || ldd --version 2>&1 || ls /lib/ld-musl-*.so.1 2>/dev/null
section python
for name; do
    command -v "$name" >/dev/null 2>&1 && "$name" -c "$program" 2>/dev/null && break
done
exit 0
"""
)

#: Interpreters worth trying, best first; the plain names are what the board's owner chose.
PYTHON_NAMES = ("python3", "python", *(f"python3.{minor}" for minor in range(14, 7, -1)))
_OLDEST_PYTHON = (3, 7)

_CORTEX = {
    0xC05: "Cortex-A5",
    0xC07: "Cortex-A7",
    0xC08: "Cortex-A8",
    0xC09: "Cortex-A9",
    0xC0D: "Cortex-A12",
    0xC0E: "Cortex-A17",
    0xC0F: "Cortex-A15",
    0xD01: "Cortex-A32",
    0xD02: "Cortex-A34",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD06: "Cortex-A65",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD0E: "Cortex-A76AE",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}
_ARM = 0x41

#: Instruction-set extensions that decide which kernels a runtime picks.
_NOTABLE = re.compile(
    r"neon|asimd(dp|hp|fhm|rdm)?|fphp|vfpv[34]|i8mm|bf16|sve\w*|sme(?!p)\w*|"
    r"sse4_[12]|avx|avx2|fma|f16c|avx512(f|bw|vl|dq|vbmi)|avx512_(vnni|bf16|fp16)|"
    r"avx_vnni\w*|amx_\w+"
)

# A 32-bit userland under a 64-bit kernel, as on many a Raspberry Pi, runs 32-bit wheels.
_USERLAND_32 = {"aarch64": "armv7l", "x86_64": "i686"}


class Interpreter(BaseModel):
    """A Python on the target. ``venv``: it can make virtual environments with pip in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    executable: Name = Field(min_length=1)
    version: Name = Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,4}\.[0-9]{1,6}$")
    implementation: Name
    bits: Literal[32, 64]
    venv: bool
    libc: Name | None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Result of the script: the stored facts, and those that only installing needs.

    ``machine`` is the kernel's architecture, which programs of ours may use whatever the others do.
    """

    facts: TargetFacts
    machine: str
    python: Interpreter | None
    root: str


def read_survey(printed: str, *, host: str, transport: str) -> Survey:
    """Read what ``SCRIPT`` printed. Pure: a captured text can be replayed.

    Raises:
        ParseError: no target can be as reported.
    """
    sections = sections_of(printed)
    python = _interpreter(sections.get("python", ""))
    processors = _processors(sections.get("cpuinfo", ""))
    machine = arch = answers.name(sections.get("machine")) or "unknown"
    if python is not None and python.bits == 32:
        arch = _USERLAND_32.get(machine, machine)
    memory = re.search(r"MemTotal:[ \t]*([0-9]{1,20})", sections.get("memory", ""))
    reported = {
        "host": host,
        "transport": transport,
        "arch": arch,
        "os": _os(sections),
        "kernel": answers.name(sections.get("kernel")) or "unknown",
        "cpu": _cpu(processors),
        "board": _board(sections),
        "cores": _cores(sections.get("cores", ""), processors),
        "memory_bytes": answers.kilobytes(memory[1]) if memory else None,
        "free_bytes": free_bytes(sections.get("disk", "")),
        "libc": (python.libc if python else None) or _libc(sections.get("libc", "")),
        "python": python.version if python else None,
        "features": _features(processors),
    }
    facts = answers.record(TargetFacts, reported, whose=f"{host} does not say what it is")
    root = answers.path(sections.get("root"), whose=f"{host} does not say where our folder lies")
    return Survey(facts=facts, machine=machine, python=python, root=root)


def free_bytes(df: str) -> int | None:
    """Bytes available, from the output of ``df -Pk``."""
    rows = df.strip().splitlines()
    fields = rows[-1].split() if len(rows) > 1 else []
    return answers.kilobytes(fields[3]) if len(fields) > 3 else None


def sections_of(printed: str) -> dict[str, str]:
    """Split a script's output into its sections, each below a line ``== NAME``."""
    found: dict[str, str] = {}
    for part in re.split(r"^== ", printed, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body
    return found


def _interpreter(text: str) -> Interpreter | None:
    line = next((line for line in text.splitlines() if line.startswith("{")), None)
    if line is None:
        return None
    try:
        found = Interpreter.model_validate(parse_json(line))
    except (ValueError, ValidationError):
        return None
    return found if tuple(map(int, found.version.split(".")[:2])) >= _OLDEST_PYTHON else None


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """One dictionary per block of /proc/cpuinfo that describes a processor."""
    blocks = []
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = {
            key.strip().lower(): value.strip()
            for key, colon, value in (line.partition(":") for line in block.splitlines())
            if colon
        }
        if answers.number(fields.get("processor"), most=MAX_COUNT) is not None:
            blocks.append(fields)
    return blocks


def _part(processor: dict[str, str]) -> str | None:
    words = (processor.get("cpu implementer", ""), processor.get("cpu part", ""))
    maker, part = (answers.hexadecimal(word.lower().removeprefix("0x")) for word in words)
    if maker is None or part is None:
        return None
    if maker == _ARM and part in _CORTEX:
        return _CORTEX[part]
    return f"{maker:#04x}/{part:#05x}"


def _cpu(processors: list[dict[str, str]]) -> str:
    parts = Counter(part for one in processors if (part := _part(one)))
    if not parts:
        parts = Counter(name for one in processors if (name := answers.name(one.get("model name"))))
    kinds = (f"{count}x {part}" for part, count in parts.items())
    return answers.name(" + ".join(kinds)) or "unknown"


def _cores(text: str, processors: list[dict[str, str]]) -> tuple[Core, ...]:
    parts = {int(one["processor"]): _part(one) for one in processors}
    speeds: dict[int, int | None] = {}
    for word, khz in re.findall(r"^([0-9]{1,20}) ?([0-9]{0,20})$", text, re.MULTILINE):
        if (index := answers.number(word, most=MAX_COUNT)) is not None:
            speeds[index] = answers.number(khz)
    return tuple(
        Core(index=index, max_khz=khz, part=parts.get(index))
        for index, khz in sorted((speeds or dict.fromkeys(parts)).items())
    )


def _features(processors: list[dict[str, str]]) -> tuple[str, ...]:
    """Intersect the features of all cores: a program may migrate between them."""
    each = [set((one.get("features") or one.get("flags") or "").split()) for one in processors]
    common = set.intersection(*each) if each else set()
    return tuple(sorted(name for name in common if _NOTABLE.fullmatch(name)))


def _os(sections: dict[str, str]) -> str:
    if android := answers.name(sections.get("android")):
        return f"Android {android}"
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', sections.get("os", ""), re.MULTILINE)
    return (answers.name(match[1]) if match else None) or "unknown"


def _board(sections: dict[str, str]) -> str | None:
    android = [line.strip() for line in sections.get("android", "").strip().splitlines()[1:]]
    return answers.name(" ".join(filter(None, android))) or answers.name(sections.get("board"))


def _libc(text: str) -> str | None:
    """``glibc 2.36`` or ``musl 1.2.4`` from getconf, ldd, or the name of the loader."""
    first = answers.name(text) or ""
    if "musl" in first:
        version = re.search(r"^Version ([0-9.]{1,20})", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    match = re.search(r"(?:glibc |GLIBC |GNU libc\) )(?:\S*-)?([0-9]{1,4}\.[0-9]{1,4})", first)
    if match is None and first.startswith("ldd "):
        match = re.search(r"([0-9]{1,4}\.[0-9]{1,4})\s*$", first)
    return f"glibc {match[1]}" if match else None
