"""int8 for ncnn: what is stored for each layer, read back as ncnn reads it."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.ncnn import int8
from shufflenet_deploy.export.ncnn.param import layers_in, text_of

#: Dense, normalised, depthwise, grouped (4 inputs and 8 outputs each) and fully connected.
TEXT = """7767517
6 6
Input in 0 1 in0
Convolution a 1 1 in0 1 0=8 1=3 4=1 5=1 6=216 9=1
BatchNorm n 1 1 1 2 0=8
ConvolutionDepthWise b 1 1 2 3 0=8 1=3 4=1 5=0 6=72 7=8
ConvolutionDepthWise c 1 1 3 4 0=16 1=1 5=1 6=64 7=2
InnerProduct d 1 1 4 out0 0=3 1=1 2=48
"""
PEAKS = {"in0": 2.0, "2": 1.0, "3": 0.5, "4": 0.0}
INT8 = struct.pack("<I", 0x000D4B38)


def stored(*, dead: bool = False) -> tuple[dict[str, np.ndarray], bytes]:
    """Weights and biases of ``TEXT`` by layer, a row for each output, and ncnn's bytes of them."""
    draw = np.random.default_rng(0)
    shapes = {"a": (8, 27), "b": (8, 9), "c": (16, 4), "d": (3, 16)}
    floats = {name: draw.normal(size=shape).astype("<f4") for name, shape in shapes.items()}
    if dead:
        floats["a"][3] = 0
    floats |= {f"{name}.bias": draw.normal(size=len(floats[name])).astype("<f4") for name in "acd"}
    norm = draw.normal(size=32).astype("<f4").tobytes()
    parts = [bytes(4), floats["a"], floats["a.bias"], norm, bytes(4), floats["b"]]
    parts += [bytes(4), floats["c"], floats["c.bias"], bytes(4), floats["d"], floats["d.bias"]]
    return floats, b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)


class Reader:
    """Reads what ncnn reads, in its order."""

    def __init__(self, content: bytes) -> None:
        self.rest = content

    def take(self, count: int) -> bytes:
        taken, self.rest = self.rest[:count], self.rest[count:]
        assert len(taken) == count
        return taken

    def floats(self, count: int) -> np.ndarray:
        return np.frombuffer(self.take(4 * count), "<f4")

    def layer(self, outputs: int, count: int, *, biased: bool) -> tuple[np.ndarray, ...]:
        """Weights as they are meant, bias, and the scale of the input."""
        assert self.take(4) == INT8
        levels = np.frombuffer(self.take(-(-count // 4) * 4), np.int8)[:count]
        bias = self.floats(outputs if biased else 0)
        scales = self.floats(outputs)
        rows = levels.reshape(outputs, -1) / np.where(scales == 0, 1, scales)[:, None]
        return rows, bias, scales, self.floats(1)


def is_rounded(found: np.ndarray, scales: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether weights are within half a step of what they stand for, and reach the last level."""
    steps = 1 / np.where(scales == 0, 1, scales)[:, None]
    full = np.abs(found * scales[:, None]).max(axis=1)[scales > 0]
    return bool((np.abs(found - wanted) <= 0.501 * steps).all()) and np.allclose(full, 127)


def test_every_output_has_a_scale_and_groups_are_convolutions_of_their_own() -> None:
    floats, weights = stored()
    text, content = int8.quantised(TEXT, weights, PEAKS)
    found = Reader(content)
    for name, kind, place in (("a", (8, 216), 2.0), ("b", (8, 72), 1.0)):
        rows, bias, scales, given = found.layer(*kind, biased=name == "a")
        assert is_rounded(rows, scales, floats[name])
        assert np.array_equal(bias, floats.get(f"{name}.bias", ()))
        assert given == pytest.approx(127 / place)
        if name == "a":
            found.take(128)  # the normalisation, as it was
    for index in range(2):
        part = slice(8 * index, 8 * index + 8)
        rows, bias, scales, given = found.layer(8, 32, biased=True)
        assert is_rounded(rows, scales, floats["c"][part])
        assert np.array_equal(bias, floats["c.bias"][part])
        assert given == pytest.approx(254)
    rows, bias, scales, given = found.layer(3, 48, biased=True)
    assert is_rounded(rows, scales, floats["d"])
    assert given == 127  # of an input that is always 0
    assert not found.rest
    layers = {layer.name: layer for layer in layers_in(text)}
    assert (layers["a"].parameters[8], layers["b"].parameters[8]) == ("2", "1")
    assert layers["c_slice"].numbers(0) == (-233, -233)
    assert layers["c_1"].kind == "Convolution"
    assert [layers["c_1"].number(key, 0) for key in (0, 6, 7, 8)] == [8, 32, 0, 2]
    assert layers["c_concat"].outputs == ("4",)
    assert text.splitlines()[1] == "9 10"


def test_an_output_without_weights_is_zero() -> None:
    _, weights = stored(dead=True)
    _, content = int8.quantised(TEXT, weights, PEAKS)
    rows, _, scales, _ = Reader(content).layer(8, 216, biased=True)
    assert scales[3] == 0
    assert not rows[3].any()


def test_the_ranges_wanted_are_those_of_inputs() -> None:
    assert int8.inputs_of(TEXT) == ["2", "3", "4", "in0"]
    computed = TEXT.replace("6=216 9=1", "6=216 19=1")
    assert int8.inputs_of(computed) == ["2", "3", "4"]


def test_a_text_is_written_as_it_was_read() -> None:
    assert text_of(layers_in(TEXT)) == TEXT


@pytest.mark.parametrize("cut", [4, -4])
def test_weights_that_no_layer_explains_are_refused(cut: int) -> None:
    """As those of a layer of whose storage nothing is known here."""
    _, weights = stored()
    with pytest.raises(ExportError, match="take --precision fp32 or fp16"):
        int8.quantised(TEXT, weights + bytes(4) if cut > 0 else weights[:cut], PEAKS)
    with pytest.raises(ExportError, match="not laid out"):
        int8.quantised(TEXT.replace("BatchNorm n", "Gemm n"), weights, PEAKS)
