"""The partition solver against all partitions there are."""

from __future__ import annotations

import itertools

import pytest

from shufflenet_deploy.codegen.schedule.partition import (
    cheapest,
    cheapest_blocking,
    cheapest_blocking_by_outputs,
    even_sizes,
    with_main_tile,
)

COSTS = {1: 1.0, 2: 1.7, 3: 2.9, 5: 3.8}


@pytest.mark.parametrize("total", [1, 4, 7, 11])
def test_no_partition_is_cheaper(total):
    cost, sizes = cheapest(total, COSTS)
    assert sum(sizes) == total
    assert cost == pytest.approx(sum(COSTS[size] for size in sizes))
    every = (
        parts
        for count in range(1, total + 1)
        for parts in itertools.combinations_with_replacement(COSTS, count)
        if sum(parts) == total
    )
    assert cost == pytest.approx(min(sum(COSTS[size] for size in parts) for parts in every))


def test_main_tiles_come_first_and_equal_sizes_are_one_run():
    cost, runs = with_main_tile(14, 3, COSTS)
    assert sum(size * times for size, times in runs) == 14
    assert runs[0][0] == 3
    assert cost == pytest.approx(sum(COSTS[size] * times for size, times in runs))


def test_even_sizes_differ_by_one_at_most():
    assert even_sizes(17, 5) == [4, 4, 3, 3, 3]


class Model:
    """Blocks of up to six accumulators, each of which costs less in larger blocks."""

    max_outputs, max_pixels, has_tail = 6, 6, False

    def fits(self, outputs, pixels):
        return outputs * pixels <= 6

    def cost(self, outputs, pixels):
        return 10 + outputs * pixels + 3 * (outputs + pixels)

    def tail_cost(self, *_):
        raise AssertionError("there is no tail")


@pytest.mark.parametrize(("outputs", "pixels"), [(1, 1), (5, 7), (12, 13), (24, 2)])
def test_blocks_cover_everything_and_fit(outputs, pixels):
    found = cheapest_blocking(Model(), outputs, pixels)
    assert sum(found.outputs) == outputs
    assert sum(size * times for size, times in found.pixels) == pixels
    assert all(Model().fits(one, size) for one in found.outputs for size, _ in found.pixels[:1])


@pytest.mark.parametrize(("outputs", "pixels"), [(1, 1), (5, 7), (12, 13), (24, 2)])
def test_each_block_of_outputs_has_its_own_pixels(outputs, pixels):
    model = Model()
    found = cheapest_blocking_by_outputs(model, outputs, pixels)
    assert sum(size for size, _ in found) == outputs

    def cost(size, main):
        times, rest = divmod(pixels, main)
        return times * model.cost(size, main) + (model.cost(size, rest) if rest else 0)

    for size, main in found:
        assert main == 1 or model.fits(size, main)
        least = min(cost(size, one) for one in range(1, pixels + 1) if model.fits(size, one))
        assert cost(size, main) == least
