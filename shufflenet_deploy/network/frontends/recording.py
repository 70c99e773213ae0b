"""Recording of a forward pass: tensors without data that tell a listener of every ATen operator.

The module's own code runs once, on tensors that know their shapes only; control flow on shapes,
constants and parameters is thereby resolved, and whatever depends on constants alone is computed.
PyTorch breaks composite functions down into its operators, so that each operator has one spelling,
and views share memory as they always do, so that writes in place are seen where they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from shufflenet_deploy.errors import DeployError, ExportError
from shufflenet_deploy.network.frontends import written_parts
from shufflenet_deploy.network.frontends.graph_builder import INPUT_NAME, Value
from shufflenet_deploy.network.frontends.scopes import Scopes
from shufflenet_deploy.network.frontends.shape_inference import (
    DATA_DEPENDENT,
    Shape,
    mapped,
    without_values,
)

#: Operators of which the values depend on a tensor's shape alone.
_CONSTANTS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}

#: Functions of which the results have the shape of the first argument.
_TOLD_WHOLE = {functional.local_response_norm}

#: Methods that make something other than tensors of an image's values.
_OF_VALUES = {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}

#: Operators of which the result is a number, or as large as the values say.
_OPERATORS_OF_VALUES = {"_local_scalar_dense", "nonzero", "masked_select"}

#: Operators that write to a tensor whatever it was.
_FILLS = {"copy_", "fill_", "zero_"}

#: No small network has larger tensors than this.
MAX_ELEMENTS = 1 << 28


@dataclass(frozen=True)
class Unreadable:
    """A tensor that no graph can express: an error as soon as an output needs it.

    ``operator`` and ``inputs`` are how it was computed; some patterns around it are known.
    """

    message: str
    operator: str = ""
    inputs: tuple[Any, ...] = ()


Content = Value | Unreadable


@dataclass(frozen=True)
class Call:
    """A call by name, of contents and constants: its first argument, and the others by name."""

    name: str
    first: Any
    others: dict[str, Any]

    @classmethod
    def of(cls, name: str, names: Sequence[str], args: Any, kwargs: Any) -> Call:
        """A call of an operator or function that has parameters of these names."""
        given = mapped({**dict(zip(names, args, strict=False)), **kwargs}, _content)
        first = given.pop(names[0])
        return cls(name, first, given)

    @property
    def arguments(self) -> tuple[Any, ...]:
        """All arguments, in the order of the parameters as far as they were given in it."""
        return (self.first, *self.others.values())


class Listener(Protocol):
    """The receiver of recorded operations; it answers with the results' meanings."""

    def operator(self, call: Call, shapes: Sequence[Shape] | None) -> list[Content]:
        """An operator; ``shapes`` are its results', None for one like the first argument's."""
        ...

    def refuse(self, what: str) -> Unreadable:
        """Something that is recorded and never expressed."""
        ...


class _Memory:
    """Memory that several tensors may view: its first tensor, and what was written to it last."""

    def __init__(self, meta: torch.Tensor, content: Content | torch.Tensor) -> None:
        self.writes = 0
        self.geometry: Any = None
        self.content: Content | None = None
        self._whole, self._all = meta, content

    def write(self, listener: Listener, meta: torch.Tensor, content: Content) -> None:
        """Record what was written to a view."""
        self.writes += 1
        self.geometry, self.content = _geometry(meta), content
        if _geometry(self._whole) == self.geometry:
            self._all = content
            return
        places = written_parts.ranges(self._whole, meta)
        self._all = (
            listener.refuse("reads a tensor of which another view was written to")
            if places is None
            else written_parts.written(
                _computing(listener), self._all, self._whole.shape, places, content
            )
        )

    def read(self, listener: Listener, meta: torch.Tensor) -> Content:
        """The present value of a view that was not written to last."""
        if self.content is not None and self.geometry == _geometry(meta):
            return self.content
        places = written_parts.ranges(self._whole, meta)
        if places is None:
            return listener.refuse("reads a tensor of which another view was written to")
        made: Content = written_parts.read(
            _computing(listener), self._all, self._whole.shape, places, meta.shape
        )
        return made


def _geometry(meta: torch.Tensor) -> Any:
    """The elements of its memory that a tensor is."""
    return meta.shape, meta.stride(), meta.storage_offset()


