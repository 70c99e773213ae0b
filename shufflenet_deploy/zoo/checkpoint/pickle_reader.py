"""Pickle reader without execution: no name in it is ever looked up, imported or called.

``pickletools`` splits the bytes into opcodes; the stack machine below turns them into plain values.
Where a pickle names a class or function, a ``Global`` stands for it, and what Python would get by
calling it is an ``Instance`` that only records the arguments. So objects of any library can be
read past, and code in a pickle is text like any other.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from shufflenet_deploy.zoo.checkpoint.limits import MAX_PICKLE_OPCODES, LimitError


class PickleError(ValueError):
    """The bytes are no pickle, or one that is cut short or makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Global:
    """A class or function by its name, such as ``argparse.Namespace``."""

    name: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Persistent:
    """Data that lies outside the pickle, by the key that its writer chose (a tensor's storage)."""

    key: object


@dataclass(eq=False, kw_only=True)
class Instance:
    """Inert stand-in for a pickled object: its class or factory, and all that was given to it.

    ``items`` were set by key, ``members`` appended or added, ``state`` is its attributes.
    """

    name: str
    args: tuple[object, ...] = ()
    kwargs: object = None
    items: dict[object, object] = field(default_factory=dict)
    members: list[object] = field(default_factory=list)
    state: object = None


class _Mark:
    """Mark on the stack at which the arguments of an opcode begin."""


#: Types that may be keys; a pair with any other key is left out, since nothing could ask for it.
_KEYS = (str, bytes, int, float, bool, type(None))
_DICTS = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict")


def read_pickle(stream: IO[bytes], seen: Callable[[Persistent], None] | None = None) -> object:
    """The value of the pickle at the stream's position; the stream is left right behind it.

    ``seen`` is called with each piece of data outside the pickle.

    Raises:
        PickleError: it is damaged.
        LimitError: it has more opcodes than any checkpoint.
    """
    return _Machine(seen).run(stream)


class _Machine:
    def __init__(self, seen: Callable[[Persistent], None] | None) -> None:
        self._seen = seen
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, object] = {}

    def run(self, stream: IO[bytes]) -> object:
        try:
            for count, (name, argument) in enumerate(_opcodes(stream)):
                if count > MAX_PICKLE_OPCODES:
                    raise LimitError(f"more than {MAX_PICKLE_OPCODES} opcodes")
                if name == "STOP":
                    return self._pop()
                self._step(name, argument)
        except LimitError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise PickleError(str(error) or type(error).__name__) from error
        raise PickleError("it ends before its end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _PUSHES_ARGUMENT:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _PUTS:
            self._memo[len(self._memo) if argument is None else argument] = self._top()
        elif name in _GETS:
            self._stack.append(self._memo[argument])
        elif action := _ACTIONS.get(name):
            action(self, argument)
        else:
            raise PickleError(f"opcode {name}")

    # --- the stack

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is _Mark:
            raise PickleError("an empty stack")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise PickleError("no mark")
        place = self._marks.pop()
        taken = self._stack[place + 1 :]
        del self._stack[place:]
        return taken

    # --- opcodes

    def mark(self, _: object) -> None:
        self._marks.append(len(self._stack))
        self._stack.append(_Mark)

    def pop(self, _: object) -> None:
        if not self._stack:
            raise PickleError("an empty stack")
        if self._stack.pop() is _Mark:
            self._marks.pop()

    def pop_mark(self, _: object) -> None:
        self._pop_to_mark()

    def dup(self, _: object) -> None:
        self._stack.append(self._top())

    def short_tuple(self, size: int) -> None:
        taken = [self._pop() for _ in range(size)]
        self._stack.append(tuple(reversed(taken)))

    def make_tuple(self, _: object) -> None:
        self._stack.append(tuple(self._pop_to_mark()))

    def make_list(self, _: object) -> None:
        self._stack.append(self._pop_to_mark())

    def make_dict(self, _: object) -> None:
        made: dict[object, object] = {}
        _set_items(made, self._pop_to_mark())
        self._stack.append(made)

    def append(self, _: object) -> None:
        value = self._pop()
        _extend(self._top(), [value])

    def appends(self, _: object) -> None:
        values = self._pop_to_mark()
        _extend(self._top(), values)

    def set_item(self, _: object) -> None:
        value, key = self._pop(), self._pop()
        _set_items(self._top(), [key, value])

    def set_items(self, _: object) -> None:
        values = self._pop_to_mark()
        _set_items(self._top(), values)

    def named_global(self, argument: str) -> None:
        self._stack.append(Global(name=argument.replace(" ", ".", 1)))

    def stack_global(self, _: object) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(Global(name=f"{_text(module)}.{_text(name)}"))

    def extension(self, code: int) -> None:
        self._stack.append(Global(name=f"copyreg.extension{code}"))

    def reduce(self, _: object) -> None:
        arguments, made = self._pop(), self._pop()
        self._stack.append(_called(made, arguments))

    def new_with_keywords(self, _: object) -> None:
        keywords, arguments, made = self._pop(), self._pop(), self._pop()
        instance = _called(made, arguments)
        if isinstance(instance, Instance):
            instance.kwargs = keywords
        self._stack.append(instance)

    def old_instance(self, argument: str) -> None:
        taken = self._pop_to_mark()
        self._stack.append(_called(Global(name=argument.replace(" ", ".", 1)), tuple(taken)))

    def old_object(self, _: object) -> None:
        made, *arguments = self._pop_to_mark()
        self._stack.append(_called(made, tuple(arguments)))

    def build(self, _: object) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, Instance):
            target.state = state

    def persistent(self, argument: object) -> None:
        value = Persistent(key=argument)
        if self._seen:
            self._seen(value)
        self._stack.append(value)

    def stack_persistent(self, _: object) -> None:
        self.persistent(self._pop())


