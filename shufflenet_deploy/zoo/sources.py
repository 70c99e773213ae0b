"""Model references: what ``--model`` takes, as one text that every layer above passes on.

A reference is a name of the zoo, the path of a card, ``FILE.py:CALLABLE``,
``package.module:CALLABLE``, the path of a ``.pt2``, ``.onnx`` or ``.prototxt`` file, or a card as
JSON: what the others become together with the options that describe them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from shufflenet_deploy.atomic_files import user_path
from shufflenet_deploy.bounded import Name, Text, parse_json
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.names import ModelName
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Record, Resolution, first_problem
from shufflenet_deploy.zoo import registry
from shufflenet_deploy.zoo.card import Architecture
from shufflenet_deploy.zoo.config import ChannelOrder, Preprocessing
from shufflenet_deploy.zoo.config_limits import ImageChannels
from shufflenet_deploy.zoo.network_file_facts import file_digest, stated_resolution
from shufflenet_deploy.zoo.own_network import (
    NETWORK_FILES,
    FileConfig,
    PythonConfig,
)
from shufflenet_deploy.zoo.source_digest import source_digest

_CODE = re.compile(r"(?P<code>.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<function>[^\W\d][\w.]*)")
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._+-]+")


class NetworkOptions(Record):
    """Facts about a network that its source does not state; None leaves what is usual.

    ``name`` is the model's name everywhere. ``arguments`` are keyword arguments of a callable, as
    typed: Python literals, or else text. ``preprocessing`` is a model or a card whose preprocessing
    is taken over; ``mean`` to ``value_range`` overrule single fields of it.
    """

    name: ModelName | None = None
    arguments: dict[Name, Text] = Field(default_factory=dict)
    channels: ImageChannels | None = None
    preprocessing: Text | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: ChannelOrder | None = None
    value_range: tuple[float, float] | None = None

    @property
    def given(self) -> bool:
        """True if any of them is stated."""
        return self != NetworkOptions()


def architecture(reference: str) -> Architecture:
    """The architecture that a reference means.

    Raises:
        UsageError: there is no such model, file, module or card.
    """
    if reference.startswith("{"):
        return _from_json(reference)
    if is_own(reference):
        return _own(reference, NetworkOptions())
    return registry.architecture(reference)


def described(text: str, options: NetworkOptions) -> str:
    """The reference of the model ``text`` with the facts of ``options``; a name stays a name.

    Raises:
        UsageError: there is no such model, or an option does not fit it.
    """
    if text.startswith("{"):
        return text
    if is_own(text):
        return _json(_own(text, options))
    card = registry.architecture(text)
    if not options.given:
        return str(user_path(text).absolute()) if text.endswith(".toml") else card.name
    if options.arguments:
        raise UsageError(f"--model-arg is for FILE.py:CALLABLE; {card.name} takes no arguments")
    changes: dict[str, object] = {"aliases": ()}
    usual = card.preprocessing
    if options.channels not in (None, usual.channels):
        usual = Preprocessing.usual(options.channels)
        changes["description"] = card.description.model_copy(update={"channels": options.channels})
    changes["preprocessing"] = preprocessing_of(options, usual)
    if options.name is not None:
        _refuse_taken(options.name)
        changes["name"] = options.name
    return _json(card.model_copy(update=changes))


def references(models: Iterable[str], options: NetworkOptions | None = None) -> dict[str, str]:
    """The own name of each model -> the reference that ``architecture`` takes for it.

    One model has one name wherever it is shown or stored, whatever alias or path was typed.
    ``options`` describe those that are not the zoo's by name, or all where there are none.

    Raises:
        UsageError: there is no such model, or two different ones of one name.
    """
    texts = list(models)
    own = [text for text in texts if not is_plain_name(text)] or texts
    found: dict[str, str] = {}
    for text in texts:
        reference = described(text, (options if text in own else None) or NetworkOptions())
        card = architecture(reference)
        if found.setdefault(card.name, reference) != reference:
            first, second = (_place(one) for one in (found[card.name], reference))
            raise UsageError(
                f"two models are called {card.name}: {first} and {second};"
                " give one of them another --name"
            )
    return found


def sized(reference: str, resolution: Resolution) -> str:
    """``reference`` with the size at which a network of the user's own is to be run.

    Raises:
        UsageError: there is no such model.
    """
    if is_plain_name(reference):
        return reference
    card = architecture(reference)
    if not card.is_own or card.resolution == resolution:
        return reference
    return _json(card.model_copy(update={"resolution": resolution}))


def declared_resolution(reference: str) -> Resolution | None:
    """The size of the input that a model's own file states; None for every other model.

    Raises:
        UsageError: there is no such model.
    """
    if is_plain_name(reference):
        return None
    description = architecture(reference).description
    return stated_resolution(description) if isinstance(description, FileConfig) else None


def is_own(text: str) -> bool:
    """True for code or a file that holds a network, as they are typed."""
    return text.endswith(NETWORK_FILES) or _CODE.fullmatch(text) is not None


def is_plain_name(reference: str) -> bool:
    """True for a network of the zoo by its name: no card, no code, no file, no other facts."""
    return not (reference.startswith("{") or reference.endswith(".toml") or is_own(reference))


def plain_name(name: str) -> str:
    """``name`` from a manifest or a journal, which may mean a network of the zoo and nothing else.

    Raises:
        UsageError: it would name a card, a file or somebody's code.
    """
    if not is_plain_name(name):
        raise UsageError(f"{first_line(name)} is no network of the zoo: name the model")
    return name


def name_of(reference: str) -> str:
    """The name of the model that a reference means.

    Raises:
        UsageError: there is no such model.
    """
    return reference if is_plain_name(reference) else architecture(reference).name


def code_of(reference: str) -> str | None:
    """``FILE.py:CALLABLE`` where a reference runs the user's code; None where it runs none.

    Raises:
        UsageError: there is no such model.
    """
    if is_plain_name(reference):
        return None
    description = architecture(reference).description
    return str(description) if isinstance(description, PythonConfig) else None


def _own(text: str, options: NetworkOptions) -> Architecture:
    """The architecture of a network that is not the zoo's."""
    match = _CODE.fullmatch(text)
    description = _python(match, options) if match else _file(text, options)
    channels = options.channels or (len(options.mean) if options.mean else 3)
    fields: dict[str, Any] = {
        "name": options.name or _derived_name(text),
        "title": options.name or _title(text),
        "source": _title(text),
        "description": description,
        "preprocessing": preprocessing_of(options, Preprocessing.usual(channels)),
    }
    if options.name is not None:
        _refuse_taken(options.name)
    if isinstance(description, FileConfig) and (declared := stated_resolution(description)):
        fields["resolution"] = declared
    return Architecture(**fields)


