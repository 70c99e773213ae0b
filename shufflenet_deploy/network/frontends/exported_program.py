"""Files of ``torch.export`` (``.pt2``) as modules, read as data.

Such a file is a zip of a program in JSON and of raw numbers. PyTorch's own reader unpickles parts
of it and evaluates expressions; this one does neither: it knows the operators of ``operators``,
builds nothing else by name, and reads within stated limits.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from shufflenet_deploy import atomic_files, bounded
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends import operators
from shufflenet_deploy.network.frontends.scopes import CONTAINERS, RecordedProgram, Scope
from shufflenet_deploy.network.frontends.shape_inference import mapped

_MAX_FILE_BYTES = 2 << 30
_MAX_JSON_BYTES = 64 << 20
_MAX_ELEMENTS = 1 << 28

_TARGET = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")

_REMEDY = "export the module again: torch.export.save(torch.export.export(module, (image,)), FILE)"

#: Numbers of types in the files.
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}

#: Kinds of arguments that are what they hold.
_PLAIN = {
    *("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string"),
    *("as_strings", "as_int_lists"),
}

#: Kinds of arguments about memory, which change no value here.
_IGNORED = {"as_device", "as_layout"}

#: Numbers of memory formats in the files.
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    4: torch.preserve_format,
}


_Found = TypeVar("_Found")


@dataclass(frozen=True)
class _Name:
    """The value of an earlier node, or an input."""

    name: str


@dataclass(frozen=True)
class _Node:
    """A call of an operator; ``outputs`` are the names of its results, nested as they are."""

    operator: Any
    arguments: dict[str, Any]
    outputs: list[Any]
    scope: Scope


class ExportedProgram(RecordedProgram):
    """A program that runs as the module did from which it was exported.

    ``input_shape`` is that of the image it was exported for, ``(C, H, W)``.
    """

    def __init__(
        self, nodes: Sequence[_Node], tensors: Mapping[str, torch.Tensor], ends: _Ends
    ) -> None:
        super().__init__()
        self._nodes, self._ends = tuple(nodes), ends
        self._names = tuple(tensors)
        self.tensors = nn.ParameterList(
            nn.Parameter(one, requires_grad=False) for one in tensors.values()
        )
        self.input_shape = ends.shape
        self.eval()

    def forward(self, image: torch.Tensor) -> Any:
        """The outputs for one image ``(1, C, H, W)``: one, a list, or a dictionary."""
        known: dict[str, Any] = dict(zip(self._names, self.tensors, strict=True))
        known[self._ends.image] = image
        for node in self._nodes:
            self.follow(node.scope)
            given = mapped(node.arguments, lambda one: _value(one, known))
            results = operators.call(node.operator, given)
            known.update(_named(node.outputs, results))
        found = [known[name] for name in self._ends.outputs]
        if self._ends.keys:
            return dict(zip(self._ends.keys, found, strict=True))
        return found[0] if len(found) == 1 else found


@dataclass(frozen=True)
class _Ends:
    """Names of the image and the outputs, the image's shape (C, H, W), and the outputs' keys."""

    image: str
    outputs: tuple[str, ...]
    shape: tuple[int, int, int]
    keys: tuple[str, ...]


def load(path: Path) -> ExportedProgram:
    """The program in a file.

    Raises:
        UsageError: the file is no such program, is damaged or out of bounds, needs a pickle to be
            loaded, takes another input than one image, or computes what no graph can.
    """
    return _read(path, _Reader.program)


def image_shape(path: Path) -> tuple[int, int, int]:
    """The shape (C, H, W) of the image that a program was exported for; no weights are read.

    Raises:
        UsageError: as ``load``, as far as that is seen without weights and operators.
    """
    return _read(path, _Reader.ends).shape


def _read(path: Path, what: Callable[[_Reader], _Found]) -> _Found:
    if not atomic_files.is_file(path) or path.stat().st_size > _MAX_FILE_BYTES:
        raise UsageError(
            f"cannot read {path}: it is no file of at most {_MAX_FILE_BYTES >> 30} GiB"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return what(_Reader(archive))
    except UsageError as error:
        raise UsageError(f"{path} {error}") from error
    except (*_DAMAGE, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is no program of torch.export, or damaged; {_REMEDY}") from error


#: What reading a damaged file may end in.
_DAMAGE = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OSError)


class _Reader:
    """Reader of one archive."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        programs = [name for name in archive.namelist() if name.endswith("models/model.json")]
        if len(programs) != 1:
            raise UsageError(f"holds {len(programs)} programs instead of one; {_REMEDY}")
        self._root = programs[0].removesuffix("models/model.json")
        self._left = _MAX_ELEMENTS
        self._described = self._json("models/model.json")["graph_module"]
        self._graph, self._signature = self._described["graph"], self._described["signature"]

    def program(self) -> ExportedProgram:
        """The whole program."""
        ends = self.ends()
        weights = self._tensors("weights", "model_weights_config.json")
        constants = self._tensors("constants", "model_constants_config.json")
        tensors: dict[str, torch.Tensor] = {}
        for spec in self._signature["input_specs"]:
            ((kind, what),) = spec.items()
            if kind == "user_input":
                continue
            if kind == "parameter":
                tensors[what["arg"]["name"]] = weights[what["parameter_name"]]
            elif kind == "buffer":
                name = what["buffer_name"]
                tensors[what["arg"]["name"]] = {**constants, **weights}[name]
            elif kind == "tensor_constant":
                tensors[what["arg"]["name"]] = constants[what["tensor_constant_name"]]
            else:
                raise UsageError(f"takes a {kind}, which is not supported")
        return ExportedProgram(_nodes(self._graph["nodes"]), tensors, ends)

    def ends(self) -> _Ends:
        """What goes in and comes out."""
        images = [
            spec["user_input"]["arg"]["as_tensor"]["name"]
            for spec in self._signature["input_specs"]
            if "user_input" in spec
        ]
        if len(images) != 1:
            raise UsageError(f"takes {len(images)} inputs instead of one image")
        outputs = tuple(
            spec["user_output"]["arg"]["as_tensor"]["name"]
            for spec in self._signature["output_specs"]
            if "user_output" in spec
        )
        sizes = [_size(one) for one in self._graph["tensor_values"][images[0]]["sizes"]]
        if len(sizes) != 4:
            raise UsageError(f"takes an input of {len(sizes)} axes instead of an image")
        keys = _keys(self._described, len(outputs))
        return _Ends(images[0], outputs, (sizes[1], sizes[2], sizes[3]), keys)

    def _json(self, name: str) -> Any:
        return bounded.parse_json(self._member(name, _MAX_JSON_BYTES).decode())

    def _member(self, name: str, limit: int) -> bytes:
        with self._archive.open(self._root + name) as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise UsageError(f"holds more than {limit} bytes of {name}")
        return content

    def _tensors(self, folder: str, config: str) -> dict[str, torch.Tensor]:
        described = self._json(f"data/{folder}/{config}")["config"]
        return {name: self._tensor(folder, name, one) for name, one in described.items()}

    def _tensor(self, folder: str, name: str, described: Mapping[str, Any]) -> torch.Tensor:
        if described["use_pickle"]:
            raise UsageError(
                f"holds '{name}' as a pickle, which may run code and is not loaded; {_REMEDY}"
            )
        meta = described["tensor_meta"]
        dtype = _DTYPES[meta["dtype"]]
        sizes, strides = ([_size(one) for one in meta[key]] for key in ("sizes", "strides"))
        self._left -= math.prod(sizes)
        if self._left < 0 or min((*sizes, *strides), default=0) < 0:
            raise UsageError(f"holds more than {_MAX_ELEMENTS} numbers")
        path = f"data/{folder}/{described['path_name']}"
        content = bytearray(self._member(path, _MAX_ELEMENTS * dtype.itemsize))
        offset = _size(meta["storage_offset"])
        if not content:
            return torch.zeros(sizes, dtype=dtype)
        return torch.frombuffer(content, dtype=dtype).as_strided(sizes, strides, offset).clone()


