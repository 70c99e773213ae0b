"""Norms of any shape: the reference, int8, and permutations around them."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from shufflenet_deploy.codegen import int8_interpreter, pipeline
from shufflenet_deploy.codegen.ir.int8 import Requantization
from shufflenet_deploy.network import graph as g
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.passes.channels_first import channels_first
from shufflenet_deploy.network.passes.norms import normalized
from shufflenet_deploy.network.quantization.calibration import calibrate
from tests.builders.operator_graphs import graph_of, layer, numbers

torch.set_num_threads(1)
shapes = st.tuples(st.sampled_from([1, 3, 4, 9]), st.integers(1, 7), st.integers(1, 5))


@st.composite
def norms(draw):
    """A norm of a map over any axes, or of groups of channels, with weights of any broadcast."""
    shape = draw(shapes)
    axes = draw(st.sets(st.integers(0, 2), min_size=1))
    groups = draw(st.sampled_from([one for one in range(1, 5) if shape[0] % one == 0]))
    if groups > 1:
        axes = {0, 1, 2}
    grid = tuple(draw(st.sampled_from([1, size])) for size in shape)
    seed = draw(st.integers(0, 99))
    fields = {
        "axes": tuple(sorted(axes)),
        "groups": groups,
        "epsilon": draw(st.sampled_from([1e-3, 0.5])),
        "scale": numbers(*grid, seed=seed) + 1,
        "shift": numbers(*grid, seed=seed + 1),
    }
    return shape, fields


@given(norms())
@settings(max_examples=60, deadline=None)
def test_the_reference_is_pytorch_s(drawn):
    shape, fields = drawn
    x = torch.from_numpy(numbers(2, *shape, seed=3)) * 4
    norm = layer(g.Normalize, "norm", **fields)
    found = interpreter.compute(norm, [x])
    kept = [axis for axis in range(3) if axis not in norm.axes]
    if norm.groups > 1:
        plain = functional.group_norm(x, norm.groups, eps=norm.epsilon)
    else:
        order = [0, *(1 + axis for axis in (*kept, *norm.axes))]
        turned = x.permute(order)
        inner = turned.shape[1 + len(kept) :]
        plain = functional.layer_norm(turned, inner, eps=norm.epsilon)
        plain = plain.permute([order.index(axis) for axis in range(4)])
    wanted = plain * torch.from_numpy(norm.scale) + torch.from_numpy(norm.shift)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@given(norms(), st.sampled_from(list(Requantization)))
@settings(max_examples=40, deadline=None)
def test_int8_is_within_its_steps(drawn, arithmetic):
    """Of the rounded input, whose statistics are exact: one step of the output at most."""
    shape, fields = drawn
    image = numbers(*shape, seed=5)[:4]
    fields = {name: one[:4] if isinstance(one, np.ndarray) else one for name, one in fields.items()}
    fields["groups"] = fields["groups"] if image.shape == shape else 1
    graph = graph_of(layer(g.Normalize, "norm", **fields), shape=image.shape)
    ranges = calibrate(graph, [image[None]])
    program = pipeline.int8_program(graph, ranges, arithmetic)
    view = program.ops[0].target
    rounded = np.rint(image / view.scale) * view.scale
    lowest = (arithmetic.lowest - view.zero_point) * view.scale
    rounded = np.clip(rounded, lowest, lowest + 255 * view.scale).astype(np.float32)
    wanted = interpreter.activations(graph, rounded)["norm"].ravel()
    low, high = ranges.spans["norm"]
    step = program.ops[-1].sources[0].scale
    found = int8_interpreter.run(program, image)
    error = np.abs(found - np.clip(wanted, min(low, 0), max(high, 0)))
    assert error.max() <= 1.01 * step + 1e-3 * np.abs(wanted).max()


@given(norms(), st.permutations([0, 1, 2]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_permutations_around_norms_go(drawn, order, back):
    shape, fields = drawn
    fields["groups"] = 1
    turned = tuple(shape[axis] for axis in order)
    inverse = tuple(order.index(axis) for axis in range(3))
    for name in ("scale", "shift"):
        fields[name] = np.ascontiguousarray(fields[name].transpose(order))
    layers = [
        layer(g.Permute, "there", order=tuple(order)),
        layer(g.Normalize, "norm", "there", **fields),
        layer(g.Power, "square", "norm", exponent=2.0),
        layer(
            g.Arithmetic, "scaled", "square", kind=g.ArithmeticKind.ADD, constant=numbers(turned[2])
        ),
    ]
    if back:
        layers.append(layer(g.Permute, "back", "scaled", order=inverse))
    written = graph_of(*layers, shape=shape)
    made = channels_first(written)
    image = numbers(1, *shape, seed=2)
    one, two = (interpreter.outputs(graph, image) for graph in (written, made))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
    assert not (back and any(isinstance(one, g.Permute) for one in made.layers))


@given(
    st.sampled_from([(0,), (1, 2), (0, 1, 2)]),
    st.sampled_from(["pow", "product"]),
    st.booleans(),
    shapes,
)
@settings(max_examples=30, deadline=None)
def test_written_norms_are_norms(axes, square, reciprocal, shape):
    kind, mean = g.ArithmeticKind, {"kind": g.ReduceKind.MEAN, "axes": axes}
    squares = {
        "pow": layer(g.Power, "square", "centred", exponent=2.0),
        "product": layer(g.Arithmetic, "square", "centred", "centred", kind=kind.MULTIPLY),
    }
    epsilon, factor = np.float32([0.25]), numbers(shape[0], 1, 1)
    written = graph_of(
        layer(g.Reduce, "mean", **mean),
        layer(g.Arithmetic, "centred", "input", "mean", kind=kind.SUBTRACT),
        squares[square],
        layer(g.Reduce, "variance", "square", **mean),
        layer(g.Arithmetic, "raised", "variance", kind=kind.ADD, constant=epsilon),
        layer(g.Power, "root", "raised", exponent=-0.5 if reciprocal else 0.5),
        layer(
            g.Arithmetic,
            "normal",
            "centred",
            "root",
            kind=kind.MULTIPLY if reciprocal else kind.DIVIDE,
        ),
        layer(g.Arithmetic, "scaled", "normal", kind=kind.MULTIPLY, constant=factor),
        layer(g.Arithmetic, "out", "scaled", kind=kind.SUBTRACT, constant=factor, reverse=True),
        shape=shape,
    )
    made = normalized(written)
    assert [type(one) for one in made.layers] == [g.Normalize]
    image = numbers(1, *shape, seed=2)
    one, two = (interpreter.outputs(graph, image) for graph in (written, made))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
