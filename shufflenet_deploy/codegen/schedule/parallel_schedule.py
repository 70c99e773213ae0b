"""Parallel schedule: an inference as barrier phases of tasks that threads split.

A phase lies between two barriers. Its work is a sequence of independent work items, each with a
cost; a thread gets a contiguous share of about equal cost. Work items are the blocks that one
thread processes anyway, so logits are bit-identical for any number of threads. Work too small to be
shared is done by one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from shufflenet_deploy.codegen.c_writer import CWriter

#: Vector instructions below which another thread's help is not worth its attention.
_MIN_PARALLEL_INSTRUCTIONS = 1500


@dataclass
class Task:
    """The calls of an op, or of a part of it without dependencies inside.

    ``layer`` is the op's number if this completes it. An ``independent`` task does not depend on
    the task before it.
    """

    calls: CWriter = field(default_factory=lambda: CWriter(depth=1))
    layer: int | None = None
    independent: bool = False
    _work: int = 0
    _shared: int = 0  # lines of calls over work items

    @contextmanager
    def parallel(self, work_items: int, cost: float) -> Iterator[None]:
        """Calls over the work items from ``begin`` to ``end``, each of so many instructions."""
        each, first = max(1, round(cost)), len(self.calls.lines)
        with self.calls.block(""):
            self.calls(f"WORK_RANGE({work_items}, {self._work}, {each});")
            yield
        self._work += work_items * each
        self._shared += len(self.calls.lines) - first

    @property
    def serial(self) -> bool:
        """True if one thread does it all."""
        return self._work < _MIN_PARALLEL_INSTRUCTIONS or self._shared < len(self.calls.lines)

    def define(self, number: int) -> str:
        """The C function of the task."""
        total = f"    const long long total = {self._work};\n" if self._shared else ""
        return f"TASK({number})\n{{\n{total}{self.calls}\n}}\n"


def serial_body(tasks: list[Task]) -> str:
    """The body of a function in which one thread does everything."""
    code = CWriter(depth=1)
    for number, task in enumerate(tasks):
        code(f"task_{number}(input, output, 0, 1);")
        if task.layer is not None:
            code(f"PROBE({task.layer});")
    return str(code)


@dataclass(frozen=True)
class Phase:
    """Tasks between two barriers, and the layers that they complete.

    The first thread does all of a ``serial`` phase, and reports completed layers itself.
    """

    tasks: tuple[int, ...]
    layers: tuple[int, ...]
    serial: bool


def plan_phases(tasks: list[Task]) -> list[Phase]:
    """Group tasks into as few phases as dependencies allow."""
    groups: list[list[int]] = []
    for number, task in enumerate(tasks):
        if number and (task.independent or (task.serial and _all_serial(tasks, groups[-1]))):
            groups[-1].append(number)
        else:
            groups.append([number])
    stages = []
    for group in groups:
        layers = [tasks[at].layer for at in group]
        done = tuple(layer for layer in layers if layer is not None)
        stages.append(Phase(tuple(group), done, _all_serial(tasks, group)))
    return stages


def _all_serial(tasks: list[Task], group: list[int]) -> bool:
    return all(tasks[at].serial for at in group)


def phase_body(tasks: list[Task]) -> str:
    """The body of a function in which a thread does its part of a phase."""
    code = CWriter(depth=1)
    with code.block("switch (stage)"):
        code.depth -= 1
        for number, stage in enumerate(plan_phases(tasks)):
            code(f"case {number}:")
            code.depth += 1
            for at in stage.tasks:
                if not tasks[at].serial:
                    code(f"task_{at}(input, output, part, parts);")
                    continue
                with code.block("if (part == 0)"):
                    code(f"task_{at}(input, output, 0, 1);")
                    if stage.serial and tasks[at].layer is not None:
                        code(f"PROBE({tasks[at].layer});")
            code("break;")
            code.depth -= 1
        code.depth += 1
    return str(code)


def completed_layer_rows(stages: list[Phase]) -> str:
    """C initialisers: the first and last layer that the end of each phase completes."""
    rows = []
    for stage in stages:
        told = stage.serial or not stage.layers
        first, last = (0, -1) if told else (stage.layers[0], stage.layers[-1])
        rows.append(f"    {{{first}, {last}}},")
    return "\n".join(rows)