def _keys(described: Mapping[str, Any], outputs: int) -> tuple[str, ...]:
    """Keys of a program that returns a dictionary of tensors; none of any other."""
    calls = described.get("module_call_graph") or [{}]
    text = (calls[0].get("signature") or {}).get("out_spec") or "[1, {}]"
    spec = bounded.parse_json(text)[1]
    if spec.get("type") != "builtins.dict" or any(one["type"] for one in spec["children_spec"]):
        return ()
    keys = bounded.parse_json(spec["context"])
    return tuple(keys) if len(keys) == outputs and all(isinstance(one, str) for one in keys) else ()


def _nodes(described: Sequence[Mapping[str, Any]]) -> list[_Node]:
    """The calls, each in the module that made it; one in which others are called is no layer."""
    stacks = [_stack(one["metadata"].get("nn_module_stack") or "") for one in described]
    callers = {path for stack in stacks for path, _ in stack[:-1]}
    nodes = []
    for one, stack in zip(described, stacks, strict=True):
        path, kind = stack[-1] if stack else ("", "")
        of_torch = kind.startswith("torch.nn.") and kind not in _CONTAINER_NAMES
        layer = bool(path) and (of_torch or path not in callers)
        nodes.append(_node(one, Scope(path, layer)))
    return nodes


