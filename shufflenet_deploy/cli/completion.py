"""Shell completion of options that take names: models, suites, runtimes."""

from __future__ import annotations

from collections.abc import Iterable

from shufflenet_deploy.errors import DeployError


def models(incomplete: str) -> list[str]:
    """Names of models; of a list with commas, the last one is completed."""
    from shufflenet_deploy import zoo  # noqa: PLC0415

    return _last_of_list(incomplete, zoo.names())


def runtimes(incomplete: str) -> list[str]:
    """Names of runtimes, as ``models``."""
    from shufflenet_deploy import runtime  # noqa: PLC0415

    return _last_of_list(incomplete, runtime.names())


def suites(incomplete: str) -> list[str]:
    """Ids of the suites in the journal that is used when none is named, newest first."""
    from shufflenet_deploy.journal import Journal  # noqa: PLC0415

    try:
        with Journal(None) as book:
            ids = [row.id for row in book.suites()]
    except DeployError:
        return []
    return [one for one in ("last", *ids) if one.startswith(incomplete)]


def _last_of_list(incomplete: str, names: Iterable[str]) -> list[str]:
    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(begun)]
