"""A convolution and the pool behind it in bands of rows: as if each were computed as a whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
import random_networks

from shufflenet_deploy import codegen
from shufflenet_deploy.codegen.ir.ops import FusedConvPool, StripConvPool
from shufflenet_deploy.codegen.pipeline import fp_program as lower

SIZES = [(37, 53), (64, 75)]


def stem(drawing, size, kernel=(3, 3), stride=(2, 2), pad=(1, 1, 1, 1), channels=3):
    """With rows that do not come in equal bands, and a shuffle to store where it moves to."""
    d = drawing(channels, *size, seed=size[0])
    x = d.conv("input", 12, kernel, stride, pad, act="relu")
    x = d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    return d.done(d.conv(d.shuffle(x, 3), 5, act="relu6"), "stem")


def graphs(drawing):
    found = [stem(drawing, size) for size in SIZES]
    found.append(stem(drawing, (71, 67), (7, 5), (2, 2), (3, 2, 3, 2)))
    found.append(stem(drawing, (51, 43), (3, 3), (1, 1), (1, 1, 1, 1), channels=2))
    found.append(stem(drawing, (70, 92), (5, 4), (2, 2), (0, 0, 1, 2), channels=1))
    found.append(stem(drawing, (64, 33), pad=(1, 1, 1, 31)))
    return found


@pytest.mark.parametrize("core", [*random_networks.here(), "cortex-a72", "armv7"])
def test_bands_give_what_the_whole_gives(core, drawing, tmp_path):
    # Strips wherever they are possible, of few rows.
    machine = replace(codegen.cpu_target_named(core), max_whole_map_bytes=0, strip_bytes=20 << 10)
    networks = graphs(drawing)
    for graph in networks:
        steps = lower(graph, machine).ops
        (band,) = [one for one in steps if isinstance(one, StripConvPool | FusedConvPool)]
        assert band.target.layout.height > 4
        if isinstance(band, StripConvPool):
            assert band.target.layout.height > 2 * band.rows
    sources = [codegen.generate(graph, machine) for graph in networks]
    pictures = list(map(random_networks.picture_of, networks))
    found = random_networks.watched(core, sources, pictures, tmp_path)
    for graph, picture, scores in zip(networks, pictures, found, strict=True):
        random_networks.assert_close(scores, random_networks.wanted(graph, picture))


def test_small_maps_are_computed_whole(drawing):
    steps = lower(stem(drawing, (37, 53)), codegen.host()).ops
    assert not any(isinstance(one, StripConvPool | FusedConvPool) for one in steps)
