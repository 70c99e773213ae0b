"""Names of suites: of their files, of what was measured by one, and of checkpoints in one."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shufflenet_deploy.atomic_files import exists, resource, user_path
from shufflenet_deploy.errors import UsageError

_ADJECTIVES = "amber brisk calm deft eager fleet gentle hardy jolly keen lucid nimble quiet swift"
_NOUNS = "alder birch cedar dune ember fjord grove heron inlet larch marsh otter plover reed"


def find_suite(name: str) -> Path:
    """The file of a suite: a path, or the name of one that ships with this package.

    Raises:
        UsageError: there is neither; the message lists the shipped ones.
    """
    path = user_path(name)
    # A pipe is a file, too; a folder may have a shipped suite's name.
    if exists(path) and not path.is_dir():
        return path
    shipped = sorted(resource("benchmarks").glob("*.toml"))
    suites = {one.stem: one for one in shipped if not one.stem.endswith(".lock")}
    if name.removesuffix(".toml") in suites:
        return suites[name.removesuffix(".toml")]
    raise UsageError(f"no suite '{name}': write a .toml file, or one of {', '.join(suites)}")


def new_suite_id(now: datetime | None = None) -> str:
    """A name that sorts by time and can be read aloud: ``20261124-1531-brisk-heron``."""
    moment = (now or datetime.now(UTC)).astimezone()
    words = f"{secrets.choice(_ADJECTIVES.split())}-{secrets.choice(_NOUNS.split())}"
    return f"{moment:%Y%m%d-%H%M}-{words}-{secrets.token_hex(2)}"


def distinct_labels(files: Sequence[str]) -> tuple[str, ...]:
    """The shortest ends of the paths that differ, if possible without suffix: ``a/best``."""
    paths = [Path(file) for file in files]
    for depth in range(max(len(path.parts) for path in paths)):
        folders = ["".join(f"{part}/" for part in path.parts[-1 - depth : -1]) for path in paths]
        for names in ([path.stem for path in paths], [path.name for path in paths]):
            labels = tuple(folder + name for folder, name in zip(folders, names, strict=True))
            if len(set(labels)) == len(labels):
                return labels
    return tuple(files)
