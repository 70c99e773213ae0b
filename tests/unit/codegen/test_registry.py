"""The registry of emitters and the names of kernels."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import torch

from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.codegen.emit import registry
from shufflenet_deploy.codegen.ir import border_ops, element_ops, ops
from shufflenet_deploy.codegen.ir.op import Op
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization.calibration import calibrate
from shufflenet_deploy.records import Resolution

PAGE = Path(__file__).parents[3] / "docs" / "kernels.md"
NAME = re.compile(r"(f32|f16|qs8|qu8)_(\w+)__([a-z0-9]+)_\d+")


def test_every_op_has_an_emitter_on_every_target():
    found = {
        one
        for module in (ops, element_ops, border_ops)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Op) and dataclasses.is_dataclass(one)
    } - {Op, border_ops.BorderOp}
    generic = {op for op, _, isa in registry.EMITTERS if isa is registry.Isa.GENERIC}
    assert found == generic


def described():
    """Names of kernels on the page, with ``x`` for the numbers of a tile."""
    page = PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.mark.parametrize(
    "core", ["cortex-a72", "cortex-a76", "armv7", "x86-64-v3", "x86-64-v4-vnni"]
)
def test_names_of_kernels_are_on_the_page(core):
    cpu = codegen.cpu_target_named(core)
    model = zoo.load("shufflenet-g3-0.25x")
    graph = trace(model.module, Resolution(height=64, width=64), "net")
    ranges = calibrate(graph, [torch.rand(1, 3, 64, 64).numpy()])
    words = described()
    patterns = {re.sub(r"[A-Z]+", r"\\d+", word) for word in words}
    sources = [codegen.generate(graph, cpu), codegen.generate(graph, cpu, ranges)]
    in_float = [graph.layers[0].name, graph.layers[-1].name]
    sources.append(codegen.generate(graph, cpu, ranges, in_float))
    if cpu.has_fp16:
        sources.append(codegen.generate(graph, cpu.with_fp16()))
    for source in sources:
        kernels = re.findall(r"(?:LOOP|INLINE) void (\w+_\d+)\(", source.c)
        assert kernels
        for kernel in dict.fromkeys(kernels):
            match = NAME.fullmatch(kernel)
            assert match, kernel
            dtype, operation, isa = match.groups()
            assert {dtype, isa} <= words, kernel
            assert any(re.fullmatch(one, operation) for one in patterns), kernel
