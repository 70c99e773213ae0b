"""Charts as picture files: whole, on their own, and with every word inside the frame."""

from __future__ import annotations

import re
from io import BytesIO
from xml.etree import ElementTree as ET

import pytest
import sample_runs
from PIL import Image

from shufflenet_deploy.report import Table
from shufflenet_deploy.report.chart_files import plots

KINDS = {"speedup", "figures", "arrived", "samples", "temperature", "frequency"}


@pytest.fixture(scope="module")
def pictures():
    runs = sample_runs.table8()
    runs += [
        run for model in ("alexnet", "shufflenet-g3-0.5x") for run in sample_runs.counted(model)
    ]
    return dict(plots(Table.from_runs(runs)))


def test_every_chart_is_there_in_both_forms(pictures):
    for suffix in ("svg", "png"):
        assert {f"1-onnxruntime-fp32-1thread-{kind}.{suffix}" for kind in KINDS} <= set(pictures)
    # Instructions have no samples that differ, and nothing that heats up.
    counted = {name.rpartition("-")[2] for name in pictures if name.startswith("2-")}
    assert counted == {f"{kind}.{end}" for kind in ("speedup", "figures", "arrived")
                       for end in ("svg", "png")}  # fmt: skip


def test_a_picture_needs_nothing_from_elsewhere(pictures):
    for name, content in pictures.items():
        if name.endswith(".svg"):
            text = content.decode()
            ET.fromstring(text)
            assert "var(--" not in text
            assert not re.search(r"(href|src)=|url\(", text)


def test_pngs_are_drawn_and_their_edges_are_free(pictures):
    for name, content in pictures.items():
        if name.endswith(".png"):
            picture = Image.open(BytesIO(content)).convert("L")
            assert picture.width == 2 * 816
            assert picture.getextrema()[0] < 100, name
            for box in ((0, 0, 20, picture.height), (picture.width - 20, 0, *picture.size)):
                assert picture.crop(box).getextrema() == (255, 255), name
