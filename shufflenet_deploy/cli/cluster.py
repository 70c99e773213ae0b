"""``--cluster`` and ``--workers``: where work of many files or models is done."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import typer

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.cluster import Machines


def machines_of(
    cluster: str | None, workers: int | None = None
) -> AbstractContextManager[Machines]:
    """The machines that the options ask for; entered, they are there.

    Raises:
        UsageError: both options were given.
    """
    from shufflenet_deploy.cluster import machines  # noqa: PLC0415

    if cluster is not None and workers is not None:
        raise UsageError("--workers are processes of this machine, --cluster others: keep one")
    return machines(cluster, workers, lambda note: typer.echo(note, err=True))
