"""Checkpoint layouts: names and channel orders of the public implementations of ShuffleNet v1.

A ``Layout`` maps our names to theirs; ``channel_remap`` turns their channel order into ours.
Differences between them, besides names: where the shuffle stands and whether it is the paper's or
its inverse, which half of a concatenation comes first, biases before normalisation, the stem.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError
from torch import Tensor

from shufflenet_deploy.zoo.config import Preprocessing, Shuffle, ShuffleNetConfig, Three

#: The convolutions of a unit; each is followed by a normalisation of the same name plus ``_bn``.
CONVOLUTIONS = ("compress", "depthwise", "expand")

#: Tensors of a normalisation.
NORM_FIELDS = ("weight", "bias", "running_mean", "running_var")

_BGR = Preprocessing(
    channel_order="BGR", value_range=(0.0, 255.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)
)
_CIFAR100 = Preprocessing(
    resize=32,
    crop=32,
    mean=(0.5070752, 0.4865490, 0.4409178),
    std=(0.2673343, 0.2564385, 0.2761505),
)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names and conventions of one implementation.

    ``unit`` is the path of a unit, a format of ``stage`` (2 to 4), ``index`` (in its stage) and
    ``ordinal`` (in the network), each counted from where that implementation starts; ``parts``
    holds the convolution and the normalisation of ``CONVOLUTIONS``, in order. ``stem`` and
    ``classifier`` are paths too; a bare stem has no normalisation.
    """

    name: str
    stem: str
    stem_bn: str | None
    unit: str
    parts: tuple[str, str, str, str, str, str]
    classifier: str
    first_stage: int = 2
    first_index: int = 0
    shuffle: Shuffle = Shuffle.PAPER
    shuffles_after_depthwise: bool = False
    pool_first: bool = True
    biased: bool = False
    small_pictures: bool = False
    classifier_bias: bool = True
    gated: bool = False
    preprocessing: Preprocessing | None = None
    part_of: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        ours = [name for part in CONVOLUTIONS for name in (part, f"{part}_bn")]
        object.__setattr__(self, "part_of", dict(zip(ours, self.parts, strict=True)))

    def unit_path(self, stage: int, index: int, ordinal: int) -> str:
        """Their path of unit ``index`` of ``stage`` (both from 0), the network's ``ordinal``-th."""
        return self.unit.format(
            stage=stage + self.first_stage, index=index + self.first_index, ordinal=ordinal
        )

    def names(self, description: ShuffleNetConfig) -> dict[str, str]:
        """Our key -> their key, for every tensor of ``description``.

        A convolution's bias before its normalisation is a key of ours too, until it is absorbed.
        """
        names = {"stem.weight": f"{self.stem}.weight"}
        if not description.bare_stem:
            names |= _norm("stem_bn", self.stem_bn or "")
        if description.bare_stem or self.biased:
            names["stem.bias"] = f"{self.stem}.bias"
        ordinal = 0
        for stage, count in enumerate(description.repeats):
            for index in range(count):
                theirs = self.unit_path(stage, index, ordinal)
                ours = f"stage{stage + 2}.{index}"
                names |= self._unit_names(ours, theirs, gate=bool(description.gate))
                ordinal += 1
        names["classifier.weight"] = f"{self.classifier}.weight"
        if self.classifier_bias:
            names["classifier.bias"] = f"{self.classifier}.bias"
        return names

    def _unit_names(self, ours: str, theirs: str, *, gate: bool) -> dict[str, str]:
        names: dict[str, str] = {}
        for part in CONVOLUTIONS:
            convolution = f"{theirs}.{self.part_of[part]}"
            names[f"{ours}.{part}.weight"] = f"{convolution}.weight"
            if self.biased:
                names[f"{ours}.{part}.bias"] = f"{convolution}.bias"
            names |= _norm(f"{ours}.{part}_bn", f"{theirs}.{self.part_of[f'{part}_bn']}")
        if gate:
            for layer in ("gate.reduce", "gate.restore"):
                for kind in ("weight", "bias"):
                    names[f"{ours}.{layer}.{kind}"] = f"{theirs}.{layer}.{kind}"
        return names

    def describe(self, tensors: Mapping[str, Tensor]) -> ShuffleNetConfig | None:
        """Configuration of ``tensors``, read off their shapes; None when they do not fix it."""
        try:
            return _Reader(self, tensors).describe()
        except (KeyError, IndexError, ZeroDivisionError, ValidationError):
            return None


