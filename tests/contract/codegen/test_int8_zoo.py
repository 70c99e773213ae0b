"""Models of the zoo in int8, on two kinds of core at another size each: equal to the reference.

By default those with the layers that few have: gates, normalisation, projections and unequal
windows. ``SHUFFLENET_DEPLOY_ZOO=all`` takes every one.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import random_networks
import torch

from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.codegen import generator, int8_interpreter
from shufflenet_deploy.network.frontends.torch import trace
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
    core, runner = codegen.cpu_target_named(machine), random_networks.EMULATORS.get(machine, ())
    if runner:
        assert shutil.which(runner[0]), f"{runner[0]} is missing: run tests/system-packages.sh"
    graph = trace(module, Resolution.parse(SIZES[machine]), name)
    program, picture = random_networks.lowered(graph, core, seed=8, calibrated=1)
    source, commands = generator.emit_int8(program, core), random_networks.zig(core, "-O1")
    (found,) = random_networks.answers([source], [picture], tmp_path, commands, runner)
    assert np.array_equal(found, int8_interpreter.run(program, picture))
