"""How an inference is shared among threads: into stages, each of which any number of them may do.

A stage is what lies between two moments at which all threads meet. Its work is a row of pieces
that do not depend on each other, each with a price; a thread gets a contiguous share of about the
same price as everyone else's. Pieces are what one thread does anyway, block by block, so that the
scores are the same for any number of threads. What is too small to be shared is done by one.
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
    """The calls of a step, or of as much of it as nothing in it depends on.

    ``layer`` is the step's number if this completes it. With ``joins`` it depends on nothing
    that the portion before it does.
    """

    calls: CWriter = field(default_factory=lambda: CWriter(depth=1))
    layer: int | None = None
    independent: bool = False
    _work: int = 0
    _shared: int = 0  # lines of calls that are over pieces

    @contextmanager
    def parallel(self, work_items: int, cost: float) -> Iterator[None]:
        """Calls over the pieces from ``begin`` to ``end``; each costs ``price`` instructions."""
        each, first = max(1, round(cost)), len(self.calls.lines)
        with self.calls.block(""):
            self.calls(f"SHARE({work_items}, {self._work}, {each});")
            yield
        self._work += work_items * each
        self._shared += len(self.calls.lines) - first

    @property
    def serial(self) -> bool:
        """Whether one thread does it all."""
        return self._work < _MIN_PARALLEL_INSTRUCTIONS or self._shared < len(self.calls.lines)

    def define(self, number: int) -> str:
        """Its function."""
        total = f"    const long long total = {self._work};\n" if self._shared else ""
        return f"PORTION({number})\n{{\n{total}{self.calls}\n}}\n"


def serial_body(tasks: list[Task]) -> str:
    """The body of a function in which one thread does everything."""
    code = CWriter(depth=1)
    for number, task in enumerate(tasks):
        code(f"portion_{number}(input, output, 0, 1);")
        if task.layer is not None:
            code(f"PROBE({task.layer});")
    return str(code)


@dataclass(frozen=True)
class Phase:
    """Numbers of portions that are done between two meetings, and the layers that this completes.

    The first thread does all of a stage that is ``alone``, and says itself when a layer is done.
    """

    tasks: tuple[int, ...]
    layers: tuple[int, ...]
    serial: bool


def plan_phases(tasks: list[Task]) -> list[Phase]:
    """As few stages as there can be."""
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
    """The body of a function in which a thread does its part of a stage."""
    code = CWriter(depth=1)
    with code.block("switch (stage)"):
        code.depth -= 1
        for number, stage in enumerate(plan_phases(tasks)):
            code(f"case {number}:")
            code.depth += 1
            for at in stage.tasks:
                if not tasks[at].serial:
                    code(f"portion_{at}(input, output, part, parts);")
                    continue
                with code.block("if (part == 0)"):
                    code(f"portion_{at}(input, output, 0, 1);")
                    if stage.serial and tasks[at].layer is not None:
                        code(f"PROBE({tasks[at].layer});")
            code("break;")
            code.depth -= 1
        code.depth += 1
    return str(code)


def completed_layer_rows(stages: list[Phase]) -> str:
    """Rows of C: the layers for whose ends a stage's end stands, as first and last."""
    rows = []
    for stage in stages:
        told = stage.serial or not stage.layers
        first, last = (0, -1) if told else (stage.layers[0], stage.layers[-1])
        rows.append(f"    {{{first}, {last}}},")
    return "\n".join(rows)
