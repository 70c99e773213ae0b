"""Ranges written into a file as MNN's quantiser leaves one."""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
import pytest

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.flat_tables import Table
from shufflenet_deploy.export.mnn import int8

CONVOLUTION, POOL, SLICE, ADD = 12, 47, 83, 7
SIX, NINE = (0.05, -128.0), (0.07, 3.0)


def table(builder: flatbuffers.Builder, fields: dict[int, tuple[str, Any]]) -> int:
    """A table of ``{field: (kind, value)}``; an offset is ``("UOffsetTRelative", value)``."""
    builder.StartObject(max(fields) + 1)
    for field, (kind, value) in fields.items():
        if kind == "UOffsetTRelative":
            builder.PrependUOffsetTRelativeSlot(field, value, 0)
        else:
            getattr(builder, f"Prepend{kind}Slot")(field, value, None)
    return int(builder.EndObject())


def vector(builder: flatbuffers.Builder, values: list[int], *, tables: bool = False) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        (builder.PrependUOffsetTRelative if tables else builder.PrependInt32)(value)
    return int(builder.EndVector())


def operator(
    builder: flatbuffers.Builder, name: str, kind: int, read: list[int], made: list[int]
) -> int:
    fields = {
        0: ("UOffsetTRelative", vector(builder, read)),
        4: ("UOffsetTRelative", vector(builder, made)),
        3: ("UOffsetTRelative", builder.CreateString(name)),
        5: ("Int32", kind),
    }
    if kind == POOL:
        fields[2] = "UOffsetTRelative", table(builder, {7: ("Int8", 0)})
    if kind == CONVOLUTION:
        scales = table(builder, {5: ("Float32", 0.0), 6: ("Float32", 0.0)})
        zeros = table(builder, {6: ("Int8", 0), 7: ("Int8", 0)})
        parts = {3: ("UOffsetTRelative", scales), 4: ("UOffsetTRelative", zeros)}
        fields[2] = "UOffsetTRelative", table(builder, parts)
    return table(builder, fields)


def net() -> bytes:
    """conv (0 to 1), max pool (to 2), a slice (to 3 and 4), conv (3 to 5), and a sum (to 6)."""
    builder = flatbuffers.Builder()
    builder.ForceDefaults(True)  # noqa: FBT003 - as it is spelt
    operators = [
        operator(builder, "conv", CONVOLUTION, [0], [1]),
        operator(builder, "pool", POOL, [1], [2]),
        operator(builder, "slice", SLICE, [2], [3, 4]),
        operator(builder, "last", CONVOLUTION, [3], [5]),
        operator(builder, "add", ADD, [4, 5], [6]),
    ]
    tensors = []
    for index, (scale, zero) in enumerate((NINE, SIX, SIX, SIX, NINE, SIX, NINE)):
        fields = {0: scale, 1: zero, 2: -127.0, 3: 127.0}
        numbers = table(builder, {field: ("Float32", value) for field, value in fields.items()})
        described = {1: ("Int32", index), 4: ("UOffsetTRelative", numbers)}
        tensors.append(table(builder, described))
    parts = {1: vector(builder, tensors, tables=True), 3: vector(builder, operators, tables=True)}
    root = table(builder, {field: ("UOffsetTRelative", at) for field, at in parts.items()})
    builder.Finish(root)
    return bytes(builder.Output())


def numbers_in(content: bytes) -> dict[int, tuple[float, float]]:
    found = {}
    for tensor in Table.root(content).tables(1):
        numbers = tensor.table(4)
        assert (numbers.real(2), numbers.real(3)) in {(-127.0, 127.0), (-128.0, 127.0)}
        found[tensor.integer(1, 4)] = numbers.real(0), numbers.real(1)
    return found


SPANS = {
    "conv:in": (-1.0, 1.55), "conv:0": (-2.0, 3.1), "pool:in": (-2.0, 3.1), "pool:0": (-1.0, 3.1),
    "slice:0": (-2.0, 2.0), "last:in": (-1.0, 2.0), "last:0": (0.0, 25.5),
}  # fmt: skip


def test_scales_follow_the_ranges() -> None:
    found = numbers_in(int8.ranged(net(), SPANS))
    scale = np.float32(5.1 / 255)
    assert found[0] == pytest.approx((0.01, -28.0))
    assert found[1] == pytest.approx((scale, -28.0))
    assert found[5] == pytest.approx((0.1, -128.0))
    # A slice hands on what it reads; of the sum nothing was observed.
    assert found[2] == found[3] == found[4]
    assert found[6] == pytest.approx((NINE[0], NINE[1]))


def test_a_max_pool_computes_in_floats() -> None:
    """Its output's scale is the next float after its input's, so that the two are not equal."""
    found = numbers_in(int8.ranged(net(), SPANS))
    assert np.float32(found[2][0]) == np.nextafter(np.float32(found[1][0]), np.float32(1))
    assert found[2][1] == found[1][1]
    assert found[3] == found[2]


def test_convolutions_state_the_same() -> None:
    content = int8.ranged(net(), SPANS)
    found = numbers_in(content)
    for layer in Table.root(content).tables(3):
        if layer.integer(5, 4) == CONVOLUTION:
            read, made = layer.integers(0, 4)[0], layer.integers(4, 4)[0]
            scales, zeros = layer.table(2).table(3), layer.table(2).table(4)
            assert (scales.real(5), zeros.integer(6, 1)) == found[read]
            assert (scales.real(6), zeros.integer(7, 1)) == found[made]


def test_a_file_of_another_layout_is_refused() -> None:
    content = net()
    for length in (8, 60, len(content) // 2):
        with pytest.raises(ExportError, match="not understood here"):
            int8.ranged(content[:length], SPANS)
