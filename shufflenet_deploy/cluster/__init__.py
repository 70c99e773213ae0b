"""Work that many files or models have in common, shared out: to this process, to processes of this
machine, or to the workers of a Dask scheduler.

    with machines(cluster="tcp://scheduler:8786") as shared:
        for done in shared.run(function, tasks): ...

The same function runs everywhere, with the same files: of another machine they are copies, known
by their sha256. Workers must have this machine's versions of everything that decides a result.
"""

from __future__ import annotations

from shufflenet_deploy.cluster.machines import Done, Function, Here, Machines, OnStage, machines
from shufflenet_deploy.cluster.tasks import Files, Folder, Task

__all__ = ["Done", "Files", "Folder", "Function", "Here", "Machines", "OnStage", "Task", "machines"]