def _python(match: re.Match[str], options: NetworkOptions) -> PythonConfig:
    code = match["code"]
    if code.endswith(".py"):
        code = str(user_path(code).absolute())
    return PythonConfig(
        code=code,
        function=match["function"],
        arguments=options.arguments,
        sha256=source_digest(code),
        channels=options.channels,
    )


def _file(text: str, options: NetworkOptions) -> FileConfig:
    if options.arguments:
        raise UsageError(f"--model-arg is for FILE.py:CALLABLE; {text} takes no arguments")
    path = user_path(text).absolute()
    weights = path.with_suffix(".caffemodel")
    beside = weights if path.suffix == ".prototxt" and weights.is_file() else None
    return FileConfig(
        file=str(path),
        weights=str(beside) if beside else None,
        sha256=file_digest(path, beside),
        channels=options.channels,
    )


def preprocessing_of(options: NetworkOptions, usual: Preprocessing) -> Preprocessing:
    """The preprocessing that the options state, where they do not what is ``usual``.

    Raises:
        UsageError: their numbers do not fit each other.
    """
    if options.preprocessing is not None:
        usual = architecture(options.preprocessing).preprocessing
    stated = {
        name: value
        for name in ("mean", "std", "channel_order", "value_range")
        if (value := getattr(options, name)) is not None
    }
    if not stated:
        return usual
    try:
        return Preprocessing.model_validate(usual.model_dump() | stated)
    except ValueError as error:
        given = ", ".join(f"--{name.replace('_', '-').replace('value-', '')}" for name in stated)
        raise UsageError(f"{given}: {first_problem(error)}") from error


def _title(text: str) -> str:
    """What a network is shown as: its code or file without folders."""
    return text.rpartition("/")[2]


def _derived_name(text: str) -> str:
    """A name for a network without one: of its callable or its file, which no model has yet."""
    match = _CODE.fullmatch(text)
    stem = Path(match["code"]).stem.rpartition(".")[2] if match else Path(text).stem
    function = match["function"].rpartition(".")[2] if match else ""
    for words in ([function or stem], [stem, function or "network"]):
        name = _UNNAMEABLE.sub("-", "-".join(words)).lstrip("._+-")
        if name and not _is_taken(name):
            return name
    raise UsageError(f"--model {text}: give the network a name with --name")


def _is_taken(name: str) -> bool:
    """True for a name that means another network wherever a model is asked for."""
    try:
        registry.architecture(name)
    except UsageError:
        return False
    return True


def _refuse_taken(name: str) -> None:
    if name.endswith((".toml", *NETWORK_FILES)):
        raise UsageError(f"--name {name}: give the name without {Path(name).suffix}")
    if _is_taken(name):
        raise UsageError(f"--name {name}: a network of the zoo is called so; choose another name")


def _place(reference: str) -> str:
    """A reference as a user would write it."""
    if not reference.startswith("{"):
        return reference
    card = _from_json(reference)
    own = isinstance(card.description, PythonConfig | FileConfig)
    return str(card.description) if own else card.name


def _json(card: Architecture) -> str:
    fields = card.model_dump(mode="json", exclude_none=True)
    if card.folder is not None:
        fields["folder"] = str(card.folder.absolute())
    return json.dumps(fields, sort_keys=True)


def _from_json(text: str) -> Architecture:
    try:
        return Architecture.model_validate(parse_json(text))
    except (UsageError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"a stored model is not valid: {first_problem(error)}") from error
