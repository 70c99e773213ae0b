"""Models of the zoo in int8, each at two sizes on two kinds of core: equal to the reference.

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

SIZES = ("64x64", "75x96")
MODELS = ("alexnet-caffe", "shufflenet-g3-2x-se", "resnet-13m")
CHOSEN = zoo.names() if os.environ.get("SHUFFLENET_DEPLOY_ZOO") == "all" else MODELS


@pytest.fixture(scope="module", params=CHOSEN)
def networks(request):
    """A model's graph, ranges and a picture beyond them, at each size."""
    torch.set_num_threads(1)
    name = request.param
    module, random = zoo.load(name).module, np.random.default_rng(8)
    found = []
    for size in SIZES:
        graph = trace.trace(module, Resolution.parse(size), name)
        shape = (1, *graph.shapes[graph.input])
        known, picture = (random.standard_normal(shape).astype(np.float32) for _ in range(2))
        found.append((graph, quantize.calibrate(graph, [known]), 1.5 * picture[0]))
    return found


@pytest.mark.parametrize("machine", ["cortex-a76", "host"])
def test_models_give_the_reference_s_scores(machine, networks, tmp_path):
    core, runner = native.machine(machine), ()
    if machine == "cortex-a76":
        assert shutil.which("qemu-aarch64"), "qemu-aarch64 is missing: run tests/system-packages.sh"
        runner = ("qemu-aarch64", "-cpu", "max")
    programs = [
        lowering.lower(graph, ranges, generate.numbers_of(core)) for graph, ranges, _ in networks
    ]
    sources = [generate.emit(program, core) for program in programs]
    pictures = [picture for _, _, picture in networks]
    scores = generated.answers(sources, pictures, tmp_path, generated.zig(core, "-O1"), runner)
    for program, picture, found in zip(programs, pictures, scores, strict=True):
        assert np.array_equal(found, reference.run(program, picture)), program.name
