"""docs/network-files.md names every operator that is read, and no other."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path

from shufflenet_deploy.network.frontends.caffe.layers import READERS as CAFFE
from shufflenet_deploy.network.frontends.onnx.reader import READERS as ONNX

PAGE = Path(__file__).parents[3] / "docs" / "network-files.md"


def table(heading):
    """The code words of the table under a heading."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"## {heading}\n")
    rows = takewhile(lambda line: line.startswith("|"), rest.strip().splitlines())
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def test_operators():
    assert table("ONNX operators") - {"auto_pad", "ceil_mode"} == {*ONNX}


def test_layers():
    assert table("Caffe layers") == {*CAFFE}