def _computing(listener: Listener) -> written_parts.Compute:
    """Operators by name, of contents and constants."""

    def compute(name: str, arguments: dict[str, Any], shape: Shape) -> Any:
        if not any(isinstance(one, (Value, Unreadable)) for one in _leaves(arguments)):
            return getattr(torch.ops.aten, name)(**arguments).contiguous()
        names = list(arguments)
        return listener.operator(Call.of(name, names, (), arguments), [shape])[0]

    return compute


class Recorded(torch.Tensor):
    """A tensor without data, on the CPU for everybody who asks."""

    listener: Listener
    meta: torch.Tensor
    memory: _Memory
    seen_writes: int
    own: Content

    def __new__(
        cls, listener: Listener, meta: torch.Tensor, content: Content, memory: _Memory
    ) -> Self:
        """Wrap a tensor on PyTorch's device "meta", which computes shapes and strides."""
        made: Self = torch.Tensor._make_wrapper_subclass(  # noqa: SLF001 - as PyTorch documents it
            cls,
            meta.shape,
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=torch.device("cpu"),
        )
        made.listener, made.meta, made.memory = listener, meta, memory
        made.own, made.seen_writes = content, memory.writes
        return made

    @property
    def content(self) -> Content:
        """The tensor's present value, after all that was written to its memory."""
        if self.seen_writes == self.memory.writes:
            return self.own
        return self.memory.read(self.listener, self.meta)

    def write(self, content: Content) -> None:
        """Record a write in place."""
        self.memory.write(self.listener, self.meta, content)
        self.own, self.seen_writes = content, self.memory.writes

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Tell the listener of a function that says more than the operators it consists of."""
        if func in _OF_VALUES:
            raise ExportError(DATA_DEPENDENT)
        given = kwargs or {}
        if func in _TOLD_WHOLE:
            tensors = _recorded((args, given))
            parameters = inspect.signature(func).parameters.values()
            known = {one.name: one.default for one in parameters if one.default is not one.empty}
            names = [one.name for one in parameters]
            call = Call.of(func.__name__, names, args, given)
            call.others.update({key: known[key] for key in known.keys() - call.others.keys()})
            (told,) = tensors[0].listener.operator(call, None)
            return _result(torch.empty_like(tensors[0].meta), told, tensors)
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001 - as PyTorch documents it
            return func(*args, **given)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # PyTorch's stub has no class method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Tell the listener of one operator."""
        return _operator(func, args, kwargs or {})


def _operator(func: Any, args: Any, kwargs: Any) -> Any:
    tensors, schema = _recorded((args, kwargs)), func._schema  # noqa: SLF001 - there is no other
    listener, name = tensors[0].listener, func.overloadpacket.__name__
    if name in _CONSTANTS:
        return func(*mapped(args, _blank), **kwargs)
    if name in _OPERATORS_OF_VALUES:
        raise ExportError(DATA_DEPENDENT)
    results = without_values(func, *mapped((args, kwargs), _without_data))
    flat = [one for one in _leaves(results) if isinstance(one, torch.Tensor)]
    if any(one.numel() > MAX_ELEMENTS for one in flat):
        raise ExportError(f"makes a tensor of more than {MAX_ELEMENTS} elements")
    if name in {"add", "add_"} and flat[0].dtype is torch.bool:
        raise ExportError("adds truth values, which is an or: write it with |")
    in_place = schema.is_mutable and name.endswith("_")
    if in_place and name in _FILLS:
        args[0].write(_filling(listener, *args[:2]))
        return args[0]
    call = Call.of(name.rstrip("_"), [one.name for one in schema.arguments], args, kwargs)
    told = listener.operator(call, [tuple(one.shape) for one in flat])
    if in_place:
        args[0].write(told[0])
        return args[0]
    made = iter([_result(*pair, tensors) for pair in zip(flat, told, strict=True)])
    return mapped(results, lambda one: next(made) if isinstance(one, torch.Tensor) else one)


def _filling(listener: Listener, written: Recorded, source: Any = 0) -> Content:
    """What a tensor is once another, a constant or a number fills it."""
    compute, shape = _computing(listener), tuple(written.shape)
    if isinstance(source, Recorded):
        told: Content = compute("expand", {"self": source.content, "size": list(shape)}, shape)
    else:
        zeros = compute("clamp", {"self": written.content, "min": 0, "max": 0}, shape)
        told = compute("add", {"self": zeros, "other": source}, shape)
    return told


