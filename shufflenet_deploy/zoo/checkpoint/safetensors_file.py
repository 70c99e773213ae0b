"""safetensors, through its own library: a JSON header, then the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from shufflenet_deploy.zoo.checkpoint.tensors import TensorRef, check_shape


class DamagedError(ValueError):
    """The header or the length of the file makes no sense."""


@dataclass(frozen=True, kw_only=True)
class SafetensorsFile:
    """Header of a safetensors file."""

    path: Path
    tensors: Mapping[str, TensorRef]
    metadata: Mapping[str, str]

    def read(self, names: list[str]) -> dict[str, Tensor]:
        """The numbers of some tensors as float32."""
        with safe_open(self.path, framework="pt") as opened:
            return {name: opened.get_tensor(name).to(torch.float32) for name in names}


def read_header(path: Path) -> SafetensorsFile:
    """The names, shapes and metadata in a file.

    Raises:
        DamagedError: it is none, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {key: _ref(opened.get_slice(key)) for key in opened.keys()}  # noqa: SIM118
            return SafetensorsFile(
                path=path, tensors=tensors, metadata=dict(opened.metadata() or {})
            )
    except SafetensorError as error:
        raise DamagedError(str(error)) from error


def _ref(part: object) -> TensorRef:
    shape = tuple(part.get_shape())  # type: ignore[attr-defined]
    kind = str(part.get_dtype())  # type: ignore[attr-defined]
    if fault := check_shape(shape):
        return TensorRef(shape=shape, fault=fault)
    if kind.startswith(("F", "BF")):
        return TensorRef(shape=shape)
    kinds = "complex numbers" if kind.startswith("C") else "integers"
    return TensorRef(shape=shape, fault=f"holds {kinds}")
