"""A Python on the target that can import a runtime: its own, a virtual one, or pushed wheels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from shufflenet_deploy.bounded import Name, Text
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import TargetFacts
from shufflenet_deploy.target import answers

if TYPE_CHECKING:
    from packaging.requirements import Requirement


class Payload(Protocol):
    """Modules that must be importable; ``runtime.base.Payload`` is one.

    ``requirements`` are pinned (``name==version``) and complete: nothing is added to them. ``env``
    holds the variables under which anything may import them. ``companions`` are files of this
    machine, made when they are asked for, by the variable that says where each lies on the target.
    """

    @property
    def name(self) -> str: ...
    @property
    def requirements(self) -> tuple[str, ...]: ...
    @property
    def imports(self) -> tuple[str, ...]: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def companions(self) -> Mapping[str, Callable[[], Path]]: ...


class Mode(StrEnum):
    """Source of the runtime; ``AUTO`` takes the first of the others that works.

    ``SELF_CONTAINED`` uses nothing of the target but its kernel.
    """

    AUTO = "auto"
    SYSTEM = "system"
    VENV = "venv"
    WHEELS = "wheels"
    SELF_CONTAINED = "self-contained"


#: Which payload suits a target: its ``arch``, ``python`` and ``libc`` are those of the Python that
#: is going to import it, which need not be the target's own.
PayloadOf = Callable[[TargetFacts], Payload]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Command prefix of a Python that has the runtime, and the variables to set for it.

    ``size_bytes`` is what was pushed for it, compressed; None where nothing had to be.
    """

    python: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    how: Mode
    size_bytes: int | None = field(default=None, compare=False)


#: Runs on the target: which distributions are there, and which modules do not import. Modules are
#: only imported when no distribution is missing. Parameter: JSON with both lists of names.
PROOF_PROGRAM = """\
import importlib, json, sys
try:
    from importlib.metadata import PackageNotFoundError, version  # novm: the other way follows
except ImportError:  # Python 3.7
    import glob, os, re
    class PackageNotFoundError(Exception):
        pass
    def plain(name):
        return re.sub("[-_.]+", "-", name).lower()
    def head(path):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return stream.read().partition("\\n\\n")[0]
        except OSError:
            return ""
    def version(name):
        for folder in sys.path:
            for path in glob.glob(os.path.join(glob.escape(folder or "."), "*-info")):
                for one in (path + "/METADATA", path + "/PKG-INFO", path):
                    text = head(one)
                    found = re.search("(?mi)^name: *(.+?) *$", text)
                    stated = re.search("(?mi)^version: *(.+?) *$", text)
                    if found and stated:
                        if plain(found.group(1)) == plain(name):
                            return stated.group(1)
                        break
        raise PackageNotFoundError(name)
wanted = json.loads(sys.argv[1])
versions, failed = {}, {}
for name in wanted["distributions"]:
    try:
        versions[name] = version(name)
    except PackageNotFoundError:
        versions[name] = None
if None not in versions.values():
    for name in wanted["imports"]:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed[name] = "%s: %s" % (type(error).__name__, error)
print(json.dumps({"versions": versions, "failed": failed}))
"""


def proof_argument(payload: Payload) -> str:
    """The parameter of ``PROOF_PROGRAM``."""
    names = [requirement.name for requirement in _parsed(payload)]
    return json.dumps({"distributions": names, "imports": list(payload.imports)})


class _Proof(BaseModel):
    """Output of ``PROOF_PROGRAM``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    versions: dict[Name, Name | None]
    failed: dict[Name, Text]


def _satisfies(requirement: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion  # noqa: PLC0415

    try:
        return requirement.specifier.contains(version, prereleases=True)
    except (InvalidVersion, ValueError):
        return False


def missing_from(payload: Payload, printed: str) -> str | None:
    """Name the requirement that ``PROOF_PROGRAM`` did not find; None when none is missing."""
    line = next((one for one in reversed(printed.splitlines()) if one.startswith("{")), None)
    if line is None:
        return "its Python did not run"
    try:
        found = _Proof.model_validate(answers.json_of(line, whose="its Python"))
    except (ParseError, ValidationError):
        return "its Python does not say what it has"
    for requirement in _parsed(payload):
        version = found.versions.get(requirement.name)
        if version is None:
            return f"{requirement.name} is not installed"
        if not _satisfies(requirement, version):
            return f"{requirement.name} is {version}, not {requirement.specifier}"
    for name, error in found.failed.items():
        return f"import {name}: {first_line(error)}"
    return None


def environment_key(payload: Payload, python_version: str) -> str:
    """Names the folder of an environment: the same pins for the same Python share one."""
    text = "\n".join([*sorted(payload.requirements), python_version])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def name_of(requirement: str) -> str:
    """``numpy`` of ``numpy==2.4.6``."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    return Requirement(requirement).name


def _parsed(payload: Payload) -> list[Requirement]:
    from packaging.requirements import Requirement  # noqa: PLC0415

    return [Requirement(text) for text in payload.requirements]
