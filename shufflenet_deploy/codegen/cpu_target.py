"""CPU targets: vector width, registers, instruction set features, and compiler flags.

The generated C compiles wherever GNU C does; a target decides how many pixels a vector holds, how
large register blocks are, and which intrinsics and assembly may be used. What a core pays for its
loads, how far ahead it prefetches and what its first cache keeps is in its description (``cores``),
which `predict` times programs by.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from shufflenet_deploy.cores import (
    CORTEX_A53,
    CORTEX_A55,
    CORTEX_A72,
    CORTEX_A76,
    CORTEX_A710,
    NO_WAIT,
    Core,
    LoadWait,
)
from shufflenet_deploy.errors import UnavailableError, UsageError
from shufflenet_deploy.records import Precision, TargetFacts

_FP16_BYTES = 2


@dataclass(frozen=True, kw_only=True)
class CpuTarget:
    """One kind of core.

    ``lanes`` are elements per vector, ``registers`` the vector registers. ``fma_by_lane``: a
    multiply-add takes one lane of a register as its factor (NEON); elsewhere factors are broadcast
    from memory. ``element_bytes`` is 4 in fp32 and 2 in fp16; ``has_fp16``: fp16 arithmetic exists.
    ``software_prefetch``: weights and large feature maps are prefetched by instructions, because
    x86 prefetchers stop at page boundaries. ``dot_product``: one instruction sums four int8
    products; ``matrix_product``: one multiplies two pixels by two channels, eight inputs of each.
    ``in_order``: what is not prefetched is waited for. ``load_wait`` is what assembly pays for a
    load that comes late; with ``split_loads`` it loads vectors by halves, beside multiply-adds.
    ``weight_prefetch_bytes``: it prefetches weights so far ahead, 0 for a target without prefetches
    there, and the next tile of maps; what is beyond ``prefetch_beyond_bytes`` again when it is read
    again. Feature maps up to ``l2_bytes`` stay in a core's own caches, up to ``llc_share_bytes`` in
    its share of the last-level cache. A convolution and its max pool are strip-mined where the map
    between them exceeds ``max_whole_map_bytes``, in strips of ``strip_bytes``: with the weights,
    less than the smallest unified L2. ``required_features`` are those, as Linux names them, without
    which a program refuses to run. ``flags`` are for gcc and clang; ``zig cc`` cross-compiles to
    ``triple`` and tunes for ``zig_cpu``.
    """

    name: str
    arch: str
    lanes: int
    registers: int
    fma_by_lane: bool = False
    element_bytes: int = 4
    has_fp16: bool = False
    software_prefetch: bool = False
    dot_product: bool = False
    matrix_product: bool = False
    in_order: bool = False
    load_wait: LoadWait = NO_WAIT
    split_loads: bool = False
    weight_prefetch_bytes: int = 0
    prefetch_beyond_bytes: int = 0
    l2_bytes: int = 1 << 20
    llc_share_bytes: int = 4 << 20
    strip_bytes: int = 128 << 10
    max_whole_map_bytes: int = 64 << 10
    required_features: frozenset[str] = frozenset()
    flags: tuple[str, ...] = ()
    triple: str
    zig_cpu: str

    @property
    def vector_bytes(self) -> int:
        """Bytes per vector."""
        return self.element_bytes * self.lanes

    @property
    def assembly_prefetch(self) -> bool:
        """True if there is software prefetch on AArch64, as this core is known well enough."""
        return self.weight_prefetch_bytes > 0

    @property
    def isa(self) -> str:
        """The instruction set, as kernels are named: neon, neondot, sse2, avx2, avx512vnni..."""
        if self.arch == "x86_64":
            level = {4: "sse2", 8: "avx2", 16: "avx512"}[min(self.lanes, 16)]
            return f"{level}vnni" if self.dot_product else level
        return "neondot" if self.dot_product else "neon"

    @property
    def is_fp16(self) -> bool:
        """True for a target made by ``with_fp16``."""
        return self.element_bytes == _FP16_BYTES

    def with_fp16(self) -> CpuTarget:
        """The same core computing in fp16, with twice as many lanes.

        Raises:
            UsageError: it has no fp16 arithmetic.
        """
        if not self.has_fp16:
            able = ", ".join(one.name for one in CPU_TARGETS.values() if one.has_fp16)
            raise UsageError(f"{self.name} does not compute in fp16: choose fp32, or {able}")
        return replace(self, lanes=2 * self.lanes, element_bytes=_FP16_BYTES)

    @property
    def precision(self) -> Precision:
        """The precision that floating-point code for it computes in."""
        return Precision.FP16 if self.is_fp16 else Precision.FP32

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions that programs for it may have."""
        return tuple(one for one in Precision if self.has_fp16 or one is not Precision.FP16)

    def for_precision(self, precision: Precision) -> CpuTarget:
        """The target as the code generator sees it for a precision.

        Raises:
            UsageError: it does not compute in that precision.
        """
        return self.with_fp16() if precision is Precision.FP16 else self


