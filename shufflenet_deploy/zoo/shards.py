"""Sharded weights: an index in JSON that maps each tensor to its file."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from shufflenet_deploy.atomic_files import read_json
from shufflenet_deploy.errors import UsageError

_SHARD = re.compile(r"(?P<stem>.*?)-(?P<number>\d{1,6})-of-(?P<count>\d{1,6})\.(?P<suffix>\w+)")
_MAX_SHARDS = 1000


def files_of(path: Path) -> list[Path]:
    """All files that the weights given as ``path`` lie in, an index included; mostly ``path``.

    Raises:
        UsageError: it is no regular file, an index that cannot be followed, or one of several
            shards of which some are missing.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise UsageError(f"{path} is no regular file; give the file of weights")
    with path.open("rb") as stream:
        is_index = stream.read(16).lstrip()[:1] == b"{"
    if is_index:
        return [path, *shards_of_index(path)]
    return siblings_of(path) or [path]


def shards_of_index(index: Path) -> dict[Path, set[str]]:
    """The files next to ``index`` that hold its tensors, and which tensors each must hold.

    Raises:
        UsageError: it is no such index, it names files elsewhere, or some are missing.
    """
    content = read_json(index, what="the index of shards")
    names = content.get("weight_map") if isinstance(content, dict) else None
    if names is None:
        raise UsageError(
            f"{index} is JSON but no index of shards (it has no weight_map); give the weights"
        )
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
    """All files of a set, when its name marks ``shard`` as one of several; else none.

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
            f"{given} belongs to weights in {count} shards, of which {len(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
            f" ({names}{more}); fetch them into {given.parent}"
        )
