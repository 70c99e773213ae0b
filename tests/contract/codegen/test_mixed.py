"""Int8 programs with float segments: the bytes of the reference, and floats added in any order."""

from __future__ import annotations

import os
import shutil

import int8_operators
import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen import pipeline
from shufflenet_deploy.codegen.generator import arithmetic_of, emit_int8
from shufflenet_deploy.codegen.ir.border_ops import Dequantize, Quantize
from shufflenet_deploy.export.native.layer_values import InterpretedFile
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network.quantization import calibration

SEEDS = int(os.environ.get("SHUFFLENET_DEPLOY_SEEDS", "3"))
AT_ONCE = 8
FOREIGN = ("cortex-a53", "cortex-a76", "armv7")


def mixed(graph, machine, seed, share=0.35):
    """A program with a share of its layers in float, and an image."""
    random = np.random.default_rng(seed)
    floating = [layer.name for layer in graph.layers if random.random() < share]
    return program_of(graph, machine, floating, random)


def program_of(graph, machine, floating, random):
    known, picture = (
        random.standard_normal((1, *graph.shapes[graph.input])).astype(np.float32) for _ in range(2)
    )
    ranges = calibration.calibrate(graph, [known])
    arithmetic = arithmetic_of(machine)
    return pipeline.int8_program(graph, ranges, arithmetic, machine, floating), picture[0]


def assert_same(found, graph, program, picture, what):
    """Equal but for floats that were added in another order: a byte on the edge may turn over."""
    (wanted,) = InterpretedFile(program, graph).run(picture[None])
    largest = float(np.abs(wanted).max()) or 1.0
    off = np.abs(found - wanted) / largest
    assert np.mean(off > 1e-5) <= 0.02, f"{what}: {off.max()}"
    assert off.max() <= 0.05, f"{what}: {off.max()}"


@pytest.mark.parametrize("kind", [*FOREIGN, *random_networks.here()])
def test_random_networks_with_layers_in_float(kind, drawn, tmp_path):
    machine = codegen.cpu_target_named(kind)
    first = 0 if SEEDS > AT_ONCE else 1000 + 100 * list(codegen.CPU_TARGETS).index(kind)
    for start in range(first, first + SEEDS, AT_ONCE):
        seeds = range(start, min(start + AT_ONCE, first + SEEDS))
        graphs = [drawn(seed, (1, 3, 4, 12)) for seed in seeds]
        made = [mixed(graph, machine, seed) for graph, seed in zip(graphs, seeds, strict=True)]
        folder = tmp_path / f"{start}"
        folder.mkdir()
        sources = [emit_int8(program, machine) for program, _ in made]
        found = random_networks.watched(kind, sources, [one for _, one in made], folder)
        shutil.rmtree(folder)
        for seed, graph, (program, picture), scores in zip(seeds, graphs, made, found, strict=True):
            assert_same(scores, graph, program, picture, f"network {seed} on {kind}")


@pytest.mark.parametrize("kind", ["cortex-a76", random_networks.here()[-1]])
def test_every_operator_in_a_segment_or_beside_one(kind, tmp_path):
    machine, names = codegen.cpu_target_named(kind), sorted(int8_operators.ALL)
    foreign = kind == "cortex-a76"
    graphs = [int8_operators.ALL[name]() for name in (names[::3] if foreign else names[1::2])]
    made = [mixed(graph, machine, at, share=0.5) for at, graph in enumerate(graphs)]
    sources = [emit_int8(program, machine) for program, _ in made]
    found = random_networks.watched(kind, sources, [one for _, one in made], tmp_path)
    for graph, (program, picture), scores in zip(graphs, made, found, strict=True):
        (wanted,) = InterpretedFile(program, graph).run(picture[None])
        sizes = [int(np.prod(graph.shapes[output])) for output in graph.outputs]
        ends = np.cumsum(sizes)[:-1]
        for output, one, two in zip(
            graph.outputs, np.split(scores, ends), np.split(wanted, ends), strict=True
        ):
            largest = float(np.abs(two).max()) or 1.0
            assert float(np.abs(one - two).max()) <= 0.05 * largest, (graph.name, output)
            # Where nothing is on the edge between two bytes, only the last bits differ.
            assert np.mean(np.abs(one - two) > 1e-5 * largest) <= 0.05, (graph.name, output)


def test_what_has_no_int8_code_is_computed_in_float(tmp_path):
    """A shuffle of four axes, which nothing in int8 takes."""
    machine = codegen.host()
    d = int8_operators.Growing(3, 6, 7)
    x = d.conv("input", 24, activation=g.Activation.RELU)
    deep = d.add(g.Reshape, x, shape=(4, 6, 6, 7))
    mixed_up = d.add(g.Shuffle, deep, groups=2)
    flat = d.add(g.Reshape, mixed_up, shape=(24, 6, 7))
    graph = d.done(d.conv(flat, 5))
    program, picture = program_of(graph, machine, (), np.random.default_rng(0))
    assert [layer.name for layer in program.float_layers] == ["l2"]
    kinds = [type(op) for op in program.ops]
    assert kinds.count(Dequantize) == kinds.count(Quantize) == 1
    source = emit_int8(program, machine)
    assert source.float_layers == ("l2",)
    (found,) = random_networks.watched("host", [source], [picture], tmp_path)
    assert_same(found, graph, program, picture, "a shuffle of four axes")
    wanted = random_networks.wanted(graph, picture)
    assert np.square(wanted).sum() > 10**2.5 * np.square(wanted - found).sum()


def test_an_image_of_many_channels_is_quantized_plane_by_plane(drawing, tmp_path):
    d = drawing(7, 9, 8)
    graph = d.done(d.conv(d.conv("input", 16, (3, 3), pad=(1, 1, 1, 1), act="relu"), 6))
    machine = codegen.host()
    program, picture = program_of(graph, machine, (), np.random.default_rng(1))
    assert not program.float_layers
    (found,) = random_networks.watched("host", [emit_int8(program, machine)], [picture], tmp_path)
    assert_same(found, graph, program, picture, "seven channels")
    wanted = random_networks.wanted(graph, picture)
    assert np.square(wanted).sum() > 10**2.5 * np.square(wanted - found).sum()


def test_values_between_float_layers_are_not_rounded(drawing, tmp_path):
    """Segments with int8 layers between them hand their floats on; a value crosses once."""
    d = drawing(3, 8, 8)
    first = d.conv("input", 16, act="relu")
    kept = d.conv(first, 16, (3, 3), pad=(1, 1, 1, 1))
    beside = d.conv(first, 16, act="relu")
    graph = d.several((d.add(kept, first), d.add(kept, beside)))
    machine = codegen.host()
    program, picture = program_of(graph, machine, ("l1", "l3", "l4"), np.random.default_rng(2))
    borders = [op for op in program.ops if isinstance(op, Dequantize | Quantize)]
    assert [(type(op), op.name) for op in borders] == [(Dequantize, "v0"), (Dequantize, "v2")]
    (found,) = random_networks.watched("host", [emit_int8(program, machine)], [picture], tmp_path)
    assert_same(found, graph, program, picture, "two segments")
