"""The walk over a graph: what was merged is passed over, and which sum may be done before it."""

from __future__ import annotations

from shufflenet_deploy.codegen.lower.traversal import Traversal
from shufflenet_deploy.network.graph import Activation, Add, Elementwise, Graph


def act(name, value):
    return Elementwise(name=name, inputs=(value,), output=f"{name}y", activation=Activation.RELU)


ONE, TWO, LAST = act("one", "x"), act("two", "oney"), act("last", "sumy")
SUM = Add(name="sum", inputs=("oney", "twoy"), output="sumy")
GRAPH = Graph(
    name="g", input="x", outputs=("lasty",), layers=(ONE, TWO, SUM, LAST), shapes={"x": (1, 2, 2)}
)


def test_layers_come_in_order_without_those_that_were_merged():
    walk, found = Traversal(GRAPH), []
    for layer in walk:
        found.append(layer.name)
        if layer is TWO:
            walk.merge(SUM)
    assert found == ["one", "two", "last"]


def test_the_only_reader_of_a_value():
    walk = Traversal(GRAPH)
    assert walk.only_reader("twoy") is SUM
    assert walk.only_reader("oney") is None  # two read it
    assert walk.only_reader("lasty") is None  # the caller does


def test_a_sum_may_be_done_by_the_layer_before_it_once_the_other_value_is_there():
    walk = Traversal(GRAPH)
    for layer in walk:
        if layer is ONE:
            assert walk.fusable_add(layer) is None
        if layer is TWO:
            assert walk.fusable_add(layer) == (SUM, "oney")
            assert walk.is_last_use(walk.readers("oney"), TWO, SUM)
            assert not walk.is_last_use(walk.readers("oney"), ONE, SUM)
        if layer is LAST:
            assert walk.fusable_add(layer) is None


def test_a_sum_whose_other_value_is_not_there_waits():
    late = Add(name="sum", inputs=("oney", "otherwisey"), output="sumy")
    other = act("otherwise", "x")
    graph = Graph(name="g", input="x", outputs=("sumy",), layers=(ONE, other, late), shapes={})
    walk = Traversal(graph)
    assert [walk.fusable_add(layer) for layer in walk] == [None, (late, "oney"), None]