class _Constants(TorchDispatchMode):  # type: ignore[no-untyped-call]  # PyTorch's
    """Watch over tensors of constants: one that computed values are written to is recorded."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; PyTorch would import its compiler to say so to it."""
        return False

    def __init__(self, listener: Listener) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's
        self._listener = listener
        self._written: dict[int, tuple[torch.Tensor, _Memory, torch.Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute with constants, or record an operator."""
        args, kwargs = self.seen((args, kwargs or {}))
        if not _recorded((args, kwargs)):
            return func(*args, **kwargs)
        writes = func._schema.is_mutable and func.overloadpacket.__name__.endswith("_")  # noqa: SLF001
        if writes and not isinstance(args[0], Recorded):
            self._record(args[0])
            args = self.seen(args)
        return _operator(func, args, kwargs)

    def seen(self, tree: Any) -> Any:
        """Arguments or results with recorded tensors for those that were written to."""
        return mapped(tree, self._recorded_one) if self._written else tree

    def _record(self, constant: torch.Tensor) -> None:
        base = constant if constant._base is None else constant._base  # noqa: SLF001
        meta = torch.empty_strided(base.shape, base.stride(), device="meta")
        self._written[_place(base)] = (meta, _Memory(meta, base.clone()), base)

    def _recorded_one(self, one: Any) -> Any:
        if not isinstance(one, torch.Tensor) or isinstance(one, Recorded):
            return one
        known = self._written.get(_place(one))
        if known is None:
            return one
        meta = known[0].as_strided(one.shape, one.stride(), one.storage_offset())
        content = known[1].read(self._listener, meta)
        return Recorded(self._listener, meta, content, known[1])


def _content(one: Any) -> Any:
    return one.content if isinstance(one, Recorded) else one


def _without_data(one: Any) -> Any:
    if isinstance(one, Recorded):
        return one.meta
    if isinstance(one, torch.Tensor) and one.dim():
        return torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device="meta")
    return one


def _blank(one: Any) -> Any:
    return torch.empty(one.shape, dtype=one.dtype) if isinstance(one, Recorded) else one


def _recorded(tree: Any) -> list[Recorded]:
    return [one for one in _leaves(tree) if isinstance(one, Recorded)]


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if not isinstance(tree, (tuple, list)):
        yield tree
        return
    for one in tree:
        yield from _leaves(one)


def _result(meta: torch.Tensor, content: Content, inputs: list[Recorded]) -> Recorded:
    place = _place(meta)
    memory = next((one.memory for one in inputs if _place(one.meta) == place), None)
    return Recorded(inputs[0].listener, meta, content, memory or _Memory(meta, content))


def _place(meta: torch.Tensor) -> int:
    """The identity of a tensor's memory."""
    return int(meta.untyped_storage()._cdata)  # noqa: SLF001 - there is no other


def run(module: nn.Module, shape: Shape, listener: Listener, name: str, scopes: Scopes) -> Any:
    """The outputs of a module on a recorded image of a shape (C, H, W).

    Raises:
        ExportError: it is in training mode, or its forward pass fails or cannot be recorded.
    """
    if module.training:
        raise ExportError(f"{name} is in training mode: call .eval() before exporting it")
    image = torch.empty((1, *shape), device="meta")
    value = Value(INPUT_NAME, shape)
    recorded = Recorded(listener, image, value, _Memory(image, value))
    try:
        with torch.no_grad(), scopes.watching(), _Constants(listener) as constants:
            return constants.seen(module(recorded))
    except Exception as error:  # The module's own code may raise anything.
        path = scopes.innermost.path
        where = f"module '{path}'" if path else "its forward()"
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0] if isinstance(error, DeployError) else f"fails: {lines[0]}"
        raise ExportError(f"cannot export {name}: {where} {reason}") from error


def outputs(result: Any) -> list[Any]:
    """The tensors of a result, in order: one, or those in tuples, lists and dictionaries."""
    return [one for _, one in _named_leaves(result, "") if one is not None]


def output_names(result: Any) -> list[str]:
    """The name of each of ``outputs``: the keys or fields that lead to it; "" where none does."""
    return [name for name, one in _named_leaves(result, "") if one is not None]


def _named_leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        branches = list(tree.items())
    elif isinstance(tree, (tuple, list)):
        fields = getattr(tree, "_fields", None) or [""] * len(tree)
        branches = list(zip(fields, tree, strict=True))
    else:
        yield name, tree
        return
    for key, branch in branches:
        yield from _named_leaves(branch, ".".join(filter(None, (name, _word_of(key)))))


def _word_of(key: object) -> str:
    """A key as part of a name; "" for one that is no word."""
    return key if isinstance(key, str) and key.isprintable() else ""
