"""Run the user's own code for a network: import its module, call the callable, check the result.

It is the user's code: it may do whatever its user may. Only code that the user named himself gets
here, and no file is unpickled for it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.zoo.own_network import PythonConfig
from shufflenet_deploy.zoo.source_digest import source_digest


def build(config: PythonConfig) -> nn.Module:
    """The network in eval mode, in float32 on the CPU.

    Raises:
        UsageError: the code has changed since it was described, it raises, or what it returns is
            no ``nn.Module``.
    """
    if source_digest(config.code) != config.sha256:
        raise UsageError(f"{config.code} has changed since it was chosen: start again")
    with user_code(config, config.code):
        target = _target(_module(config), config)
        module = target if isinstance(target, nn.Module) else _called(target, config)
    if not isinstance(module, nn.Module):
        raise UsageError(f"{config} returns a {type(module).__name__}, which is no torch.nn.Module")
    return module.float().cpu().eval().requires_grad_(requires_grad=False)


def seeded(config: PythonConfig, seed: int) -> tuple[nn.Module, bool]:
    """The network built with torch's generator at ``seed``, and True if its weights are its own.

    They are where another seed changes none of them: then the code has read them from somewhere.

    Raises:
        UsageError: as ``build``.
    """
    modules = []
    with torch.random.fork_rng(devices=[]):
        for each in (seed, seed + 1):
            torch.manual_seed(each)
            modules.append(build(config))
    first, second = (list(module.state_dict().values()) for module in modules)
    same = len(first) == len(second) and all(map(torch.equal, first, second))
    return modules[0], same and bool(first)


def explained(error: BaseException, config: object, code: str = "") -> UsageError:
    """One line for what the user's code raised: its kind, its message, and its line in ``code``."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if code and Path(frame.filename) == Path(code):
            place = f" ({Path(code).name}, line {frame.lineno})"
    message = first_line(str(error), 300)
    said = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return UsageError(f"{config} raises {said}{place}")


@contextlib.contextmanager
def user_code(named: object, code: str = "") -> Iterator[None]:
    """Run the user's code in the block: its imports, its prints, and its errors as one line.

    Modules beside the file ``code`` are found as if it were run by its path. What it prints goes to
    standard error, so that ``--json`` stays one object.

    Raises:
        UsageError: it raises, or exits; the message begins with ``named``.
    """
    folder = str(Path(code).parent if code.endswith(".py") else Path.cwd())
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        raise explained(error, named, code) from error
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # For imports inside functions, after everybody else's.


_PREFIX = "_own_network_"
#: Of a network's module: names in ``sys.modules`` of what it imported from its own folder.
_NEIGHBOURS = "_neighbours"


def _module(config: PythonConfig) -> ModuleType:
    if not config.code.endswith(".py"):
        return importlib.import_module(config.code)
    key = hashlib.sha256(f"{config.sha256} {config.code}".encode()).hexdigest()
    name = f"{_PREFIX}{key[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    # Another network's modules, or an earlier version's, may have the same names.
    for other in [one for known, one in sys.modules.items() if known.startswith(_PREFIX)]:
        for stale in vars(other).pop(_NEIGHBOURS, ()):
            sys.modules.pop(stale, None)
    spec = importlib.util.spec_from_file_location(name, config.code)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        folder = str(Path(config.code).parent)
        new = set(sys.modules) - before - {name}
        near = {one for one in new if _lies_in(folder, sys.modules[one])}
        setattr(module, _NEIGHBOURS, near)
    return module


def _lies_in(folder: str, module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and file.startswith(f"{folder}/")


def _target(module: ModuleType, config: PythonConfig) -> Any:
    """The callable, or the module that is there already.

    Raises:
        UsageError: there is no such name, or it is neither.
    """
    found: Any = module
    for name in config.function.split("."):
        found = getattr(found, name, None)
    if isinstance(found, nn.Module) and not config.arguments:
        return found
    if callable(found) and not isinstance(found, nn.Module):
        return found
    if isinstance(found, nn.Module):
        raise UsageError(f"{config} is a network already and takes no --model-arg")
    if found is not None:
        raise UsageError(f"{config} is a {type(found).__name__}: name a class or a function")
    known = [name for name, value in vars(module).items() if _is_own(value, module)]
    listed = f"; it has {', '.join(known[:8])}" if known else ""
    raise UsageError(f"{config.code} has no '{config.function}'{listed}")


def _is_own(value: object, module: ModuleType) -> bool:
    """True for a public function or class that a module defines itself."""
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _called(target: Callable[..., Any], config: PythonConfig) -> Any:
    return target(**{name: _literal(text) for name, text in config.arguments.items()})


def _literal(text: str) -> object:
    """A Python literal, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
