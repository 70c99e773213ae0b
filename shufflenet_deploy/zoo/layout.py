"""One implementation's names of ShuffleNet v1, and the network that its shapes describe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError
from torch import Tensor

from shufflenet_deploy.zoo.config import Pooling, Preprocessing, Shuffle, ShuffleNetConfig, Three

#: The convolutions of a unit; each is followed by a normalisation of the same name plus ``_bn``.
CONVOLUTIONS = ("compress", "depthwise", "expand")

#: Tensors of a normalisation.
NORM_FIELDS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """Names of the tensors of a layer, after its path: PyTorch's unless said otherwise.

    ``norm`` are those of ``NORM_FIELDS``.
    """

    weight: str = ".weight"
    bias: str = ".bias"
    norm: tuple[str, str, str, str] = (".weight", ".bias", ".running_mean", ".running_var")


class UnitPlace(NamedTuple):
    """Stage (0 to 2) of a unit, its number there and in the network, all counted from 0."""

    stage: int
    unit: int
    ordinal: int


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names and conventions of one implementation.

    ``unit`` is the path of a unit, a format of ``stage`` (2 to 4), ``index`` (in its stage) and
    ``ordinal`` (in the network), each counted from where that implementation starts; ``parts``
    holds the convolution and the normalisation of ``CONVOLUTIONS``, in order, which follow the
    unit after ``join``. They may count with ``ordinal``, ``even`` (twice that) and ``odd`` (one
    more). ``stem`` and ``classifier`` are paths too; a bare stem has no normalisation. With
    ``tensorflow_axes`` the output channels of weights come last.

    The other fields are what the network computes; see ``ShuffleNetConfig``.
    """

    name: str
    stem: str
    stem_bn: str | None
    unit: str
    parts: tuple[str, str, str, str, str, str]
    classifier: str
    join: str = "."
    spelling: Spelling = Spelling()
    tensorflow_axes: bool = False
    first_stage: int = 2
    first_index: int = 0
    first_ordinal: int = 0
    shuffle: Shuffle = Shuffle.PAPER
    shuffles_after_depthwise: bool = False
    pool_first: bool = True
    biased: bool = False
    stem_biased: bool = False
    pooling: Pooling = Pooling.PAPER
    first_shuffled: bool = True
    depthwise_relu: bool = False
    small_pictures: bool = False
    stage2_stride: int = 2
    classifier_bias: bool = True
    gated: bool = False
    preprocessing: Preprocessing | None = None

    @property
    def is_flat(self) -> bool:
        """True where units are counted through the network, not stage by stage."""
        return not any("{stage}" in text for text in (self.unit, *self.parts))

    def path(self, place: UnitPlace, part: str) -> str:
        """Their path of a layer of a unit, such as ``depthwise`` or ``depthwise_bn``."""
        number = 2 * CONVOLUTIONS.index(part.removesuffix("_bn")) + part.endswith("_bn")
        return f"{self.unit}{self.join}{self.parts[number]}".format(
            stage=place.stage + self.first_stage,
            index=place.unit + self.first_index,
            ordinal=place.ordinal + self.first_ordinal,
            even=2 * place.ordinal,
            odd=2 * place.ordinal + 1,
        )

    def weight(self, place: UnitPlace, part: str) -> str:
        """Their key of the weight of a convolution of a unit."""
        return f"{self.path(place, part)}{self.spelling.weight}"

    def names(self, description: ShuffleNetConfig) -> dict[str, str]:
        """Our key -> their key, for every tensor of ``description``.

        A convolution's bias before its normalisation is a key of ours too, until it is absorbed.
        """
        names = {"stem.weight": f"{self.stem}{self.spelling.weight}"}
        if not description.bare_stem:
            names |= self._norm("stem_bn", self.stem_bn or "")
        if description.bare_stem or self.biased or self.stem_biased:
            names["stem.bias"] = f"{self.stem}{self.spelling.bias}"
        ordinal = 0
        for stage, count in enumerate(description.repeats):
            for index in range(count):
                place = UnitPlace(stage, index, ordinal)
                names |= self.unit_names(place, gate=bool(description.gate))
                ordinal += 1
        names["classifier.weight"] = f"{self.classifier}{self.spelling.weight}"
        if self.classifier_bias:
            names["classifier.bias"] = f"{self.classifier}{self.spelling.bias}"
        return names

    def unit_names(self, place: UnitPlace, *, gate: bool = False) -> dict[str, str]:
        """Our key -> their key, for every tensor of a unit."""
        ours = f"stage{place.stage + 2}.{place.unit}"
        names: dict[str, str] = {}
        for part in CONVOLUTIONS:
            names[f"{ours}.{part}.weight"] = self.weight(place, part)
            if self.biased:
                names[f"{ours}.{part}.bias"] = f"{self.path(place, part)}{self.spelling.bias}"
            names |= self._norm(f"{ours}.{part}_bn", self.path(place, f"{part}_bn"))
        if gate:
            theirs = self.unit.format(stage=place.stage + 2, index=place.unit)
            for layer in ("gate.reduce", "gate.restore"):
                for kind in ("weight", "bias"):
                    names[f"{ours}.{layer}.{kind}"] = f"{theirs}.{layer}.{kind}"
        return names

    def _norm(self, ours: str, theirs: str) -> dict[str, str]:
        fields = zip(NORM_FIELDS, self.spelling.norm, strict=True)
        return {f"{ours}.{name}": f"{theirs}{spelt}" for name, spelt in fields}

    def in_our_axes(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``tensors`` with output channels first, and a pointwise classifier as a matrix."""
        made = dict(tensors)
        if self.tensorflow_axes:
            made = {key: _output_first(tensor) for key, tensor in tensors.items()}
        last = f"{self.classifier}{self.spelling.weight}"
        if last in made and made[last].shape[2:] == (1, 1):
            made[last] = made[last].flatten(1)
        return made

    def describe(self, tensors: Mapping[str, Tensor]) -> ShuffleNetConfig | None:
        """Configuration of ``tensors``, read off their shapes; None when they do not fix it."""
        try:
            return _Reader(self, tensors).describe()
        except (KeyError, IndexError, ValueError, ZeroDivisionError, ValidationError):
            return None


def _output_first(tensor: Tensor) -> Tensor:
    """A weight of TensorFlow in PyTorch's order: (H, W, in, out) or, depthwise, (H, W, C, 1)."""
    if tensor.ndim == 2:
        return tensor.t()
    if tensor.ndim != 4:
        return tensor
    depthwise = tensor.shape[3] == 1 and tensor.shape[0] > 1
    return tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(3, 2, 0, 1)


class _Reader:
    """Read a configuration off the shapes of a state dict; KeyError where a tensor is missing."""

    def __init__(self, layout: Layout, tensors: Mapping[str, Tensor]) -> None:
        self._layout = layout
        self._shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}

    def describe(self) -> ShuffleNetConfig:
        layout = self._layout
        stages = self._stages()
        stem, channels, stem_kernel, _ = self._shapes[f"{layout.stem}{layout.spelling.weight}"]
        firsts = [self._shape(stage[0], "depthwise")[0] for stage in stages]
        bottlenecks = [self._shape(stage[-1], "depthwise")[0] for stage in stages]
        groups = firsts[0] // self._shape(stages[0][0], "expand")[1]
        widths: list[int] = []
        inputs = stem
        for stage in stages:
            inputs += self._shape(stage[0], "expand")[0]
            widths.append(inputs)
        normalised = f"{layout.stem_bn}{layout.spelling.norm[0]}" in self._shapes
        return ShuffleNetConfig.model_validate(
            {
                "channels": channels,
                "groups": groups,
                "stem": stem,
                "stem_kernel": stem_kernel,
                "widths": _three(widths),
                "bottlenecks": _three(bottlenecks),
                "first_bottlenecks": None if firsts == bottlenecks else _three(firsts),
                "repeats": _three([len(stage) for stage in stages]),
                "classes": self._shapes[f"{layout.classifier}{layout.spelling.weight}"][0],
                "gate": self._gate(stages[0][0]),
                "shuffle": layout.shuffle if groups > 1 else Shuffle.PAPER,
                "first_shuffled": layout.first_shuffled,
                "bare_stem": layout.stem_bn is None or not normalised,
                "first_grouped": groups > 1 and self._shape(stages[0][0], "compress")[1] != stem,
                "depthwise_relu": layout.depthwise_relu,
                "pooling": layout.pooling,
                "small_pictures": layout.small_pictures,
                "stage2_stride": layout.stage2_stride,
            }
        )

    def _shape(self, place: UnitPlace, part: str) -> tuple[int, ...]:
        return self._shapes[self._layout.weight(place, part)]

    def _gate(self, place: UnitPlace) -> int:
        if not self._layout.gated:
            return 0
        names = self._layout.unit_names(place, gate=True)
        key = f"stage{place.stage + 2}.{place.unit}.gate.reduce.weight"
        reduce = self._shapes.get(names[key])
        return reduce[1] // reduce[0] if reduce else 0

    def _stages(self) -> list[list[UnitPlace]]:
        """The units, stage by stage."""
        if not self._layout.is_flat:
            return [self._present(stage) for stage in range(3)]
        places = self._present(0)
        channels = self._channels_between(places)
        stages: list[list[UnitPlace]] = []
        for place, before, after in zip(places, channels, channels[1:], strict=False):
            if before != after:
                stages.append([])
            stages[-1].append(place)
        return stages

    def _channels_between(self, places: list[UnitPlace]) -> list[int]:
        """Channels before each unit of a flat list and after the last; they grow with a stage."""
        spelling = self._layout.spelling
        stem = self._shapes[f"{self._layout.stem}{spelling.weight}"][0]
        groups = self._shape(places[0], "depthwise")[0] // self._shape(places[0], "expand")[1]
        between = [self._shape(place, "compress")[1] * groups for place in places[1:]]
        last = self._shapes[f"{self._layout.classifier}{spelling.weight}"][1]
        return [stem, *between, last]

    def _present(self, stage: int) -> list[UnitPlace]:
        """The units 0, 1, 2, ... of a stage, or of a flat list, of which the file has anything."""
        places: list[UnitPlace] = []
        while True:
            place = UnitPlace(stage, len(places), len(places))
            if not any(key in self._shapes for key in self._layout.unit_names(place).values()):
                return places
            places.append(place)


def _three(values: list[int]) -> Three:
    first, second, third = values
    return first, second, third


def pattern(key: str) -> str:
    """A key without its numbers: what two layers of one kind share."""
    return re.sub(r"\d+", "#", key)
