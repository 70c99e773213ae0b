"""Input validation of the command line: checked values, or one ``BadParameter``.

Every command of the program is a ``CheckedCommand``, so that no option repeats this:
texts are UTF-8 and of a length that systems take, paths have ``~`` expanded and could exist,
numbers are finite and fit in 63 bits. The meaning of a value is checked by the command.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from shufflenet_deploy.errors import UsageError

_MAX_CHARACTERS = 4096
#: More seconds, degrees or decibels than any quantity has; timers accept no more.
_MAX_FLOAT = 1e9
#: Arguments of other programs, which are not validated.
_PASSED_ON = "command"
#: The first value that a message quotes.
_QUOTED = re.compile(r"(?<!\w)'([^']*)'(?!\w)")


class _Checked:
    """What checked commands and groups share."""

    params: list[Any]

    def invoke(self, ctx: Any) -> Any:
        """Check every value that was given, then call the command."""
        for parameter in self.params:
            name = parameter.name or ""
            if name in ctx.params:
                ctx.params[name] = _checked(ctx.params[name], parameter, ctx)
        try:
            return super().invoke(ctx)  # type: ignore[misc]
        except UsageError as error:
            error.args = (_by_option(str(error), self.params, ctx),)
            raise
        except ValueError as error:
            if (told := _of_field(error, self.params)) is None:
                raise
            raise UsageError(told) from error


class CheckedCommand(_Checked, TyperCommand):
    """A command whose values were checked before it is called."""


class CheckedGroup(_Checked, TyperGroup):
    """A command that has subcommands, and does something without one."""


def use_checked_commands(app: typer.Typer) -> None:
    """Make every command of an app and of its groups a ``CheckedCommand``."""
    for command in app.registered_commands:
        command.cls = CheckedCommand
    for group in app.registered_groups:
        if group.typer_instance is not None:
            use_checked_commands(group.typer_instance)


def _checked(value: Any, parameter: Any, ctx: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_checked(one, parameter, ctx) for one in value)
    problem = _wrong_number(value)
    if isinstance(value, str | Path) and parameter.name != _PASSED_ON:
        problem = _wrong_text(str(value))
    if problem is None and isinstance(value, Path):
        try:
            from shufflenet_deploy.atomic_files import user_path  # noqa: PLC0415

            return user_path(value)
        except UsageError as error:
            problem = str(error)
    if problem is not None:
        raise typer.BadParameter(problem, ctx=ctx, param=parameter)
    return value


def _by_option(message: str, parameters: Sequence[Any], ctx: Any) -> str:
    """A message that quotes the value of one option, with the option's name before it."""
    quoted = _QUOTED.search(message)
    if quoted is None:
        return message
    options = [
        max(one.opts, key=len)
        for one in parameters
        if one.opts[0].startswith("-") and quoted[1] in _words(ctx.params.get(one.name))
    ]
    if len(options) != 1 or options[0] in message:
        return message
    return f"{options[0]}: {message}"


def _of_field(error: ValueError, parameters: Sequence[Any]) -> str | None:
    """The line for a record that refuses what an option of its field's name was given, if any."""
    problems = error.errors() if hasattr(error, "errors") else ()
    for problem in problems[:1]:
        field = str(problem["loc"][-1]) if problem["loc"] else ""
        for one in parameters:
            if one.name == field and one.opts[0].startswith("-"):
                what = problem["msg"].replace("Input should be", "must be")
                return f"{max(one.opts, key=len)} {problem['input']}: {what}"
    return None


def _words(value: Any) -> list[str]:
    """The texts that an option was given, each as a whole and split at commas."""
    texts = value if isinstance(value, list | tuple) else [value]
    found = [one for one in texts if isinstance(one, str)]
    return [*found, *(word.strip() for one in found for word in one.split(","))]


def _wrong_number(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number"
    if isinstance(value, float) and abs(value) > _MAX_FLOAT:
        return f"{value:g} is beyond {_MAX_FLOAT:g}"
    from shufflenet_deploy.bounded import INT_MAX  # noqa: PLC0415

    if isinstance(value, int) and abs(value) > INT_MAX:
        return "the number is beyond 63 bits"
    return None


def _wrong_text(text: str) -> str | None:
    """Describe the fault of a text without quoting it: it may be a URL with a password."""
    if any("\ud800" <= one <= "\udfff" for one in text):
        return "it is not UTF-8"
    if any(ord(one) < 32 or ord(one) == 127 for one in text):
        return "it holds a control character"
    return None if len(text) <= _MAX_CHARACTERS else f"longer than {_MAX_CHARACTERS} characters"