_CONTAINER_NAMES = {f"{one.__module__}.{one.__qualname__}" for one in CONTAINERS}


def _stack(text: str) -> list[tuple[str, str]]:
    """Path and class of every module that was running, outermost first."""
    parts = [one.split(",") for one in text.split(";")]
    known = [one for one in parts if len(one) == 3 and not one[0].startswith("_empty")]
    return [(one[1].partition("@")[0], one[2]) for one in known]


def _node(described: Mapping[str, Any], scope: Scope) -> _Node:
    found = _TARGET.fullmatch(described["target"])
    operator = operators.known(*found.groups()) if found else None
    if operator is None:
        name = described["target"].removeprefix("torch.ops.").removesuffix(".default")
        where = f"module '{scope.path}'" if scope.path else "forward()"
        raise UsageError(f"computes {name}() in {where}, which cannot be read from such a file")
    given = {one["name"]: _argument(one["arg"]) for one in described["inputs"]}
    arguments = {name: one for name, one in given.items() if one is not _MEMORY}
    return _Node(operator, arguments, [_output(one) for one in described["outputs"]], scope)


#: An argument about memory only.
_MEMORY = object()


def _argument(described: Mapping[str, Any]) -> Any:
    """An argument with ``_Name`` for every value of the program."""
    ((kind, what),) = described.items()
    read = _ARGUMENTS.get(kind)
    if read is None:
        raise UsageError(f"has an argument of the kind '{kind}', which is not supported")
    return read(what)


_ARGUMENTS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_PLAIN, lambda what: what),
    **dict.fromkeys(_IGNORED, lambda _: _MEMORY),
    "as_none": lambda _: None,
    "as_tensor": lambda what: _Name(what["name"]),
    "as_tensors": lambda what: [_Name(one["name"]) for one in what],
    "as_optional_tensors": lambda what: [_argument(one) for one in what],
    "as_sym_int": _argument,
    "as_sym_ints": lambda what: [_argument(one) for one in what],
    "as_name": _Name,
    "as_scalar_type": lambda what: _DTYPES[what],
    "as_memory_format": lambda what: _MEMORY_FORMATS[what],
}


def _output(described: Mapping[str, Any]) -> Any:
    """The name of a result, or the names of a list of results."""
    ((kind, what),) = described.items()
    if kind == "as_tensors":
        return [one["name"] for one in what]
    return what["name"] if kind == "as_tensor" else what["as_name"]


def _named(outputs: list[Any], results: Any) -> dict[str, Any]:
    """Results by their names."""
    if len(outputs) == 1 and isinstance(outputs[0], list):
        return dict(zip(outputs[0], results, strict=True))
    return dict(zip(outputs, results if len(outputs) > 1 else (results,), strict=True))


def _value(one: Any, known: Mapping[str, Any]) -> Any:
    return known[one.name] if isinstance(one, _Name) else one


def _size(described: Mapping[str, Any]) -> int:
    """A size; of one that may vary, the one it was exported with."""
    if "as_expr" in described:
        return _size(described["as_expr"]["hint"])
    return int(described["as_int"])
