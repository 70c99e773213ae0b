"""What a target is, asked in one round trip of its ``sh`` and read by a pure function.

The script must run under busybox and toybox; whatever a machine does not tell is left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass

from shufflenet_deploy.records import Core, TargetFacts

#: Where our folder lies, as shell code that sets ``root`` from the first parameter.
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


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python on the target. ``venv``: it can make virtual environments with pip in them."""

    executable: str
    version: str
    implementation: str
    bits: int
    venv: bool
    libc: str | None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the script found: the facts that are stored, and what only installing needs.

    ``machine`` is the kernel's architecture, which programs of ours may use whatever the others do.
    """

    facts: TargetFacts
    machine: str
    python: Interpreter | None
    root: str


def read_survey(printed: str, *, host: str, transport: str) -> Survey:
    """Read what ``SCRIPT`` printed. Pure: a captured text can be replayed."""
    sections = sections_of(printed)
    python = _interpreter(sections.get("python", ""))
    processors = _processors(sections.get("cpuinfo", ""))
    machine = arch = sections.get("machine", "").strip() or "unknown"
    if python is not None and python.bits == 32:
        arch = _USERLAND_32.get(machine, machine)
    facts = TargetFacts(
        host=host,
        transport=transport,
        arch=arch,
        os=_os(sections),
        kernel=sections.get("kernel", "").strip() or "unknown",
        cpu=_cpu(processors),
        board=_board(sections),
        cores=_cores(sections.get("cores", ""), processors),
        memory_bytes=_kilobytes(sections.get("memory", ""), r"MemTotal:\s*(\d+)"),
        free_bytes=free_bytes(sections.get("disk", "")),
        libc=(python.libc if python else None) or _libc(sections.get("libc", "")),
        python=python.version if python else None,
        features=_features(processors),
    )
    root = sections.get("root", "").strip()
    return Survey(facts=facts, machine=machine, python=python, root=root)


def free_bytes(df: str) -> int | None:
    """Bytes available, from the output of ``df -Pk``."""
    rows = df.strip().splitlines()
    fields = rows[-1].split() if len(rows) > 1 else []
    return int(fields[3]) * 1024 if len(fields) > 3 and fields[3].isdigit() else None


def sections_of(printed: str) -> dict[str, str]:
    """What a script printed below each ``== NAME``."""
    found: dict[str, str] = {}
    for part in re.split(r"^== ", printed, flags=re.MULTILINE)[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body
    return found


def _interpreter(text: str) -> Interpreter | None:
    line = next((line for line in text.splitlines() if line.startswith("{")), None)
    try:
        found = json.loads(line) if line else None
    except ValueError:
        return None
    if found is None or tuple(map(int, found["version"].split(".")[:2])) < _OLDEST_PYTHON:
        return None
    return Interpreter(**found)


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """One dictionary per block of /proc/cpuinfo that describes a processor."""
    blocks = []
    for block in re.split(r"\n\s*\n", cpuinfo):
        fields = {
            key.strip().lower(): value.strip()
            for key, colon, value in (line.partition(":") for line in block.splitlines())
            if colon
        }
        if "processor" in fields and fields["processor"].isdigit():
            blocks.append(fields)
    return blocks


def _part(processor: dict[str, str]) -> str | None:
    try:
        maker = int(processor["cpu implementer"], 0)
        part = int(processor["cpu part"], 0)
    except (KeyError, ValueError):
        return None
    if maker == _ARM and part in _CORTEX:
        return _CORTEX[part]
    return f"{maker:#04x}/{part:#05x}"


def _cpu(processors: list[dict[str, str]]) -> str:
    parts = Counter(part for one in processors if (part := _part(one)))
    if parts:
        return " + ".join(f"{count}x {part}" for part, count in parts.items())
    names = Counter(name for one in processors if (name := one.get("model name")))
    return " + ".join(f"{count}x {name}" for name, count in names.items()) or "unknown"


def _cores(text: str, processors: list[dict[str, str]]) -> tuple[Core, ...]:
    parts = {int(one["processor"]): _part(one) for one in processors}
    cores = {
        int(index): Core(index=int(index), max_khz=int(khz) if khz else None)
        for index, khz in re.findall(r"^(\d+) ?(\d*)$", text, re.MULTILINE)
    } or {index: Core(index=index) for index in parts}
    return tuple(
        core.model_copy(update={"part": parts.get(index)}) for index, core in sorted(cores.items())
    )


def _features(processors: list[dict[str, str]]) -> tuple[str, ...]:
    """What every core has: a program may be moved from one to another."""
    each = [set((one.get("features") or one.get("flags") or "").split()) for one in processors]
    common = set.intersection(*each) if each else set()
    return tuple(sorted(name for name in common if _NOTABLE.fullmatch(name)))


def _os(sections: dict[str, str]) -> str:
    android = sections.get("android", "").strip().splitlines()
    if android:
        return f"Android {android[0]}"
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', sections.get("os", ""), re.MULTILINE)
    return match[1].strip() if match else "unknown"


def _board(sections: dict[str, str]) -> str | None:
    android = [line.strip() for line in sections.get("android", "").strip().splitlines()[1:]]
    return " ".join(filter(None, android)) or sections.get("board", "").strip() or None


def _libc(text: str) -> str | None:
    """``glibc 2.36`` or ``musl 1.2.4`` from getconf, ldd, or the name of the loader."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    if "musl" in first:
        version = re.search(r"^Version (\S+)", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    match = re.search(r"(?:glibc |GLIBC |GNU libc\) )(?:\S*-)?(\d+\.\d+)", first)
    if match is None and first.startswith("ldd "):
        match = re.search(r"(\d+\.\d+)\s*$", first)
    return f"glibc {match[1]}" if match else None


def _kilobytes(text: str, pattern: str) -> int | None:
    match = re.search(pattern, text)
    return int(match[1]) * 1024 if match else None
