"""Random networks in int8, on every kind of core, against the reference: equal to the bit.

Every layer there is, at odd sizes, from memory that is poisoned at first, with what C leaves
undefined trapped. ``SHUFFLENET_DEPLOY_SEEDS=200`` draws that many networks for each core.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import random_networks
import torch

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import generator, int8_interpreter, pipeline
from shufflenet_deploy.codegen.ir import ops as ir
from shufflenet_deploy.network.quantization import calibration

SEEDS = int(os.environ.get("SHUFFLENET_DEPLOY_SEEDS", "3"))
#: Networks in one program.
AT_ONCE = 8
FOREIGN = ("cortex-a53", "cortex-a72", "cortex-a76", "cortex-a710", "armv7")


def first_seed(kind):
    """Each core gets other networks, as long as few are drawn."""
    return 0 if SEEDS > AT_ONCE else 100 * list(codegen.CPU_TARGETS).index(kind)


@pytest.mark.parametrize("kind", [*FOREIGN, *random_networks.here()])
def test_random_networks_equal_the_reference(kind, drawn, tmp_path):
    torch.set_num_threads(1)
    machine = codegen.cpu_target_named(kind)
    first = first_seed(kind)
    for start in range(first, first + SEEDS, AT_ONCE):
        programs, pictures = {}, []
        for seed in range(start, min(start + AT_ONCE, first + SEEDS)):
            program, picture = random_networks.lowered(drawn(seed, (1, 2, 3, 4)), machine, seed)
            programs[seed] = program
            pictures.append(picture)
        folder = tmp_path / f"{start}"
        folder.mkdir()
        sources = [generator.emit_int8(program, machine) for program in programs.values()]
        found = random_networks.watched(kind, sources, pictures, folder)
        shutil.rmtree(folder)
        for (seed, program), picture, scores in zip(programs.items(), pictures, found, strict=True):
            expected = int8_interpreter.run(program, picture)
            assert np.array_equal(scores, expected), f"network {seed} differs on {kind}"


@pytest.mark.parametrize("kind", ["cortex-a72", *random_networks.here()[-1:]])
def test_factors_that_are_whole_numbers(kind, drawing, tmp_path):
    d = drawing(3, 4, 20)
    graph = d.done(d.conv(d.adaptive("input", (1, 1)), 20), "whole")
    picture, machine = random_networks.picture_of(graph), codegen.cpu_target_named(kind)
    ranges = calibration.calibrate(graph, [picture[None]])
    one = {"input": (0.0, 255.0), "v0": (0.0, 255.0 / 80)}
    ranges = replace(ranges, spans={**ranges.spans, **one})
    program = pipeline.int8_program(graph, ranges, generator.arithmetic_of(machine))
    assert program.ops[0].inverse == 1
    (found,) = random_networks.watched(
        kind, [generator.emit_int8(program, machine)], [picture], tmp_path
    )
    assert np.array_equal(found, int8_interpreter.run(program, picture))


@pytest.mark.parametrize("kind", ["cortex-a72", "cortex-a76"])
def test_sums_that_are_hardly_finer_than_their_output(kind, drawing, tmp_path):
    d = drawing(3, 9, 7)
    for out, around in ((20, ((1, 1),)), (3, ((3, 3), (1, 1), (1, 1, 1, 1), 3))):
        d.conv("input", out, *around, act="relu")
        layer = d.layers[-1]
        # Hardly anything is above zero, so that the range is small beside the weights.
        weight = 10 * layer.weight
        d.layers[-1] = replace(layer, weight=weight, bias=layer.bias - 40 * np.abs(weight).max())
        d.layers[-1].bias[0] = 0.1
        d.layers[-1].weight[0] *= 1e-4
    machine = codegen.cpu_target_named(kind)
    program, picture = random_networks.lowered(d.done(d.concat("v0", "v1"), "fine"), machine, 1)
    kept = [
        step for step in program.ops if isinstance(step, ir.Convolution | ir.DepthwiseConvolution)
    ]
    assert [step.epilogue.shift for step in kept] == [0, 0]
    (found,) = random_networks.watched(
        kind, [generator.emit_int8(program, machine)], [picture], tmp_path
    )
    assert np.array_equal(found, int8_interpreter.run(program, picture))
