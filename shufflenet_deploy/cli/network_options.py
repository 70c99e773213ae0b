"""The options that describe a network of the user's own, for every command with ``--model``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.zoo import NetworkOptions

#: Help of ``--model`` where a network is loaded.
MODEL_HELP = (
    "A name, a card, FILE.py:CALLABLE, package.module:CALLABLE, or a .pt2, .onnx or .prototxt file."
)
_PANEL = "A network of your own"

_OPTIONS: dict[str, Any] = {
    "model_arg": Annotated[
        list[str] | None,
        typer.Option(
            "--model-arg",
            metavar="KEY=VALUE",
            help="Argument of the callable: width=0.5, .... [default: its own]",
            rich_help_panel=_PANEL,
        ),
    ],
    "name": Annotated[
        str | None,
        typer.Option(
            "--name",
            "-n",
            help="Its name in files and tables. [default: the callable's or file's]",
            rich_help_panel=_PANEL,
        ),
    ],
    "channels": Annotated[
        int | None,
        typer.Option(
            "--channels",
            min=1,
            help="Of its input. [default: its first convolution's]",
            rich_help_panel=_PANEL,
        ),
    ],
    "preprocessing": Annotated[
        str | None,
        typer.Option(
            "--preprocessing",
            metavar="MODEL",
            help="As of this model or card. [default: ImageNet's]",
            rich_help_panel=_PANEL,
        ),
    ],
    "mean": Annotated[
        str | None,
        typer.Option(
            help="Subtracted from each channel: 0.5,0.5,0.5. [default: ImageNet's]",
            rich_help_panel=_PANEL,
        ),
    ],
    "std": Annotated[
        str | None,
        typer.Option(
            help="Each channel is divided by it. [default: ImageNet's]", rich_help_panel=_PANEL
        ),
    ],
    "channel_order": Annotated[
        str | None,
        typer.Option(
            help="RGB, BGR, or L: luminance. [default: RGB, of other than 3 channels L]",
            rich_help_panel=_PANEL,
        ),
    ],
    "value_range": Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Of pixels, before mean and std: 0,1 or 0,255. [default: 0,1]",
            rich_help_panel=_PANEL,
        ),
    ],
}


def with_network_options(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with these options; it gets them as one keyword argument, ``network``."""
    hints = get_type_hints(command, localns={"NetworkOptions": object}, include_extras=True)
    signature = inspect.signature(command)
    others = [
        one.replace(annotation=hints[name])
        for name, one in signature.parameters.items()
        if name != "network"
    ]
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in _OPTIONS.items()
    ]

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        network = _options(**{name: given.pop(name) for name in _OPTIONS})
        command(**given, network=network)

    with_options.__annotations__ = {one.name: one.annotation for one in (*others, *own)}
    with_options.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*others, *own]
    )
    return with_options


def _options(
    *,
    model_arg: list[str] | None,
    mean: str | None,
    std: str | None,
    value_range: str | None,
    **others: Any,
) -> NetworkOptions:
    """The options as one value.

    Raises:
        UsageError: one of them is not what it should be; the message names it.
    """
    from pydantic import ValidationError  # noqa: PLC0415

    from shufflenet_deploy.zoo import NetworkOptions  # noqa: PLC0415

    fields = {
        **others,
        "arguments": _arguments(model_arg or []),
        "mean": _numbers("--mean", mean),
        "std": _numbers("--std", std),
        "value_range": _numbers("--range", value_range),
    }
    try:
        return NetworkOptions.model_validate(fields)
    except ValidationError as error:
        from shufflenet_deploy.records import first_problem  # noqa: PLC0415

        name, _, what = first_problem(error).partition(": ")
        option = name.partition(".")[0].replace("value_range", "range").replace("_", "-")
        raise UsageError(f"--{option}: {what}") from error


def _arguments(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--model-arg {text}: write KEY=VALUE, such as width=0.5")
        found[name.strip()] = value
    return found


def _numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise UsageError(
            f"{option} {text}: write numbers with commas, such as 0.5,0.5,0.5"
        ) from error