def _opcodes(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    for opcode, argument, _ in pickletools.genops(stream):
        yield opcode.name, argument


def _called(made: object, arguments: object) -> object:
    """The stand-in for ``made(*arguments)``; plain dictionaries and bytes are made as such."""
    given = tuple(arguments) if isinstance(arguments, (tuple, list)) else ()
    name = made.name if isinstance(made, (Global, Instance)) else type(made).__name__
    if name in _DICTS:
        return _dict_of(given)
    if name == "collections.defaultdict":
        return {}
    if name == "_codecs.encode" and len(given) == 2 and given[1] == "latin1":
        return _text(given[0]).encode("latin1")
    return Instance(name=name, args=given)


def _dict_of(given: tuple[object, ...]) -> dict[object, object]:
    made: dict[object, object] = {}
    pairs = given[0] if given and isinstance(given[0], (list, tuple)) else ()
    for pair in pairs:
        if isinstance(pair, (list, tuple)) and len(pair) == 2:
            _set_items(made, list(pair))
    return made


def _set_items(target: object, flat: list[object]) -> None:
    items = target.items if isinstance(target, Instance) else target
    if not isinstance(items, dict) or len(flat) % 2:
        raise PickleError("items for something that has none")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if isinstance(key, _KEYS):
            items[key] = value


def _extend(target: object, values: list[object]) -> None:
    members = target.members if isinstance(target, Instance) else target
    if not isinstance(members, list):
        raise PickleError("members for something that has none")
    members.extend(values)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise PickleError(f"{type(value).__name__} for a name")
    return value


_IGNORED = frozenset(("PROTO", "FRAME"))
_PUSHES_ARGUMENT = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
        *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": _Machine.dup,
    "TUPLE1": lambda machine, _: machine.short_tuple(1),
    "TUPLE2": lambda machine, _: machine.short_tuple(2),
    "TUPLE3": lambda machine, _: machine.short_tuple(3),
    "TUPLE": _Machine.make_tuple,
    "LIST": _Machine.make_list,
    "FROZENSET": _Machine.make_list,
    "DICT": _Machine.make_dict,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "GLOBAL": _Machine.named_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.reduce,
    "NEWOBJ_EX": _Machine.new_with_keywords,
    "INST": _Machine.old_instance,
    "OBJ": _Machine.old_object,
    "BUILD": _Machine.build,
    "PERSID": _Machine.persistent,
    "BINPERSID": _Machine.stack_persistent,
}
