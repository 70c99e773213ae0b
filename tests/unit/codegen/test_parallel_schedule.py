"""Phases of tasks: shared by all threads, or done by the first alone."""

from __future__ import annotations

from shufflenet_deploy.codegen.schedule.parallel_schedule import Phase, Task, plan_phases


def task(layer: int | None, *, work_items: int = 0, cost: float = 0, loose: bool = False, **more):
    """Calls over work items; if ``loose`` or without items, also one that is over none."""
    one = Task(layer=layer, **more)
    if work_items:
        with one.parallel(work_items, cost):
            one.calls("some(begin, end);")
    if loose or not work_items:
        one.calls("all();")
    return one


def test_what_is_dear_is_shared_and_small_neighbours_are_one_stage():
    tasks = [
        task(0, work_items=8, cost=1000),
        task(1, work_items=8, cost=1),
        task(2),
        task(3, work_items=8, cost=1000),
        task(4, work_items=8, cost=1),
    ]
    assert plan_phases(tasks) == [
        Phase((0,), (0,), serial=False),
        Phase((1, 2), (1, 2), serial=True),
        Phase((3,), (3,), serial=False),
        Phase((4,), (4,), serial=True),
    ]


def test_what_needs_nothing_of_the_one_before_joins_it():
    tasks = [task(0, work_items=8, cost=1000), task(1, independent=True), task(2)]
    assert plan_phases(tasks) == [
        Phase((0, 1), (0, 1), serial=False),
        Phase((2,), (2,), serial=True),
    ]


def test_a_call_over_no_work_items_keeps_the_others_from_being_shared():
    assert plan_phases([task(0, work_items=8, cost=1000, loose=True)])[0].serial


def test_half_a_step_completes_no_layer():
    halves = [task(None, work_items=4, cost=1000), task(0, work_items=4, cost=1000)]
    assert [stage.layers for stage in plan_phases(halves)] == [(), (0,)]
