"""Weights in several files: an index in JSON that says which tensor lies in which file."""

from __future__ import annotations

import json
import re
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.checkpoint.limits import MAX_TEXT_BYTES, LimitError, read_at_most

_SHARD = re.compile(r"(?P<stem>.*?)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.(?P<suffix>\w+)")
_MAX_SHARDS = 1000


def shards_of_index(index: Path) -> dict[Path, set[str]]:
    """The files beside ``index`` that hold its tensors, and which tensors each must hold.

    Raises:
        UsageError: it is no such index, it names files elsewhere, or some are missing.
    """
    try:
        with index.open("rb") as stream:
            content = json.loads(read_at_most(stream, MAX_TEXT_BYTES))
        names = content["weight_map"]
    except (OSError, LimitError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise UsageError(
            f"{index} is JSON but no index of shards (it has no weight_map); give the weights"
        ) from error
    if not isinstance(names, dict) or not names:
        raise UsageError(f"{index} is an index of shards that names no tensor; fetch it again")
    found: dict[Path, set[str]] = {}
    for tensor, name in names.items():
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]{1,200}", name):
            raise UsageError(f"{index} names a shard outside its folder: {str(name)[:80]!a}")
        found.setdefault(index.parent / name, set()).add(tensor)
    _refuse_missing(index, [path for path in found if not path.is_file()], len(found))
    return found


def siblings_of(shard: Path) -> list[Path]:
    """All files of a set, when the name says that ``shard`` is one of several; else none.

    Raises:
        UsageError: some are missing.
    """
    match = _SHARD.fullmatch(shard.name)
    if match is None or not 1 < int(match["count"]) <= _MAX_SHARDS:
        return []
    width = len(match["number"])
    files = [
        shard.with_name(f"{match['stem']}-{number:0{width}d}-of-{match['count']}.{match['suffix']}")
        for number in range(1, int(match["count"]) + 1)
    ]
    _refuse_missing(shard, [path for path in files if not path.is_file()], len(files))
    return files


def _refuse_missing(given: Path, missing: list[Path], count: int) -> None:
    if missing:
        names = ", ".join(path.name for path in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(
            f"{given} belongs to weights in {count} shards, of which {len(missing)} are missing"
            f" ({names}{more}); fetch them into {given.parent}"
        )
