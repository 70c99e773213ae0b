"""Checkpoint parser for untrusted files: bytes become named tensors, or a one-line error.

Nothing in a file is run, whatever wrote it: pickles are read as data (``pickle_reader``), numbers
by ``tensors`` within stated ``limits``. The type of a file is read from its bytes (``kinds``), and
the state dict in it is searched for (``search``). Weights in shards are read whole.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.checkpoint.kinds import Kind, kind_of
from shufflenet_deploy.zoo.checkpoint.limits import MAX_ELEMENTS, MAX_STORAGES_BYTES, LimitError
from shufflenet_deploy.zoo.checkpoint.pickle_reader import PickleError
from shufflenet_deploy.zoo.checkpoint.safetensors_file import DamagedError, read_header
from shufflenet_deploy.zoo.checkpoint.search import StateDict, state_dicts
from shufflenet_deploy.zoo.checkpoint.storages import StorageRef
from shufflenet_deploy.zoo.checkpoint.tensors import TensorRef
from shufflenet_deploy.zoo.checkpoint.torch_file import (
    StorageBytes,
    TorchFile,
    read_archive,
    read_legacy,
)
from shufflenet_deploy.zoo.shards import shards_of_index, siblings_of

__all__ = ["Candidate", "Checkpoint", "find_state_dicts", "shown"]

_SAVE_PLAIN = "save only its state_dict(): torch.save(model.state_dict(), 'weights.pth')"
#: Names of what a network computes with; a fault in any other tensor is of no concern.
_COMPUTED_WITH = re.compile(r"(^|[._])(weight|bias|running_mean|running_var)$")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """State dict of a file, by name: float32, no integers, no counters without a dimension.

    ``where`` is the key it was found under, "" for the file itself.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A state dict that was found in a file, and the way to read its numbers.

    ``weights`` is how many tensors of two dimensions or more it has, 0 where only one was found.
    """

    path: Path
    where: str
    weights: int
    _load: Callable[[], Checkpoint]

    def read(self) -> Checkpoint:
        """Its tensors.

        Raises:
            UsageError: a tensor that a network would compute with is damaged, quantised, sparse,
                without numbers, complex or integer, or larger than any network here.
        """
        with _one_line(self.path):
            return self._load()


def find_state_dicts(path: Path) -> list[Candidate]:
    """The state dicts of a file, at least one, the likeliest first; numbers are not read yet.

    Raises:
        UsageError: there is no such file, or it does not hold weights that can be read.
    """
    with _one_line(path):
        kind = kind_of(path)
        if kind is Kind.INDEX:
            return [_whole(path, lambda: _joined(path, shards_of_index(path)))]
        if files := siblings_of(path):
            return [_whole(path, lambda: _joined(path, {file: set() for file in files}))]
        return _in_one_file(path, kind)


def shown(text: str) -> str:
    """A name from a file for a message: one line, printable, not endless."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean if len(clean) <= 80 else f"{clean[:77]}..."


def _whole(path: Path, load: Callable[[], Checkpoint]) -> Candidate:
    return Candidate(path=path, where="", weights=0, _load=load)


def _in_one_file(path: Path, kind: Kind) -> list[Candidate]:
    if kind is Kind.SAFETENSORS:
        return [_whole(path, lambda: _from_safetensors(path))]
    if kind is Kind.INDEX:
        raise UsageError(f"{path} is an index of shards where a shard should be; fetch it again")
    file = read_archive(path) if kind is Kind.ARCHIVE else read_legacy(path)
    found = state_dicts(file.content)
    if not found:
        raise UsageError(f"{path} holds no tensors that have names; {_SAVE_PLAIN}")

    def candidate(one: StateDict) -> Candidate:
        return Candidate(
            path=path,
            where=shown(one.path),
            weights=one.weights,
            _load=lambda: _from_torch(path, file, one),
        )

    return [candidate(one) for one in found]