_VNNI = "-vnni"
_AVX512 = ("avx512f", "avx512vl", "avx512bw", "avx512dq")


def _aarch64(
    name: str,
    zig_cpu: str,
    core: Core,
    *,
    dot_product: bool = False,
    matrix_product: bool = False,
) -> CpuTarget:
    """A target for cores like ``core``, which are the only ones that its C prefetches for.

    In order a prefetch beside a multiply-add costs nothing, so that all is asked for again.
    """
    features = {"asimddp", "asimdhp"} if dot_product else set()
    own = name == core.name
    return CpuTarget(
        name=name,
        arch="aarch64",
        lanes=4,
        registers=32,
        fma_by_lane=True,
        has_fp16=dot_product,
        dot_product=dot_product,
        matrix_product=matrix_product,
        in_order=core.in_order,
        load_wait=core.load_wait,
        split_loads=core.loads_by_halves,
        weight_prefetch_bytes=core.prefetch_ahead_bytes if own else 0,
        prefetch_beyond_bytes=0 if core.in_order else core.l1_share_bytes,
        required_features=frozenset(features | ({"i8mm"} if matrix_product else set())),
        flags=(f"-mcpu={zig_cpu.replace('_', '-')}",),
        triple="aarch64-linux-musl",
        zig_cpu=zig_cpu,
    )


def _x86(
    name: str, lanes: int, registers: int, *needs: str, dots: tuple[str, ...] = ()
) -> CpuTarget:
    """An x86 level; ``dots`` are compiler names of int8 dot-product features beyond the level."""
    level = name.removesuffix(_VNNI)
    # Compilers halve vectors of 512 bits for the sake of old cores, unless told.
    wide = ["-mprefer-vector-width=512"] if lanes == 16 else []
    return CpuTarget(
        name=name,
        arch="x86_64",
        lanes=lanes,
        registers=registers,
        software_prefetch=True,
        dot_product=bool(dots),
        required_features=frozenset(needs),
        flags=(f"-march={level}", *(f"-m{feature}" for feature in dots), *wide),
        triple="x86_64-linux-musl",
        zig_cpu="+".join([level.replace("-", "_"), *dots])
        + ("-prefer_256_bit" if lanes == 16 else ""),
    )


_ARMV7 = CpuTarget(
    name="armv7",
    arch="armv7l",
    lanes=4,
    registers=16,
    required_features=frozenset({"neon", "vfpv4"}),
    flags=("-march=armv7-a+neon-vfpv4", "-mfloat-abi=hard"),
    triple="arm-linux-musleabihf",
    zig_cpu="cortex_a7",
)

