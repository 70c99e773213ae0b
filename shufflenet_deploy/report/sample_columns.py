"""Columns of a table with one row per sample, derived from the records that are stored.

A run is flattened: a field of a nested record becomes a column named after its path, such as
``target_kernel`` or ``before_load_1min``; maps and lists become one column of JSON text. A field
that is added to a record is thereby a column without further ado.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, PlainSerializer

from shufflenet_deploy.records import Measurement, Run


class Kind(StrEnum):
    """Type of the values of a column; each may be missing. JSON is text that holds one document."""

    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIME = "time"
    JSON = "JSON"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; ``owner`` is the record whose ``field`` it is, "" for what the table adds."""

    name: str
    kind: Kind
    owner: str
    field: str
    path: tuple[str, ...] = ()


#: The columns that vary within a process; all others are the same in each of its rows.
SAMPLE, VALUE = "sample", "value"

#: What a table of samples adds to the fields of records, with its meaning.
ADDED = {
    "counted": (Kind.BOOLEAN, "false for an attempt that another one of its process replaces"),
    "unit": (Kind.TEXT, "of `value`: ns, or instructions"),
    SAMPLE: (Kind.INTEGER, "position of the sample in its process, from 0, in the order taken"),
    VALUE: (Kind.INTEGER, "the sample: one inference in the steady state"),
}

#: Prefix of the columns of a process's ``Measurement``.
_MEASUREMENT = "measurement"

#: Fields without a column: a sample has a row, a run that profiles has none, ``raw`` is everything,
#: and the readings of sensors are a table of their own.
_LEFT_OUT: dict[type[BaseModel], frozenset[str]] = {
    Run: frozenset({"raw", "outcome", "purpose", "profile"}),
    Measurement: frozenset({"samples", "warmup", "energy"}),
}


@cache
def columns() -> tuple[Column, ...]:
    """Every column, in the order of the table."""
    of_run = tuple(_flattened(Run, ()))
    of_process = tuple(_flattened(Measurement, (_MEASUREMENT,)))
    added = (
        Column(name=name, kind=kind, owner="", field=name) for name, (kind, _) in ADDED.items()
    )
    return (*of_run, *of_process, *added)


def constants(run: Run, *, counted: bool) -> dict[str, Any]:
    """The values that all rows of one measured run share, by column: all but sample and value."""
    fields = run.model_dump(
        mode="json", exclude={"raw": True, "outcome": {"samples", "warmup", "energy"}}
    )
    fields[_MEASUREMENT] = fields.pop("outcome")
    found = {one.name: _value(fields, one) for one in columns() if one.owner}
    return {**found, "counted": counted, "unit": run.spec.metric.unit}


def _value(fields: Mapping[str, Any], column: Column) -> Any:
    value: Any = fields
    for name in column.path:
        value = value.get(name) if value is not None else None
    if column.kind is Kind.JSON and value is not None:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def _flattened(record: type[BaseModel], path: tuple[str, ...]) -> Iterator[Column]:
    for name, field in record.model_fields.items():
        if name in _LEFT_OUT.get(record, ()):
            continue
        where = (*path, name)
        as_text = any(isinstance(one, PlainSerializer) for one in field.metadata)
        inner = _bare(field.annotation)
        if not as_text and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _flattened(inner, where)
            continue
        kind = Kind.TEXT if as_text else _kind(inner)
        yield Column(name="_".join(where), kind=kind, owner=record.__name__, field=name, path=where)


def _bare(annotation: Any) -> Any:
    """A type without its bounds and without None; a union of several others stays one."""
    origin = get_origin(annotation)
    if origin in {Union, types.UnionType}:
        others = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(others[0]) if len(others) == 1 else annotation
    return _bare(annotation.__origin__) if hasattr(annotation, "__metadata__") else annotation


def _kind(inner: Any) -> Kind:
    if get_origin(inner) is Literal:
        return Kind.TEXT
    if not isinstance(inner, type):
        return Kind.JSON
    for plain, kind in (
        (bool, Kind.BOOLEAN),
        (int, Kind.INTEGER),
        (float, Kind.NUMBER),
        (datetime, Kind.TIME),
        (str, Kind.TEXT),
        (Path, Kind.TEXT),
    ):
        if issubclass(inner, plain):
            return kind
    return Kind.JSON
