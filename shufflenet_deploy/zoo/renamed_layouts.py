"""Names that others gave to networks whose modules are ours, ShuffleNet v1 aside.

Nothing is computed here: a key is renamed, and what a form of the network lacks becomes zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shufflenet_deploy.zoo.checkpoint_layouts import BGR_BYTES
from shufflenet_deploy.zoo.config import Description, Preprocessing
from shufflenet_deploy.zoo.mobile_config import ResNetConfig, ShuffleNetV2Config


@dataclass(frozen=True, kw_only=True)
class RenamedLayout:
    """One implementation of a family.

    ``form`` gives the description of its form of a network, None for another family;
    ``theirs`` gives its key for a key of ours, None for what it does not have.
    """

    name: str
    network: str
    form: Callable[[Description], Description | None]
    theirs: Callable[[str, Description], str | None]
    preprocessing: Preprocessing | None

    def renamed(
        self, tensors: Mapping[str, Tensor], keys: Collection[str], of: Description
    ) -> dict[str, Tensor]:
        """``tensors`` under our ``keys`` of the form ``of``, and what has none under theirs."""
        names = {self.theirs(key, of): key for key in keys}
        return {names.get(key) or key: tensor for key, tensor in tensors.items()}

    def their_shapes(
        self, shapes: Mapping[str, tuple[int, ...]], of: Description
    ) -> dict[str, tuple[int, ...]]:
        """``shapes`` of our keys under theirs."""
        names = ((self.theirs(key, of), shape) for key, shape in shapes.items())
        return {name: shape for name, shape in names if name is not None}

    def added(self, shapes: Mapping[str, tuple[int, ...]], of: Description) -> dict[str, Tensor]:
        """Zeros for those of our keys that it does not have."""
        lacking = (key for key in shapes if self.theirs(key, of) is None)
        return {key: torch.zeros(shapes[key]) for key in lacking}


_UNIT = re.compile(r"stage(?P<stage>[234])\.(?P<index>\d+)\.branch(?P<branch>[12])\.(?P<rest>.+)")
_BRANCHES = {"1": "branch_proj", "2": "branch_main"}
_OTHERS = {"conv1": "first_conv", "conv5": "conv_last", "fc": "classifier.0"}


def _megvii_form(description: Description) -> Description | None:
    if not isinstance(description, ShuffleNetV2Config):
        return None
    return description.model_copy(update={"interleaved": True})


def _megvii_key(ours: str, description: Description) -> str | None:
    assert isinstance(description, ShuffleNetV2Config)
    if ours == "fc.bias":
        return None
    if unit := _UNIT.fullmatch(ours):
        before = sum(description.repeats[: int(unit["stage"]) - 2])
        return f"features.{before + int(unit['index'])}.{_BRANCHES[unit['branch']]}.{unit['rest']}"
    module, _, rest = ours.partition(".")
    return f"{_OTHERS[module]}.{rest}"


def _kuangliu_form(description: Description) -> Description | None:
    return description if isinstance(description, ResNetConfig) else None


def _kuangliu_key(ours: str, description: Description) -> str:
    del description
    module, _, rest = ours.partition(".")
    if module == "fc":
        return f"linear.{rest}"
    return ours.replace(".downsample.", ".shortcut.")


RENAMED_LAYOUTS: tuple[RenamedLayout, ...] = (
    RenamedLayout(
        name="megvii",
        network="ShuffleNet v2",
        form=_megvii_form,
        theirs=_megvii_key,
        preprocessing=BGR_BYTES,
    ),
    RenamedLayout(
        name="kuangliu",
        network="ResNet-18",
        form=_kuangliu_form,
        theirs=_kuangliu_key,
        preprocessing=None,
    ),
)
