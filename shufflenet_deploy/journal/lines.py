"""Exported journals: one JSON record per line, parsed as untrusted input."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from shufflenet_deploy.bounded import parse_json
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import (
    AnyObservation,
    Evaluation,
    Run,
    StoredPrediction,
    SuiteNote,
    first_problem,
)

Parsed = TypeVar("Parsed")

#: Record of one line of an exported journal. Only runs have no ``kind`` field.
Exported = Run | AnyObservation | Evaluation | StoredPrediction | SuiteNote

_of_a_kind: TypeAdapter[AnyObservation | Evaluation | StoredPrediction | SuiteNote] = TypeAdapter(
    Annotated[
        AnyObservation | Evaluation | StoredPrediction | SuiteNote, Field(discriminator="kind")
    ],
    config=ConfigDict(defer_build=True),
)


def parse_lines(lines: Iterable[str], source: str) -> list[Exported]:
    """Parse the lines that ``export_lines`` wrote; empty lines are skipped.

    Raises:
        UsageError: a line is no record; ``source`` and its number are named.
    """
    return [
        _parse_line(line, f"{source}, line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def _parse_line(text: str, where: str) -> Exported:
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{where}: not a record of this version: {error}") from error
    if isinstance(fields, dict) and "kind" in fields:
        return parsed(_of_a_kind.validate_json, text, where)
    return parsed(Run.model_validate_json, text, where)


def parsed(parse: Callable[[str], Parsed], text: Any, where: str) -> Parsed:
    """Parse one stored record; ``where`` locates it in messages.

    Raises:
        UsageError: it is no record of this version.
    """
    try:
        return parse(text)
    except (ValidationError, UsageError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else error
        raise UsageError(f"{where}: not a record of this version: {problem}") from error
    except (TypeError, ValueError) as error:  # no text at all: a column of SQLite takes anything
        raise UsageError(f"{where}: not a record of this version: it is no text") from error
