"""Generated C, compiled for real, against the reference executor and against torch."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from shufflenet_deploy import zoo
from shufflenet_deploy.export import native, reference, trace
from shufflenet_deploy.records import Resolution

DRIVER = Path(__file__).with_name("driver.c")
#: Lines but no variables: to follow those through kernels takes gcc five times as long.
SANITIZERS = (
    *("-g", "-fno-var-tracking", "-O1"),
    *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
)
PORTABLE = native.machine("x86-64")


@pytest.fixture(autouse=True)
def _gcc() -> None:
    torch.set_num_threads(1)
    if shutil.which("gcc") is None:
        pytest.fail("these tests compile generated C: apt-get install gcc libc6-dev")


def program(graph, machine, folder, *options):
    """Compile a graph with the driver; the program's path."""
    native.write(native.generate(graph, machine), folder)
    shutil.copy(DRIVER, folder / "driver.c")
    command = [
        *("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *machine.flags, *options),
        *('-DNET_WEIGHTS_FILE="net.weights"', "net.c", "driver.c", "-o", "net", "-lm"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "net"


def answer(path, picture):
    """What the program computes; sanitizers end it with a status and a report."""
    done = subprocess.run([path], input=picture.tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return np.frombuffer(done.stdout, np.float32)


def picture_of(graph, seed=0):
    shape = graph.shapes[graph.input]
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def wanted(graph, picture):
    return np.asarray(reference.activations(graph, picture)[graph.output]).ravel()


def assert_close(found, expected):
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) <= 1e-4 * scale


@pytest.mark.parametrize("seed", range(14))
def test_random_networks_under_the_sanitizers(seed, drawn, tmp_path):
    graph = drawn(seed)
    picture = picture_of(graph, seed)
    net = program(graph, PORTABLE, tmp_path, *SANITIZERS)
    assert_close(answer(net, picture), wanted(graph, picture))


@pytest.mark.parametrize("seed", range(4))
def test_pointwise_networks_under_the_sanitizers(seed, drawn_pointwise, tmp_path):
    graph = drawn_pointwise(seed)
    picture = picture_of(graph, seed)
    net = program(graph, PORTABLE, tmp_path, *SANITIZERS)
    assert_close(answer(net, picture), wanted(graph, picture))


def check_here(graph, folder):
    """Compare with the reference, on this machine's vectors."""
    picture = picture_of(graph)
    net = program(graph, native.host(), folder, "-O1")
    assert_close(answer(net, picture), wanted(graph, picture))


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
    check_here(one.done(one.concat(*values)), tmp_path)


@pytest.mark.parametrize("size", [(1, 17), (3, 6), (1, 19), (7, 7), (3, 7), (4, 6), (14, 14)])
def test_the_last_pixels_of_planes(size, drawing, tmp_path):
    one = drawing(6, *size)
    x = one.shuffle(one.conv("input", 27, groups=3, act="relu6"), 3)
    x = one.add(x, one.conv(x, 27), "relu")
    x = one.conv(x, 11, (3, 3), (1, 1), (1, 1, 1, 1))
    check_here(one.done(x), tmp_path)


@pytest.mark.parametrize(("side", "size"), [(2, (2, 3)), (4, (70, 61))])
def test_tiles_under_the_sanitizers(side, size, drawn_tiles, forced, tmp_path):
    forced(side)
    graph = drawn_tiles(*size)
    net = program(graph, PORTABLE, tmp_path, "-DNET_POISON", *SANITIZERS, "-O0")
    assert_close(answer(net, picture_of(graph)), wanted(graph, picture_of(graph)))


@pytest.mark.parametrize(
    ("side", "size"), [(4, (6, 7)), (2, (13, 27)), (2, (60, 140)), (4, (5, 67))]
)
def test_tiles_on_this_machine_s_vectors(side, size, drawn_tiles, forced, tmp_path):
    forced(side)
    check_here(drawn_tiles(*size), tmp_path)


@pytest.mark.parametrize("seed", range(14, 24))
def test_random_networks_on_this_machine_s_vectors(seed, drawn, tmp_path):
    graph = drawn(seed)
    picture = picture_of(graph, seed)
    path = native.compile(
        native.generate(graph, native.host()), tmp_path / "net.so", compiler=native.Compiler.GCC
    )
    assert_close(native.Library(path).run(picture), wanted(graph, picture))


@pytest.mark.parametrize(
    ("name", "resolution"),
    [
        ("shufflenet-g3-0.5x", "64x96"),
        ("shufflenet-g8-0.25x", "97x65"),
        ("shufflenet-g3-2x-se", "64x64"),
        ("mobilenet-0.25", "96x64"),
        ("squeezenet-1.1", "75x91"),
        ("googlenet", "64x64"),
    ],
)
def test_networks_of_the_zoo_give_torch_s_scores(name, resolution, tmp_path):
    size = Resolution.parse(resolution)
    module = zoo.load(name).module
    graph = trace.trace(module, size, name)
    source = native.generate(graph, native.host())
    path = native.compile(source, tmp_path / "net.so", compiler=native.Compiler.GCC)
    picture = picture_of(graph, 7)
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)[None]).numpy().ravel()
    assert_close(native.Library(path).run(picture), expected)


@pytest.mark.parametrize("head", ["fixed", "dense"])
def test_alexnet_with_either_head(head, tmp_path):
    module = zoo.load("alexnet", head=head).module
    graph = trace.trace(module, Resolution.parse("224"), "alexnet")
    source = native.generate(graph, native.host())
    path = native.compile(source, tmp_path / "net.so", compiler=native.Compiler.GCC)
    picture = picture_of(graph, 7)
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)[None]).numpy().ravel()
    assert_close(native.Library(path).run(picture), expected)


def test_the_same_graph_gives_the_same_text(drawn):
    one, again = (native.generate(drawn(3), PORTABLE) for _ in range(2))
    assert (one.c, one.header, one.weights) == (again.c, again.header, again.weights)