def _norm(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{name}": f"{theirs}.{name}" for name in NORM_FIELDS}


class _Reader:
    """Read a configuration off the shapes of a state dict; KeyError where a tensor is missing."""

    def __init__(self, layout: Layout, tensors: Mapping[str, Tensor]) -> None:
        self._layout = layout
        self._shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}

    def describe(self) -> ShuffleNetConfig:
        layout = self._layout
        stages = self._stages()
        stem = self._shapes[f"{layout.stem}.weight"][0]
        firsts = [stage[0] for stage in stages]
        bottlenecks = [self._shape(first, "depthwise")[0] for first in firsts]
        groups = bottlenecks[0] // self._shape(firsts[0], "expand")[1]
        widths: list[int] = []
        inputs = stem
        for first in firsts:
            inputs += self._shape(first, "expand")[0]
            widths.append(inputs)
        bare = layout.stem_bn is None or f"{layout.stem_bn}.weight" not in self._shapes
        return ShuffleNetConfig(
            groups=groups,
            stem=stem,
            widths=_three(widths),
            bottlenecks=_three(bottlenecks),
            repeats=_three([len(stage) for stage in stages]),
            classes=self._shapes[f"{layout.classifier}.weight"][0],
            gate=self._gate(firsts[0]),
            shuffle=layout.shuffle if groups > 1 else Shuffle.PAPER,
            bare_stem=bare,
            first_grouped=groups > 1 and self._shape(firsts[0], "compress")[1] != stem,
            small_pictures=layout.small_pictures,
        )

    def _shape(self, unit: str, part: str) -> tuple[int, ...]:
        return self._shapes[f"{unit}.{self._layout.part_of[part]}.weight"]

    def _gate(self, unit: str) -> int:
        reduce = self._shapes.get(f"{unit}.gate.reduce.weight")
        return reduce[1] // reduce[0] if self._layout.gated and reduce else 0

    def _stages(self) -> list[list[str]]:
        """The paths of the units, stage by stage. A flat list is cut where the bottleneck grows."""
        layout = self._layout
        if "{ordinal}" not in layout.unit:
            return [
                self._present(partial(layout.unit_path, stage, ordinal=0)) for stage in range(3)
            ]
        stages: list[list[str]] = []
        channels = 0
        for unit in self._present(lambda ordinal: layout.unit_path(0, 0, ordinal)):
            found = self._shape(unit, "depthwise")[0]
            if found != channels:
                stages.append([])
            stages[-1].append(unit)
            channels = found
        return stages

    def _present(self, path: Callable[[int], str]) -> list[str]:
        """The units 0, 1, 2, ... of which the file has anything."""
        units: list[str] = []
        while any(key.startswith(f"{path(len(units))}.") for key in self._shapes):
            units.append(path(len(units)))
        return units


def _three(values: list[int]) -> Three:
    first, second, third = values
    return first, second, third


NATIVE = Layout(
    name="native",
    stem="stem",
    stem_bn="stem_bn",
    unit="stage{stage}.{index}",
    parts=("compress", "compress_bn", "depthwise", "depthwise_bn", "expand", "expand_bn"),
    classifier="classifier",
    gated=True,
)

LAYOUTS: tuple[Layout, ...] = (
    NATIVE,
    Layout(
        name="megvii",
        stem="first_conv.0",
        stem_bn="first_conv.1",
        unit="features.{ordinal}",
        parts=(
            "branch_main_1.0",
            "branch_main_1.1",
            "branch_main_1.3",
            "branch_main_1.4",
            "branch_main_2.0",
            "branch_main_2.1",
        ),
        classifier="classifier.0",
        shuffle=Shuffle.INVERSE,
        shuffles_after_depthwise=True,
        classifier_bias=False,
        preprocessing=_BGR,
    ),
    Layout(
        name="pytorchcv",
        stem="features.init_block.conv",
        stem_bn="features.init_block.bn",
        unit="features.stage{stage}.unit{index}",
        parts=(
            "compress_conv1",
            "compress_bn1",
            "dw_conv2",
            "dw_bn2",
            "expand_conv3",
            "expand_bn3",
        ),
        classifier="output",
        first_stage=1,
        first_index=1,
        pool_first=False,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="mmpretrain",
        stem="conv1.conv",
        stem_bn="conv1.bn",
        unit="layers.{stage}.{index}",
        parts=(
            "g_conv_1x1_compress.conv",
            "g_conv_1x1_compress.bn",
            "depthwise_conv3x3_bn.conv",
            "depthwise_conv3x3_bn.bn",
            "g_conv_1x1_expand.conv",
            "g_conv_1x1_expand.bn",
        ),
        classifier="head.fc",
        first_stage=0,
        shuffles_after_depthwise=True,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="jaxony",
        stem="conv1",
        stem_bn=None,
        unit="stage{stage}.ShuffleUnit_Stage{stage}_{index}",
        parts=(
            "g_conv_1x1_compress.conv1x1",
            "g_conv_1x1_compress.batch_norm",
            "depthwise_conv3x3",
            "bn_after_depthwise",
            "g_conv_1x1_expand.conv1x1",
            "g_conv_1x1_expand.batch_norm",
        ),
        classifier="fc",
        biased=True,
        preprocessing=Preprocessing(),
    ),
    Layout(
        name="weiaicunzai",
        stem="conv1.conv",
        stem_bn="conv1.bn",
        unit="stage{stage}.{index}",
        parts=(
            "bottlneck.0.pointwise.0",
            "bottlneck.0.pointwise.1",
            "depthwise.depthwise.0",
            "depthwise.depthwise.1",
            "expand.pointwise.0",
            "expand.pointwise.1",
        ),
        classifier="fc",
        biased=True,
        small_pictures=True,
        preprocessing=_CIFAR100,
    ),
)


def pattern(key: str) -> str:
    """A key without its numbers: what two layers of one kind share."""
    return re.sub(r"\d+", "#", key)
