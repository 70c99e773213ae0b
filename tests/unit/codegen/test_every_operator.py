"""C of every operator for every instruction set: it is generated, and equal graphs give equal C.

``tests/contract/codegen`` compiles and runs it.
"""

from __future__ import annotations

import math

import int8_operators
import pytest
import random_networks

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen.cpu_target import CPU_TARGETS
from shufflenet_deploy.network.quantization import calibration


@pytest.fixture(scope="module")
def calibrated():
    """Every graph with the ranges of its values."""
    graphs = {name: make() for name, make in int8_operators.ALL.items()}
    return {
        name: (graph, calibration.calibrate(graph, [random_networks.picture_of(graph, 0)[None]]))
        for name, graph in graphs.items()
    }


@pytest.mark.parametrize("name", int8_operators.ALL)
@pytest.mark.parametrize("core", CPU_TARGETS)
def test_every_operator_has_c_for_every_core(core, name, calibrated):
    machine = codegen.cpu_target_named(core)
    (graph, ranges), again = calibrated[name], int8_operators.ALL[name]()
    for known in (None, ranges):
        source = codegen.generate(graph, machine, known)
        assert source == codegen.generate(again, machine, known)
        outputs = sum(math.prod(graph.shapes[output]) for output in graph.outputs)
        assert math.prod(source.output_shape) == outputs
