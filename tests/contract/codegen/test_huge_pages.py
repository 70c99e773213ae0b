"""A large arena asks for large pages; the scores are the same."""

from __future__ import annotations

import random_networks

from shufflenet_deploy import codegen

ASKING = "request_huge_pages();"


def thumbnail(drawing, height, width):
    """A map of eight channels, and a little of it."""
    d = drawing(3, height, width, seed=1)
    x = d.conv("input", 8, (3, 3), (1, 1), (1, 1, 1, 1), act="relu")
    return d.done(d.adaptive(x, (1, 1)), "thumbnail")


def test_a_large_arena_is_in_large_pages(drawing, tmp_path):
    graph = thumbnail(drawing, 400, 500)
    source = codegen.generate(graph, codegen.host())
    assert source.arena_bytes > 6 << 20
    assert ASKING in source.c
    picture = random_networks.picture_of(graph)
    (found,) = random_networks.watched(codegen.host().name, [source], [picture], tmp_path)
    random_networks.assert_close(found, random_networks.wanted(graph, picture))


def test_a_small_one_is_not(drawing):
    assert ASKING not in codegen.generate(thumbnail(drawing, 40, 50), codegen.host()).c