def _from_safetensors(path: Path) -> Checkpoint:
    file = read_header(path)
    tensors = file.read(_readable(path, file.tensors))
    return Checkpoint(path=path, tensors=tensors, metadata=file.metadata)


def _from_torch(path: Path, file: TorchFile, found: StateDict) -> Checkpoint:
    names = _readable(path, found.tensors)
    by_storage: dict[str, list[str]] = {}
    for name in names:
        storage = found.tensors[name].storage
        by_storage.setdefault(storage.key if storage else "", []).append(name)
    tensors: dict[str, Tensor] = {}
    total = 0
    with file.opened() as storage_bytes:
        for group in by_storage.values():
            held = _Held(storage_bytes)
            for name in group:
                tensors[name] = _tensor(path, name, found.tensors[name], held)
            total += held.size
            if total > MAX_STORAGES_BYTES:
                raise LimitError(f"more than {MAX_STORAGES_BYTES >> 30} GiB of numbers")
    ordered = {name: tensors[name] for name in names}
    return Checkpoint(path=path, tensors=ordered, where=shown(found.path))


def _tensor(path: Path, name: str, tensor: TensorRef, held: _Held) -> Tensor:
    try:
        return tensor.read(held.bytes_of)
    except LimitError:
        raise
    except ValueError as error:
        raise UsageError(
            f"{path} is cut short or damaged: {shown(name)}: {_line(error)}; fetch it again"
        ) from error


class _Held:
    """The bytes of the storages of one key, read once for all the tensors that are views of it."""

    def __init__(self, storage_bytes: StorageBytes) -> None:
        self._storage_bytes = storage_bytes
        self._content: dict[StorageRef, bytearray] = {}

    @property
    def size(self) -> int:
        return sum(map(len, self._content.values()))

    def bytes_of(self, storage: StorageRef) -> bytearray:
        if storage not in self._content:
            self._content[storage] = self._storage_bytes(storage)
        return self._content[storage]


def _readable(path: Path, tensors: Mapping[str, TensorRef]) -> list[str]:
    """The names of what can be read; what cannot may be missing unless networks compute with it."""
    names = []
    for name, tensor in tensors.items():
        if tensor.fault:
            if _COMPUTED_WITH.search(name):
                raise UsageError(f"{path}: {shown(name)} {tensor.fault}")
        elif tensor.shape:
            names.append(name)
    elements = sum(tensors[name].elements for name in names)
    if elements > MAX_ELEMENTS:
        raise LimitError(f"{elements} numbers in one state dict")
    if not names:
        raise UsageError(f"{path} holds no tensors; {_SAVE_PLAIN}")
    return names


def _joined(path: Path, shards: Mapping[Path, set[str]]) -> Checkpoint:
    """Tensors of all shards; each holds those that the index lists for it."""
    tensors: dict[str, Tensor] = {}
    for shard, promised in shards.items():
        found = _in_one_file(shard, kind_of(shard))[0].read().tensors
        lost = sorted(name for name in promised - set(found) if _COMPUTED_WITH.search(name))
        if lost:
            raise UsageError(
                f"{shard} lacks {shown(lost[0])}, which {path.name} lists for it; fetch it again"
            )
        tensors.update(found)
        if sum(tensor.numel() for tensor in tensors.values()) > MAX_ELEMENTS:
            raise LimitError(f"more than {MAX_ELEMENTS} numbers")
    return Checkpoint(path=path, tensors=tensors)


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn any error that a file provokes into one line."""
    try:
        yield
    except UsageError:
        raise
    except (PickleError, DamagedError, zipfile.BadZipFile, EOFError) as error:
        raise UsageError(
            f"{path} is cut short or damaged ({_line(error)}); fetch it again"
        ) from error
    except LimitError as error:
        raise UsageError(
            f"{path} is beyond what is read here ({_line(error)}); {_SAVE_PLAIN}"
        ) from error
    except Exception as error:
        raise UsageError(
            f"{path} cannot be read ({type(error).__name__}: {_line(error)}); fetch it again"
        ) from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return shown(lines[0]) if lines else type(error).__name__