#: Best last among those of one architecture.
CPU_TARGETS = {
    cpu.name: cpu
    for cpu in (
        # For any core: in order, for out of order the order of instructions matters little.
        _aarch64("aarch64", "generic", CORTEX_A55),
        _aarch64("cortex-a53", "cortex_a53", CORTEX_A53),
        _aarch64("cortex-a72", "cortex_a72", CORTEX_A72),
        _aarch64("cortex-a55", "cortex_a55", CORTEX_A55, dot_product=True),
        _aarch64("cortex-a76", "cortex_a76", CORTEX_A76, dot_product=True),
        # By name a compiler would assume SVE, which not every system of such a core has.
        _aarch64(
            *("cortex-a710", "cortex_a76+i8mm", CORTEX_A710),
            dot_product=True,
            matrix_product=True,
        ),
        _ARMV7,
        _x86("x86-64", 4, 16),
        _x86("x86-64-v3", 8, 16, "avx2", "fma"),
        _x86(f"x86-64-v3{_VNNI}", 8, 16, "avx2", "fma", "avx_vnni", dots=("avxvnni",)),
        _x86("x86-64-v4", 16, 32, *_AVX512),
        _x86(
            f"x86-64-v4{_VNNI}",
            16,
            32,
            *_AVX512,
            "avx512_vnni",
            "avx512vbmi",
            dots=("avx512vnni", "avx512vbmi"),
        ),
    )
}
_ALIASES = {"generic": "aarch64", "max": "cortex-a710"} | {
    name.removeprefix("cortex-"): name for name in CPU_TARGETS if name.startswith("cortex-")
}
#: Cores that issue in the order of the code, by what a target without others like them gets.
_IN_ORDER_VARIANTS = {
    "cortex-a72": ("cortex-a53", {"Cortex-A53", "Cortex-A35", "Cortex-A34"}),
    **dict.fromkeys(
        ("cortex-a76", "cortex-a710"),
        ("cortex-a55", {"Cortex-A55", "Cortex-A510", "Cortex-A520"}),
    ),
}


def cpu_target_named(name: str) -> CpuTarget:
    """A CPU target by name or alias; ``host`` is the machine this program runs on.

    Raises:
        UsageError: there is no such target.
    """
    if name == "host":
        return host()
    known = _ALIASES.get(name, name)
    if known not in CPU_TARGETS:
        raise UsageError(
            f"unknown machine '{name}': choose host, generic, {', '.join(CPU_TARGETS)}"
        )
    return CPU_TARGETS[known]


def host() -> CpuTarget:
    """The CPU target of this machine, by the features that Linux reports."""
    return best_for(HOST_ARCH, _features())


def for_facts(facts: TargetFacts) -> CpuTarget:
    """The best CPU target for a measured device.

    Raises:
        UnavailableError: as ``best_for``.
    """
    return best_for(facts.arch, facts.features, [core.part for core in facts.cores if core.part])


def best_for(arch: str, features: Iterable[str], parts: Iterable[str] = ()) -> CpuTarget:
    """The best CPU target for an architecture, its features and the names of its cores.

    Raises:
        UnavailableError: there is no code for its architecture.
    """
    there = set(features)
    fitting = [
        one for one in CPU_TARGETS.values() if one.arch == arch and one.required_features <= there
    ]
    if not fitting:
        wanted = [
            " ".join(sorted(one.required_features))
            for one in CPU_TARGETS.values()
            if one.arch == arch
        ]
        lack = f" without {wanted[0]}" if wanted else ""
        raise UnavailableError(f"there is no native code for {arch}{lack}: choose another runtime")
    best, cores = fitting[-1], set(parts)
    if best.name == "cortex-a72" and not cores:
        return CPU_TARGETS["aarch64"]
    small, names = _IN_ORDER_VARIANTS.get(best.name, (best.name, set[str]()))
    return CPU_TARGETS[small] if cores and cores <= names else best


#: The architecture of this machine, as ``uname -m`` of Linux reports it.
HOST_ARCH = {"arm64": "aarch64", "amd64": "x86_64"}.get(
    platform.machine().lower(), platform.machine().lower()
)


def _features() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip().lower() in {"flags", "features"}:
            return set(value.split())
    return set()
