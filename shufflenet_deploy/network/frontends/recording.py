"""Recording of a forward pass: tensors without data that tell a listener of every ATen operator.

The module's own code runs once, on tensors that know their shapes only; control flow on shapes,
constants and parameters is thereby resolved, and whatever depends on constants alone is computed.
PyTorch breaks composite functions down into its operators, so that each operator has one spelling,
and views share memory as they always do, so that writes in place are seen where they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy.errors import DeployError, ExportError
from shufflenet_deploy.network.frontends.graph_builder import INPUT_NAME, Value
from shufflenet_deploy.network.frontends.shape_inference import Shape, mapped, without_values

#: Operators of which the values depend on a tensor's shape alone.
_CONSTANTS = {"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"}

#: Functions of which the results have the shape of the first argument.
_TOLD_WHOLE = {functional.local_response_norm}

#: Methods that make something other than tensors of an image's values.
_OF_VALUES = {torch.Tensor.numpy, torch.Tensor.tolist, torch.Tensor.__array__}

#: No small network has larger tensors than this.
MAX_ELEMENTS = 1 << 28

_DATA_DEPENDENT = (
    "depends on the values of its input (an if, a loop or a number made of a tensor), which no "
    "exported file can"
)


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
    """Memory that several tensors may view, and what was written to it last."""

    def __init__(self) -> None:
        self.writes = 0
        self.geometry: Any = None
        self.content: Content | None = None


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
    def geometry(self) -> Any:
        """The elements of the memory that this is."""
        return self.meta.shape, self.meta.stride(), self.meta.storage_offset()

    @property
    def content(self) -> Content:
        """The tensor's present value, after all that was written to its memory."""
        if self.seen_writes == self.memory.writes:
            return self.own
        if self.memory.content is not None and self.memory.geometry == self.geometry:
            return self.memory.content
        return self.listener.refuse("reads a tensor of which another view was written to")

    def write(self, content: Content) -> None:
        """Record a write in place."""
        self.memory.writes += 1
        self.memory.geometry, self.memory.content = self.geometry, content
        self.own, self.seen_writes = content, self.memory.writes

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Tell the listener of a function that says more than the operators it consists of."""
        if func in _OF_VALUES:
            raise ExportError(_DATA_DEPENDENT)
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
    if name == "_local_scalar_dense":
        raise ExportError(_DATA_DEPENDENT)
    results = without_values(func, *mapped((args, kwargs), _without_data))
    flat = [one for one in _leaves(results) if isinstance(one, torch.Tensor)]
    if any(one.numel() > MAX_ELEMENTS for one in flat):
        raise ExportError(f"makes a tensor of more than {MAX_ELEMENTS} elements")
    in_place = schema.is_mutable and name.endswith("_")
    if in_place and not isinstance(args[0], Recorded):
        raise ExportError("writes computed values into a tensor of constants")
    call = Call.of(name.rstrip("_"), [one.name for one in schema.arguments], args, kwargs)
    told = listener.operator(call, [tuple(one.shape) for one in flat])
    if in_place:
        args[0].write(told[0])
        return args[0]
    made = iter([_result(*pair, tensors) for pair in zip(flat, told, strict=True)])
    return mapped(results, lambda one: next(made) if isinstance(one, torch.Tensor) else one)


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
    return Recorded(inputs[0].listener, meta, content, memory or _Memory())


def _place(meta: torch.Tensor) -> int:
    """The identity of a tensor's memory."""
    return int(meta.untyped_storage()._cdata)  # noqa: SLF001 - there is no other


@dataclass(frozen=True)
class Scope:
    """The module that is running; a ``layer`` is one in which nothing else runs by a name."""

    path: str
    layer: bool


class RecordedProgram(nn.Module):
    """A module that says itself which of the modules it was made of is running."""

    follow: Callable[[Scope], None] = staticmethod(lambda _: None)


class Scopes:
    """The stack of modules that are running, while a module runs."""

    def __init__(self, root: nn.Module) -> None:
        self._root = root
        self._scopes = {
            module: Scope(path, bool(path) and _is_layer(module))
            for path, module in root.named_modules()
        }
        self._running = [Scope("", layer=False)]

    @property
    def innermost(self) -> Scope:
        """The innermost call."""
        return self._running[-1]

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every call of a submodule."""
        hooks = []
        for module in self._scopes:
            if isinstance(module, torch.jit.ScriptModule):
                continue  # Has no hooks; what it calls counts as its parent's.
            hooks.append(module.register_forward_pre_hook(self._enter))
            hooks.append(module.register_forward_hook(self._leave))
        if isinstance(self._root, RecordedProgram):
            self._root.follow = self._jump
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            if isinstance(self._root, RecordedProgram):
                del self._root.follow

    def _enter(self, module: nn.Module, _: Any) -> None:
        self._running.append(self._scopes[module])

    def _leave(self, *_: Any) -> None:
        self._running.pop()

    def _jump(self, scope: Scope) -> None:
        self._running[-1] = scope


#: Modules of PyTorch in which other modules run.
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)


def _is_layer(module: nn.Module) -> bool:
    """True for modules of PyTorch, what is derived from them, and modules without submodules."""
    if not any(True for _ in module.children()):
        return True
    ancestors = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.")]
    return any(kind not in CONTAINERS for kind in ancestors)


def run(module: nn.Module, shape: Shape, listener: Listener, name: str, scopes: Scopes) -> Any:
    """The outputs of a module on a recorded image of a shape (C, H, W).

    Raises:
        ExportError: it is in training mode, or its forward pass fails or cannot be recorded.
    """
    if module.training:
        raise ExportError(f"{name} is in training mode: call .eval() before exporting it")
    image = torch.empty((1, *shape), device="meta")
    recorded = Recorded(listener, image, Value(INPUT_NAME, shape), _Memory())
    try:
        with torch.no_grad(), scopes.watching():
            return module(recorded)
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
