"""Networks in halves, on an emulated core that computes in them, against the reference in floats.

Random networks of every layer there is, at odd sizes, from memory that is no number at first, with
what C leaves undefined trapped. ``SHUFFLENET_DEPLOY_SEEDS=200`` draws that many, and
``SHUFFLENET_DEPLOY_ZOO=all`` takes every model of the zoo.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import random_networks
import torch

from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.codegen.ir.ops import WinogradGemm
from shufflenet_deploy.codegen.pipeline import fp_program as lower
from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export.native.host_check import logits_on_host
from shufflenet_deploy.export.parity import sqnr_db
from shufflenet_deploy.export.request import Tolerances
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.records import Precision, Resolution

SEEDS = int(os.environ.get("SHUFFLENET_DEPLOY_SEEDS", "6"))
MODELS = ("shufflenet-g8-0.25x",)
CHOSEN = zoo.names() if os.environ.get("SHUFFLENET_DEPLOY_ZOO") == "all" else MODELS
#: Networks in one program.
AT_ONCE = 8
CORE = codegen.cpu_target_named("cortex-a76").with_fp16()
#: Of halves, which have 11 bits, through a dozen layers.
LEAST_DB = 30.0
#: What floats do not fall short of.
FLOATS_DB = 90.0


def on_the_core(graphs, folder):
    sources = [codegen.generate(graph, CORE) for graph in graphs]
    pictures = list(map(random_networks.picture_of, graphs))
    return random_networks.watched(CORE.name, sources, pictures, folder)


def assert_close(graph, found, name, least_db=LEAST_DB):
    expected = random_networks.wanted(graph, random_networks.picture_of(graph))
    assert np.isfinite(found).all(), name
    assert sqnr_db(expected, found) >= least_db, name
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) <= 0.02 * scale, name


def test_random_networks_on_the_core(drawn, drawn_pointwise, tmp_path):
    for start in range(0, SEEDS, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, SEEDS))
        graphs = [(drawn_pointwise if seed % 3 == 2 else drawn)(seed) for seed in seeds]
        folder = tmp_path / f"{start}"
        folder.mkdir()
        for seed, graph, found in zip(seeds, graphs, on_the_core(graphs, folder), strict=True):
            assert_close(graph, found, f"network {seed}")
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", CHOSEN)
def test_models_of_the_zoo(name, tmp_path):
    module = zoo.load(name).module
    graphs = [trace(module, Resolution.parse(size), name) for size in ("64x64", "75x96")]
    least_db = Tolerances().sqnr_db(Precision.FP16, trained=False)
    for graph, found in zip(graphs, on_the_core(graphs, tmp_path), strict=True):
        with torch.no_grad():
            expected = (
                module(torch.from_numpy(random_networks.picture_of(graph))[None]).numpy().ravel()
            )
        assert sqnr_db(expected, found) >= least_db


@pytest.mark.parametrize("size", [(2, 4), (7, 7), (9, 15), (28, 28), (5, 70)])
def test_windows_on_the_core(size, drawing, tmp_path):
    d, around = drawing(3, *size, seed=size[1]), ((1, 1), (1, 1, 1, 1))
    x = d.conv(d.conv("input", 3, (3, 3), *around, 3), 3, act="relu6")
    graphs = [d.done(d.conv(x, 3, (3, 3), *around, 3, act="relu"), "depthwise")]
    d, halving = drawing(3, *size, seed=size[0]), ((3, 3), (2, 2), (1, 1, 1, 1))
    parts = [d.pool("input", kind, *halving, act="relu6") for kind in ("max", "average")]
    parts.append(d.pool("input", "max", *halving))
    parts += [d.conv("input", 3, *halving, groups=3, act=act) for act in ("none", "relu")]
    graphs.append(d.done(d.concat(*parts), "halved"))
    for graph, found in zip(graphs, on_the_core(graphs, tmp_path), strict=True):
        assert_close(graph, found, graph.name)


def test_long_sums_keep_their_bits(drawing, tmp_path):
    d = drawing(900, 5, 9)
    x = d.conv(d.conv("input", 40, act="relu"), 100, (3, 3), (1, 1), (1, 1, 1, 1))
    long = d.done(d.dense(d.flatten(x), 9), "long")
    d = drawing(900, 5, 9)
    wide = d.done(d.add(d.conv("input", 30), d.conv("input", 30), "relu"), "wide")
    graphs = [long, wide]
    for graph, found in zip(graphs, on_the_core(graphs, tmp_path), strict=True):
        assert_close(graph, found, graph.name, least_db=44.0)


def test_tiles_of_few_pixels_cost_hardly_a_bit(drawing, tmp_path):
    d = drawing(16, 13, 22)
    x = d.conv("input", 48, (5, 5), (1, 1), (2, 2, 2, 2), act="relu")
    graph = d.done(d.conv(x, 48, (3, 3), (1, 1), (1, 1, 1, 1), groups=2), "tiles")
    cut = [
        max(step.tiles.spans) for step in lower(graph, CORE).ops if isinstance(step, WinogradGemm)
    ]
    assert len(cut) == 2
    assert max(cut) <= 6
    (found,) = on_the_core([graph], tmp_path)
    assert_close(graph, found, graph.name, least_db=44.0)


@pytest.mark.parametrize("size", [(1, 3), (9, 15)])
def test_norms_on_the_core(size, drawing, tmp_path):
    d = drawing(3, *size, seed=3)
    x = d.normalized(d.conv("input", 24), (0,))
    x = d.normalized(d.conv(x, 24, act="gelu"), (0, 1, 2), groups=3)
    roots = d.power(d.combined("add", d.combined("multiply", x, x), np.float32([0.5])), 0.5)
    instance = d.normalized(x, (1, 2), epsilon=0.1)
    graph = d.done(d.add(d.combined("multiply", roots, instance), x), "norms")
    (found,) = on_the_core([graph], tmp_path)
    assert_close(graph, found, graph.name)


def test_the_stand_in_computes_in_halves_too(drawn):
    for seed in (1, 5):
        graph = drawn(seed)
        picture = random_networks.picture_of(graph)
        (found,) = logits_on_host(codegen.host_equivalent(graph, CORE), [picture[None]])
        assert_close(graph, found.ravel(), f"network {seed}")
        assert sqnr_db(random_networks.wanted(graph, picture), found) < FLOATS_DB


def test_a_weight_that_is_no_half(drawing):
    d = drawing(3, 5, 5)
    d.conv("input", 4)
    d.layers[-1].weight[0, 0] = 1e6
    with pytest.raises(ExportError, match=r"1e\+06 is beyond fp16: choose fp32"):
        codegen.generate(d.done("v0", "large"), CORE)


def test_a_core_without_arithmetic_of_halves():
    with pytest.raises(UsageError, match="cortex-a72 does not compute in fp16: choose fp32, or"):
        codegen.cpu_target_named("cortex-a72").with_fp16()
