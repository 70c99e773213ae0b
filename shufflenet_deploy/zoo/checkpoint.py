"""Reading a file of weights, whatever wrote it, without ever running code from it.

``.safetensors`` and PyTorch's own format are told apart by their bytes, not by their names.
"""

from __future__ import annotations

import json
import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from shufflenet_deploy.errors import UsageError

#: Wrappers that training scripts put around a state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params")
#: Prefixes that wrappers of modules put before every key.
_PREFIXES = ("module.", "_orig_mod.", "model.")
#: mmpretrain keeps the body under a name of its own and the classifier beside it.
_BODY_PREFIX = "backbone."

_SAVE_PLAIN = "save only its state_dict(): torch.save(model.state_dict(), 'weights.pth')"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors of a file by name, without wrappers, prefixes and counters of batches."""

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Raises:
        UsageError: there is no such file, or it does not hold weights that can be read safely.
    """
    head = _first_bytes(path)
    _refuse_other_formats(path, head)
    if _is_safetensors(head):
        found, metadata = _read_safetensors(path)
    else:
        found, metadata = _read_torch(path), {}
    tensors = {
        key: tensor.detach().float()
        for key, tensor in _without_prefixes(found).items()
        if not key.endswith("num_batches_tracked")
    }
    if not tensors:
        raise UsageError(f"{path} holds no tensors; {_SAVE_PLAIN}")
    if broken := [key for key, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise UsageError(f"{path} holds NaN or infinity in {broken[0]}: training went wrong there")
    return Checkpoint(path=path, tensors=tensors, metadata=metadata)


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the file of weights inside it")
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}; check the path of --weights") from error
    except OSError as error:
        raise UsageError(f"cannot read the weights {path}: {error.strerror}") from error
    if not head:
        raise UsageError(f"{path} is empty; fetch it again")
    return head


def _refuse_other_formats(path: Path, head: bytes) -> None:
    other = {
        ".onnx": "an ONNX model",
        ".tflite": "a TFLite model",
        ".npz": "a NumPy archive (tensorpack's, of a different network)",
    }.get(path.suffix.lower())
    if head[4:8] == b"TFL3":
        other = "a TFLite model"
    elif head.startswith(b"\x89HDF"):
        other = "an HDF5 file (Keras)"
    if other:
        raise UsageError(
            f"{path} is {other}, not a PyTorch state dict; give a .pth, .pt or .safetensors file"
        )


def _is_safetensors(head: bytes) -> bool:
    return len(head) >= 9 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 1 << 28


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            return tensors, dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError, json.JSONDecodeError) as error:
        raise UsageError(
            f"{path} is a damaged safetensors file ({_line(error)}); fetch it again"
        ) from error


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error)
        if "GLOBAL" in text or "WeightsUnpickler" in text or "Unsupported" in text:
            raise UsageError(
                f"{path} holds Python objects besides tensors, which could run code when opened;"
                f" {_SAVE_PLAIN}"
            ) from error
        raise UsageError(f"{path} is not a PyTorch file, or it is damaged") from error
    except Exception as error:  # A damaged file makes torch.load raise anything.
        raise UsageError(
            f"{path} is not a PyTorch file, or it is damaged ({_line(error)})"
        ) from error
    return _unwrap(path, content)


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    """The state dict in ``content``: itself, or what a training script wrapped."""
    while isinstance(content, Mapping):
        inner = next((content[key] for key in _WRAPPERS if _is_mapping(content.get(key))), None)
        if inner is None:
            return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        content = inner
    raise UsageError(f"{path} holds {type(content).__name__}, not a state dict; {_SAVE_PLAIN}")


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(tensors)
    while True:
        shared = next((p for p in _PREFIXES if found and all(k.startswith(p) for k in found)), "")
        if not shared:
            return {key.removeprefix(_BODY_PREFIX): value for key, value in found.items()}
        found = {key.removeprefix(shared): value for key, value in found.items()}


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__
