"""Models of the zoo in int8, on two kinds of core at another size each: equal to the reference.

By default those with the layers that few have: gates, normalisation, projections and unequal
windows. ``SHUFFLENET_DEPLOY_ZOO=all`` takes every one.
"""

from __future__ import annotations

import os
import shutil

import generated
import numpy as np
import pytest
import torch

from shufflenet_deploy import zoo
from shufflenet_deploy.export import native, quantize, trace
from shufflenet_deploy.export.native.int8 import generate, lowering, reference
from shufflenet_deploy.records import Resolution

SIZES = {"cortex-a76": "64x64", "host": "75x96"}
MODELS = ("alexnet-caffe", "shufflenet-g3-2x-se", "resnet-13m")
CHOSEN = zoo.names() if os.environ.get("SHUFFLENET_DEPLOY_ZOO") == "all" else MODELS


@pytest.fixture(scope="module", params=CHOSEN)
def model(request):
    torch.set_num_threads(1)
    return request.param, zoo.load(request.param).module


@pytest.mark.parametrize("machine", SIZES)
def test_models_give_the_reference_s_scores(machine, model, tmp_path):
    name, module = model
    core, runner = native.machine(machine), ()
    if machine == "cortex-a76":
        assert shutil.which("qemu-aarch64"), "qemu-aarch64 is missing: run tests/system-packages.sh"
        runner = ("qemu-aarch64", "-cpu", "max")
    graph = trace.trace(module, Resolution.parse(SIZES[machine]), name)
    random, shape = np.random.default_rng(8), (1, *graph.shapes[graph.input])
    known, picture = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
    ranges = quantize.calibrate(graph, [known])
    program = lowering.lower(graph, ranges, generate.numbers_of(core))
    beyond = 1.5 * picture[0]
    commands = generated.zig(core, "-O1")
    source = generate.emit(program, core)
    (found,) = generated.answers([source], [beyond], tmp_path, commands, runner)
    assert np.array_equal(found, reference.run(program, beyond))
