"""Generated C, compiled for real, against the reference executor and against torch."""

from __future__ import annotations

import shutil

import pytest
import random_networks
import torch

from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.export.native.shared_library import SharedLibrary
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.records import Resolution

PORTABLE = codegen.cpu_target_named("x86-64")


@pytest.fixture(autouse=True)
def _gcc() -> None:
    torch.set_num_threads(1)
    if shutil.which("gcc") is None:
        pytest.fail("these tests compile generated C: apt-get install gcc libc6-dev")


def check(graph, machine, folder, *options, seed=0):
    """Compare with the reference, compiled with some options."""
    picture = random_networks.picture_of(graph, seed)
    commands = random_networks.gcc(machine, *random_networks.WARNINGS, *options)
    source = codegen.generate(graph, machine)
    (found,) = random_networks.answers([source], [picture], folder, commands)
    random_networks.assert_close(found, random_networks.wanted(graph, picture))


def library(graph, folder):
    """A graph as a library for this machine."""
    source = codegen.generate(graph, codegen.host())
    path = codegen.compile_c(source, folder / "net.so", compiler=codegen.Compiler.GCC)
    return SharedLibrary(path)


@pytest.mark.parametrize("seed", range(14))
def test_random_networks_under_the_sanitizers(seed, drawn, tmp_path):
    check(drawn(seed), PORTABLE, tmp_path, *random_networks.SANITIZERS, seed=seed)


@pytest.mark.parametrize("seed", range(4))
def test_pointwise_networks_under_the_sanitizers(seed, drawn_pointwise, tmp_path):
    check(drawn_pointwise(seed), PORTABLE, tmp_path, *random_networks.SANITIZERS, seed=seed)


@pytest.mark.parametrize("pad", [(1, 1, 1, 1), (0, 1, 1, 0)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (9, 16), (13, 20), (28, 28), (15, 33), (6, 71)])
def test_windows_at_the_ends_of_rows(size, stride, pad, drawing, tmp_path):
    one = drawing(3, *size)
    x = one.conv("input", 5, act="relu")
    shape = ((3, 3), (stride, stride), pad)
    values = [one.conv(x, 5, *shape, groups=5, act=act) for act in ("none", "relu6")]
    values.append(one.pool(x, "max", *shape))
    values.append(one.pool(x, "average", *shape, act="relu"))
    check(one.done(one.concat(*values)), codegen.host(), tmp_path)


@pytest.mark.parametrize("size", [(1, 17), (3, 6), (1, 19), (7, 7), (3, 7), (4, 6), (14, 14)])
def test_the_last_pixels_of_planes(size, drawing, tmp_path):
    one = drawing(6, *size)
    x = one.shuffle(one.conv("input", 27, groups=3, act="relu6"), 3)
    x = one.add(x, one.conv(x, 27), "relu")
    x = one.conv(x, 11, (3, 3), (1, 1), (1, 1, 1, 1))
    check(one.done(x), codegen.host(), tmp_path)


@pytest.mark.parametrize(
    ("sides", "size"),
    [((2, 2), (2, 3)), ((4, 4), (70, 61)), ((3, 2), (1, 7)), ((2, 3), (17, 22)), ((4, 3), (6, 2))],
)
def test_tiles_under_the_sanitizers(sides, size, drawn_tiles, forced, tmp_path):
    forced(*sides)
    check(drawn_tiles(*size), PORTABLE, tmp_path, *random_networks.SANITIZERS, "-O0")


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((4, 4), (6, 7)),
        ((2, 2), (13, 27)),
        ((2, 2), (60, 140)),
        ((4, 4), (5, 67)),
        ((3, 3), (11, 104)),
        ((2, 3), (1, 2)),
        ((4, 2), (31, 33)),
        ((3, 4), (4, 9)),
    ],
)
def test_tiles_on_this_machine_s_vectors(sides, size, drawn_tiles, forced, tmp_path):
    forced(*sides)
    check(drawn_tiles(*size), codegen.host(), tmp_path)


@pytest.mark.parametrize("seed", range(14, 24))
def test_random_networks_on_this_machine_s_vectors(seed, drawn, tmp_path):
    graph = drawn(seed)
    picture = random_networks.picture_of(graph, seed)
    found = library(graph, tmp_path).run(picture)
    random_networks.assert_close(found, random_networks.wanted(graph, picture))


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("shufflenet-g3-0.5x", "64x96"),
        ("shufflenet-g8-0.25x", "97x65"),
        ("shufflenet-g3-0.25x-se", "64x64"),
        ("mobilenet-0.25", "96x64"),
        ("squeezenet-1.1", "75x91"),
        ("googlenet", "64x64"),
    ],
)
def test_networks_of_the_zoo_give_torch_s_scores(name, resolution, tmp_path):
    size = Resolution.parse(resolution)
    module = zoo.load(name).module
    graph = trace(module, size, name)
    picture = random_networks.picture_of(graph, 7)
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)[None]).numpy().ravel()
    random_networks.assert_close(library(graph, tmp_path).run(picture), expected)


@pytest.mark.parametrize("head", ["fixed", "dense"])
def test_alexnet_with_either_head(head, tmp_path):
    module = zoo.load("alexnet", head=head).module
    graph = trace(module, Resolution.parse("224"), "alexnet")
    picture = random_networks.picture_of(graph, 7)
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)[None]).numpy().ravel()
    random_networks.assert_close(library(graph, tmp_path).run(picture), expected)


def test_the_same_graph_gives_the_same_text(drawn):
    one, again = (codegen.generate(drawn(3), PORTABLE) for _ in range(2))
    assert (one.c, one.header, one.weights) == (again.c, again.header, again.weights)
