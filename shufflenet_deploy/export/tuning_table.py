"""Tuning table: the fastest lowering per core, as measured there, or else as shipped.

Two files of the same form are read, the user's own first: ``lowerings.toml`` in the user's data
folder, which ``tune lowering`` writes, and the one next to this module. An entry
states the runtime, core, precision and model it was found for, and the figures it won by.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from shufflenet_deploy.atomic_files import read_toml, user_path, write_whole
from shufflenet_deploy.bounded import Name, Sample
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.lowering_names import AUTO, PAPER
from shufflenet_deploy.records import Format, Metric, Precision, Record, first_problem

#: Names the folder of the user's own tuning file.
DATA_VARIABLE = "SHUFFLENET_DEPLOY_DATA"

#: Stands for every core, runtime or model that has no entry of its own.
ANY = "any"

_FILE = "lowerings.toml"


class TuningFigure(Record):
    """Cost of one lowering: nanoseconds or instructions, and its ratio to ``paper``'s."""

    lowering: Name
    value: Sample
    ratio: float
    low: float
    high: float


class TunedLowering(Record):
    """The best lowering found for one runtime, core, precision and model, with its evidence.

    ``worth_it`` is False where int8 is no faster than fp32 on that core.
    """

    runtime: Name
    core: Name
    format: Format
    precision: Precision
    model: Name
    lowering: Name
    worth_it: bool | None = None
    metric: Metric | None = None
    version: str = ""
    host: str = ""
    suite: str = ""
    measured: str = ""
    note: str = ""
    figures: tuple[TuningFigure, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Key of an entry; a newer one of the same key takes its place."""
        return (self.runtime, self.core, self.format, self.precision, self.model)


class TuningTable(Record):
    """Entries of a file, in the order in which they are looked at."""

    lowering: tuple[TunedLowering, ...] = Field(default=())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; one that is not there has no entries.

        Raises:
            UsageError: it cannot be read or holds something else.
        """
        try:
            return cls.model_validate(read_toml(path, what="the tuning file"))
        except FileNotFoundError:
            return cls()
        except ValidationError as error:
            raise UsageError(
                f"{path} is not a tuning file: {first_problem(error)}; delete it"
            ) from error
        except UsageError as error:
            raise UsageError(f"{error}; delete it") from error

    def with_entries(self, entries: tuple[TunedLowering, ...]) -> Self:
        """These entries before the old ones, except for those they replace."""
        keys = {one.key for one in entries}
        kept = tuple(one for one in self.lowering if one.key not in keys)
        return self.model_copy(update={"lowering": (*entries, *kept)})

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            UsageError: the folder cannot be written.
        """
        import tomli_w  # noqa: PLC0415

        fields = self.model_dump(mode="json", exclude_none=True)
        header = "# Lowerings that `shufflenet-deploy tune lowering` found best, newest first.\n\n"
        write_whole(path, header + tomli_w.dumps(fields))


def user_file() -> Path:
    """The user's own tuning file."""
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return user_path(named) / _FILE
    import platformdirs  # noqa: PLC0415

    return Path(platformdirs.user_data_dir("shufflenet-deploy")) / _FILE


def best(
    file_format: Format,
    precision: Precision,
    model: str,
    *,
    runtime: str = ANY,
    core: str = ANY,
) -> TunedLowering:
    """Best entry: the user's before the shipped ones, one of the core before one of any.

    Without a ``runtime`` what was found in any runtime counts.

    Raises:
        UsageError: a tuning file is damaged.
    """
    wanted = {"core": (core, ANY), "model": (model, ANY)}
    if runtime != ANY:
        wanted["runtime"] = (runtime, ANY)
    fitting = [
        one
        for one in (*_entries(user_file()), *_entries(Path(__file__).with_name(_FILE)))
        if (one.format, one.precision) == (file_format, precision)
        and all(getattr(one, name) in values for name, values in wanted.items())
    ]
    # Sorting keeps the order of the files among entries that fit equally well.
    fitting.sort(key=lambda one: [getattr(one, name) == ANY for name in ("core", "runtime")])
    if fitting:
        return fitting[0]
    return TunedLowering(
        runtime=ANY, core=ANY, format=file_format, precision=precision, model=ANY, lowering=PAPER
    )


def resolved(
    lowering: str,
    file_format: Format,
    precision: Precision,
    model: str,
    *,
    runtime: str = ANY,
    core: str = ANY,
) -> str:
    """``auto`` as the lowering that it stands for; anything else as it is."""
    if lowering != AUTO:
        return lowering
    return best(file_format, precision, model, runtime=runtime, core=core).lowering


def shipped(file_format: Format, precision: Precision) -> str:
    """Lowering that ``auto`` stands for where nothing was tuned."""
    for one in _entries(Path(__file__).with_name(_FILE)):
        if (one.format, one.precision, one.core) == (file_format, precision, ANY):
            return one.lowering
    return PAPER


def _entries(path: Path) -> tuple[TunedLowering, ...]:
    try:
        stamp = path.stat().st_mtime_ns
    except OSError:
        return ()
    return _read(path, stamp)


@cache
def _read(path: Path, _stamp: int) -> tuple[TunedLowering, ...]:
    return TuningTable.read(path).lowering
