"""Every operator in int8: the interpreter against fp32, and generated C against the interpreter.

All operators of a kind are one network with many outputs, and all networks of a core one program.
"""

from __future__ import annotations

import int8_operators
import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import generator, int8_interpreter, pipeline
from shufflenet_deploy.codegen.ir.int8 import Requantization
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.quantization import calibration

#: Kernels of both arithmetics take all graphs; others those with something of their own.
CORES = {
    "cortex-a76": tuple(int8_operators.ALL),
    "cortex-a53": ("convolutions",),
    **dict.fromkeys(random_networks.here()[-1:], tuple(int8_operators.ALL)),
}


@pytest.mark.parametrize("name", int8_operators.ALL)
def test_operators_are_close_to_their_floats(name):
    graph = int8_operators.ALL[name]()
    pictures = [random_networks.picture_of(graph, seed) for seed in range(4)]
    ranges = calibration.calibrate(graph, [picture[None] for picture in pictures])
    wanted = interpreter.activations(graph, pictures[0])
    expected = [wanted[output].ravel() for output in graph.outputs]
    makers = {layer.output: layer for layer in graph.layers}
    for arithmetic in Requantization:
        program = pipeline.int8_program(graph, ranges, arithmetic)
        found = int8_interpreter.run(program, pictures[0])
        parts = np.split(found, np.cumsum([part.size for part in expected])[:-1])
        for output, part, floats in zip(graph.outputs, parts, expected, strict=True):
            noise = ((part - floats) ** 2).sum()
            assert (floats**2).sum() > 10**2.9 * noise, (makers[output], arithmetic)


@pytest.mark.parametrize("core", CORES)
def test_operators_equal_the_reference(core, tmp_path):
    machine = codegen.cpu_target_named(core)
    programs, pictures = [], []
    for name in CORES[core]:
        graph = int8_operators.ALL[name]()
        program, picture = random_networks.lowered(graph, machine, seed=1)
        programs.append(program)
        pictures.append(picture)
    sources = [generator.emit_int8(program, machine) for program in programs]
    answers = random_networks.watched(core, sources, pictures, tmp_path)
    for program, picture, found in zip(programs, pictures, answers, strict=True):
        expected = int8_interpreter.run(program, picture)
        assert np.array_equal(found, expected), f"{program.name} differs on {core}"


def test_plain_loops_equal_the_reference(tmp_path):
    machine = codegen.cpu_target_named("armv7")
    graph = int8_operators.convolutions()
    program, picture = random_networks.lowered(graph, machine, seed=1)
    source = generator.emit_int8(program, codegen.host(), vectorized=False)
    (found,) = random_networks.watched("host", [source], [picture], tmp_path)
    assert np.array_equal(found, int8_interpreter.run(program, picture))
