"""Networks of many operators as TFLite files: what is moved, what is an output, what is random."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from operator_graphs import conv, graph_of, layer, numbers, random_network
from tflite_files import RESOLVERS, both, exact, litert, moves, rounded

from shufflenet_deploy.errors import UnsupportedError
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import graph as g

torch.set_num_threads(1)

A = g.ArithmeticKind


def test_heads_of_detectors_move_nothing():
    """Permutations and reshapes of maps to rows of boxes are how files hold maps anyway."""
    layers = []
    for name, source in (("a", "input"), ("b", "input.half")):
        layers += [
            conv(8, 6, (3, 3), name=f"{name}.conv", source=source, padding=(1, 1, 1, 1)),
            layer(g.Permute, f"{name}.last", f"{name}.conv", order=(1, 2, 0)),
        ]
    half = layer(g.Pool, "input.half", kind=g.PoolKind.MAX, kernel=(2, 2), stride=(2, 2))
    layers = [
        half,
        *layers,
        layer(g.Reshape, "a.rows", "a.last", shape=(48, 3)),
        layer(g.Reshape, "b.rows", "b.last", shape=(12, 3)),
        layer(g.Concat, "rows", "a.rows", "b.rows", axis=0),
        layer(g.Slice, "boxes", "rows", axis=1, start=0, stop=2),
        layer(g.Slice, "rest", "rows", axis=1, start=2, stop=3),
        layer(g.Elementwise, "scores", "rest", activation=g.Activation.SIGMOID),
        layer(g.Concat, "all", "boxes", "scores", axis=1),
    ]
    graph = graph_of(*layers, shape=(8, 4, 6), outputs=("scores", "all"))
    assert "TRANSPOSE" not in both(graph)


def test_tokens_of_maps_move_nothing():
    layers = [
        conv(3, 8),
        layer(g.Reshape, "flat", "conv", shape=(8, 20)),
        layer(g.Permute, "tokens", "flat", order=(1, 0)),
        layer(g.Softmax, "soft", "tokens", axis=1),
        layer(g.Permute, "back", "soft", order=(1, 0)),
        layer(g.Reshape, "map", "back", shape=(8, 4, 5)),
        conv(8, 4, source="map", name="last"),
    ]
    assert "TRANSPOSE" not in both(graph_of(*layers, shape=(3, 4, 5)), least_db=20)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_permutations_and_reshapes(order):
    layers = [
        layer(g.Permute, "moved", order=order),
        layer(g.Elementwise, "act", "moved", activation=g.Activation.RELU),
        layer(g.Reshape, "rows", "act", shape=(12, 5)),
        layer(g.Permute, "columns", "rows", order=(1, 0)),
        layer(g.Reshape, "map", "columns", shape=(5, 3, 4)),
        conv(5, 4, source="map"),
        layer(g.Flatten, "flat", "moved"),
        layer(g.Reshape, "deep", "moved", shape=(2, 2, 3, 5)),
    ]
    outputs = ("moved", "act", "columns", "conv", "flat", "deep")
    both(graph_of(*layers, shape=(3, 4, 5), outputs=outputs))


def test_outputs_that_are_one_tensor_or_the_input():
    layers = [conv(3, 3), layer(g.Permute, "same", "conv", order=(0, 1, 2))]
    outputs = ("same", "input", "conv", "same")
    both(graph_of(*layers, shape=(3, 4, 5), outputs=outputs))


def test_vectors_are_joined_scaled_and_divided_among_classes():
    weight = numbers(6, 8, seed=2) / 3
    layers = [
        conv(3, 4, activation=g.Activation.RELU),
        layer(g.Reduce, "mean", "conv", kind=g.ReduceKind.MEAN, axes=(1, 2), keep=False),
        layer(g.Reduce, "most", "conv", kind=g.ReduceKind.MAX, axes=(1, 2), keep=False),
        layer(g.Concat, "both", "mean", "most"),
        layer(g.Dense, "dense", "both", weight=weight, bias=numbers(6)),
        layer(g.Add, "twice", "dense", "dense"),
        layer(g.Softmax, "soft", "twice"),
    ]
    both(graph_of(*layers, shape=(3, 4, 5), outputs=("soft", "twice")))


def test_what_a_file_says_of_several_outputs_and_old_runtimes():
    layers = [conv(3, 3), layer(g.Elementwise, "act", "conv", activation=g.Activation.GELU)]
    content = writer.to_bytes(graph_of(*layers, shape=(3, 4, 5), outputs=("act", "conv")))
    loaded = litert(content, RESOLVERS[1])
    assert [one["name"] for one in loaded.get_output_details()] == ["act", "conv"]
    assert list(loaded.get_signature_list()["serving_default"]["outputs"]) == ["act", "conv"]
    assert b"2.9.0\0" in bytes(content)


def test_values_of_five_axes_are_computed_on_and_of_six_refused():
    layers = [
        layer(g.Reshape, "deep", shape=(2, 2, 1, 3, 2)),
        layer(g.Concat, "cat", "deep", "deep", axis=1),
        layer(g.Reduce, "mean", "cat", kind=g.ReduceKind.MEAN, axes=(1, 4)),
        layer(g.Arithmetic, "scaled", "mean", kind=A.MULTIPLY, constant=numbers(2, 1, 1, 3, 1)),
        layer(g.LeakyRelu, "act", "scaled", slope=np.float32([0.25])),
    ]
    both(graph_of(*layers, shape=(4, 3, 2)))
    deeper = [
        layer(g.Reshape, "deep", shape=(2, 2, 1, 3, 1, 2)),
        layer(g.Concat, "cat", "deep", "deep", axis=1),
    ]
    with pytest.raises(UnsupportedError, match="'cat' computes on 6 axes"):
        writer.to_bytes(graph_of(*deeper, shape=(4, 3, 2)))


def test_an_attention_over_groups_of_channels_moves_its_gate_alone():
    """Of two operands in different orders the smaller one is moved."""
    layers = [
        conv(3, 8),
        layer(g.Reshape, "groups", "conv", shape=(2, 4, 6, 5)),
        layer(g.Reduce, "sum", "groups", kind=g.ReduceKind.SUM, axes=(0,), keep=False),
        layer(g.AdaptiveAveragePool, "mean", "sum", size=(1, 1)),
        conv(4, 8, name="gates", source="mean"),
        layer(g.Reshape, "split", "gates", shape=(2, 4, 1, 1)),
        layer(g.Softmax, "shares", "split", axis=0),
        layer(g.Arithmetic, "scaled", "groups", "shares", kind=A.MULTIPLY),
        layer(g.Reshape, "last", "scaled", shape=(8, 6, 5)),
    ]
    graph = graph_of(*layers, shape=(3, 6, 5))
    both(graph)
    moved = {
        name.partition(":")[0]: math.prod(shape) for name, shape in moves(writer.to_bytes(graph))
    }
    assert moved == {"split": 8, "shares": 8}


@pytest.mark.parametrize("first", range(0, 32, 8))
def test_random_networks(first):
    for seed in range(first, first + 8):
        graph = random_network(seed)
        exact(graph)
        rounded(graph, 15)


def inverted_residual(name, source, activation):
    """A unit of MobileNet v3: expansion, depthwise, gate of squeezed channels, projection, sum."""
    names = {word: f"{name}.{word}" for word in ("wide", "act", "deep", "down", "gate", "scaled")}
    return [
        conv(8, 16, name=names["wide"], source=source),
        layer(g.Elementwise, names["act"], names["wide"], activation=activation),
        conv(
            16, 16, (3, 3), names["deep"], names["act"], groups=16, padding=(1, 1, 1, 1),
            activation=g.Activation.RELU6,
        ),
        layer(g.AdaptiveAveragePool, names["down"], names["deep"], size=(1, 1)),
        layer(
            g.Elementwise, names["gate"], names["down"], activation=g.Activation.HARD_SIGMOID
        ),
        layer(g.Multiply, names["scaled"], names["deep"], names["gate"]),
        conv(16, 8, name=f"{name}.narrow", source=names["scaled"]),
        layer(g.Add, name, source, f"{name}.narrow"),
    ]  # fmt: skip


def test_mobilenets_transpose_nothing():
    layers = [
        conv(3, 8, (3, 3), "stem", stride=(2, 2), padding=(1, 1, 1, 1)),
        layer(g.Elementwise, "start", "stem", activation=g.Activation.HARD_SWISH),
        *inverted_residual("one", "start", g.Activation.RELU),
        *inverted_residual("two", "one", g.Activation.HARD_SWISH),
        layer(g.AdaptiveAveragePool, "mean", "two", size=(1, 1)),
        layer(g.Flatten, "flat", "mean"),
        layer(g.Dense, "logits", "flat", weight=numbers(5, 8) / 3, bias=numbers(5)),
    ]
    found = both(graph_of(*layers, shape=(3, 12, 16)), least_db=20)
    assert "TRANSPOSE" not in found


def test_the_second_shufflenet_transposes_for_its_shuffles_alone():
    layers = [conv(3, 8, (3, 3), "stem", activation=g.Activation.RELU)]
    source = "stem"
    for name in ("one", "two"):
        layers += [
            layer(g.Slice, f"{name}.kept", source, axis=0, start=0, stop=4),
            layer(g.Slice, f"{name}.half", source, axis=0, start=4, stop=8),
            conv(4, 4, name=f"{name}.conv", source=f"{name}.half", activation=g.Activation.RELU),
            layer(g.Concat, f"{name}.cat", f"{name}.kept", f"{name}.conv"),
            layer(g.Shuffle, name, f"{name}.cat", groups=2),
        ]
        source = name
    found = both(graph_of(*layers, shape=(3, 7, 8)))
    assert found["TRANSPOSE"] == 2
