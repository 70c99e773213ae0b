"""What several threads do at once, and what one of them does alone."""

from __future__ import annotations

from shufflenet_deploy.codegen.schedule.parallel_schedule import Phase, Task, plan_phases


def portion(layer: int | None, *, pieces: int = 0, price: float = 0, loose: bool = False, **more):
    """Calls over pieces, and, if ``loose`` or there are no pieces, one that is over none."""
    one = Task(layer=layer, **more)
    if pieces:
        with one.share(pieces, price):
            one.calls("some(begin, end);")
    if loose or not pieces:
        one.calls("all();")
    return one


def test_what_is_dear_is_shared_and_small_neighbours_are_one_stage():
    portions = [
        portion(0, pieces=8, price=1000),
        portion(1, pieces=8, price=1),
        portion(2),
        portion(3, pieces=8, price=1000),
        portion(4, pieces=8, price=1),
    ]
    assert plan_phases(portions) == [
        Phase((0,), (0,), alone=False),
        Phase((1, 2), (1, 2), alone=True),
        Phase((3,), (3,), alone=False),
        Phase((4,), (4,), alone=True),
    ]


def test_what_needs_nothing_of_the_one_before_joins_it():
    portions = [portion(0, pieces=8, price=1000), portion(1, joins=True), portion(2)]
    assert plan_phases(portions) == [
        Phase((0, 1), (0, 1), alone=False),
        Phase((2,), (2,), alone=True),
    ]


def test_a_call_over_no_pieces_keeps_the_others_from_being_shared():
    assert plan_phases([portion(0, pieces=8, price=1000, loose=True)])[0].alone


def test_half_a_step_completes_no_layer():
    halves = [portion(None, pieces=4, price=1000), portion(0, pieces=4, price=1000)]
    assert [stage.layers for stage in plan_phases(halves)] == [(), (0,)]
