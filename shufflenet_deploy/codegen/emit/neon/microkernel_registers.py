"""Registers of an AArch64 microkernel: where accumulators, operands and lower bounds lie."""

from __future__ import annotations

from dataclasses import dataclass, field

from shufflenet_deploy.codegen.emit.neon.aarch64_asm import (
    FIRST_LANE_REGISTER,
    VECTOR_BYTES,
    ElementType,
    Pointer,
)
from shufflenet_deploy.codegen.schedule.neon_register_allocation import (
    REGISTERS,
    VECTORS_PER_LOAD,
    accumulator_sets,
    allocate_operands,
)
from shufflenet_deploy.cores import LoadWait
from shufflenet_deploy.network.graph import Activation

_BOUNDS_AHEAD = 4  # registers for lower bounds that are loaded one by one


@dataclass(frozen=True, kw_only=True)
class Prefetch:
    """The lines that a microkernel prefetches: never more than a tile or ``weights`` bytes ahead.

    ``pixels`` of the next tile of pixels, its ``residual``, and ``weights`` so many bytes before
    they are used, 0 for none. ``channels``: pixels of this tile so many channels later, 0 for none.
    """

    pixels: bool = False
    channels: int = 0
    residual: bool = False
    weights: int = 0


NO_PREFETCH = Prefetch()


@dataclass(frozen=True, kw_only=True)
class MicrokernelSpec:
    """Tiles of ``outputs`` channels by ``vectors`` vectors, ``times`` in a row.

    ``taps`` are byte offsets of a channel's taps. ``source_channel_stride``, ``channel_stride`` (of
    the target) and ``residual_channel_stride`` (0 without a residual) are in bytes; ``in_place`` if
    the residual is the target. Each tile advances by outputs with ``advances_outputs``, else by
    pixels. ``clamp_min``: accumulators start from zero and the bias array holds each output's lower
    clamp bound; without ``has_bias`` there is neither. ``load_wait`` is what a late load costs;
    ``split_loads``: vectors are loaded by halves.
    """

    element: ElementType
    outputs: int
    vectors: int
    channels: int
    taps: tuple[int, ...]
    source_channel_stride: int
    channel_stride: int
    residual_channel_stride: int
    in_place: bool
    activation: Activation
    times: int
    advances_outputs: bool
    clamp_min: bool
    load_wait: LoadWait
    split_loads: bool = False
    has_bias: bool = True
    prefetch: Prefetch = NO_PREFETCH

    @property
    def depth(self) -> int:
        """Multiply-adds per accumulator."""
        return self.channels * len(self.taps)


def pointer_names(strip: MicrokernelSpec) -> list[str]:
    """Names of the pointer parameters."""
    return [
        "x",
        "w",
        "b",
        *(["r"] if strip.residual_channel_stride and not strip.in_place else []),
        "y",
    ]


@dataclass
class Registers:
    """The registers of a microkernel while its ``text`` is written.

    ``steps`` are the byte distances that are constants in general registers, by their names.
    """

    strip: MicrokernelSpec
    text: list[str] = field(default_factory=list)
    steps: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strip = self.strip
        self.work = strip.outputs * strip.vectors
        lanes = strip.element.lanes
        sets = accumulator_sets(strip.depth, lanes)
        #: What is multiplied and added up apart comes after the accumulators, else it is they.
        self.separate = self.work if sets > 1 else 0
        self.after = sets * self.work
        self.free = list(range(self.after, REGISTERS))
        found = allocate_operands(
            strip.outputs,
            strip.vectors,
            sets,
            lanes,
            load_wait=strip.load_wait,
            split_loads=strip.split_loads,
        )
        assert found is not None
        self.shared = found[1]
        self.pointers = {
            name: Pointer(name, self.text, self.steps) for name in pointer_names(strip)
        }
        #: Lower bounds that are loaded.
        self.bounds_loaded = 0
        #: Biases come four outputs at a time, and sums that begin as them are numbered so.
        self.by_output = not strip.residual_channel_stride and not strip.clamp_min

    def accumulator(self, output: int, at: int) -> int:
        """The register of an accumulator."""
        strip = self.strip
        return at * strip.outputs + output if self.by_output else output * strip.vectors + at

    def accumulators(self, output: int) -> list[int]:
        """The registers of an output's accumulators."""
        return [self.accumulator(output, at) for at in range(self.strip.vectors)]

    def bound_registers(self) -> list[int]:
        """Registers for lower bounds in turns, first those that are free before the end."""
        vectors = self.strip.vectors
        early = [self.pixels(self.strip.depth, at) for at in range(vectors)]
        late = [one for one in self.free if one not in early]
        return [*early, *late][: max(_BOUNDS_AHEAD, vectors)]

    def whole(
        self, kind: str, pointer: Pointer, stride: int, output: int, *, prefetch: bool = False
    ) -> None:
        """Load or store the accumulators of an output, four by one instruction."""
        sums = self.accumulators(output)
        for at in range(0, len(sums), VECTORS_PER_LOAD):
            some = sums[at : at + VECTORS_PER_LOAD]
            start = output * stride + VECTOR_BYTES * at
            size = VECTOR_BYTES * len(some)
            if prefetch:
                pointer.move(start)
                pointer.prefetch(self.next_tile(start, size))
            pointer.use(start, f"{kind} {self.strip.element.register_list(some)}", size)

    def next_tile(self, at: int, size: int) -> int:
        """Of ``size`` bytes at ``at``, at most a line, the last vector in the next tile of pixels.

        Where these are parts of two lines, the first of them is the last one of this tile.
        """
        return at + size + VECTOR_BYTES * (self.strip.vectors - 1)

    def pixels(self, k: int, at: int) -> int:
        """The register of a source vector."""
        return self.after + k % self.shared.channels * self.strip.vectors + at

    def weights(self, factor: int) -> int:
        """The register of a vector of weights."""
        shared = self.shared
        load, at = divmod(factor, shared.weights)
        first = max(FIRST_LANE_REGISTER, self.after + shared.channels * self.strip.vectors)
        return first + load % shared.loads * shared.weights + at
