"""A large arena asks for large pages; the scores are the same."""

from __future__ import annotations

import generated
import numpy as np

from shufflenet_deploy.export import native, reference

ASKING = "large_pages();"


def thumbnail(drawing, height, width):
    """A map of eight channels, and a little of it."""
    d = drawing(3, height, width, seed=1)
    x = d.conv("input", 8, (3, 3), (1, 1), (1, 1, 1, 1), act="relu")
    return d.done(d.adaptive(x, (1, 1)), "thumbnail")


def test_a_large_arena_is_in_large_pages(drawing, tmp_path):
    graph = thumbnail(drawing, 400, 500)
    source = native.generate(graph, native.host())
    assert source.arena_bytes > 6 << 20
    assert ASKING in source.c
    picture = np.random.default_rng(2).standard_normal((3, 400, 500)).astype(np.float32)
    commands = generated.gcc(native.host(), *generated.WARNINGS, *generated.SANITIZERS)
    (found,) = generated.answers([source], [picture], tmp_path, commands)
    expected = np.asarray(reference.activations(graph, picture)[graph.output]).ravel()
    assert float(np.abs(found - expected).max()) <= 1e-4


def test_a_small_one_is_not(drawing):
    assert ASKING not in native.generate(thumbnail(drawing, 40, 50), native.host()).c
