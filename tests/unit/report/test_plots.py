"""Charts as image files: complete, self-contained, and with all text inside the frame."""

from __future__ import annotations

import re
from io import BytesIO
from xml.etree import ElementTree as ET

import pytest
import sample_runs
from PIL import Image

from shufflenet_deploy.report.chart_files import plots
from shufflenet_deploy.report.table import Table

KINDS = {"speedup", "figures", "arrived", "samples", "temperature", "frequency"}


@pytest.fixture(scope="module")
def images():
    runs = sample_runs.table8()
    runs += [
        run for model in ("alexnet", "shufflenet-g3-0.5x") for run in sample_runs.counted(model)
    ]
    return dict(plots(Table.from_runs(runs)))


def test_every_chart_is_there_in_both_forms(images):
    for suffix in ("svg", "png"):
        assert {f"1-onnxruntime-fp32-1thread-{kind}.{suffix}" for kind in KINDS} <= set(images)
    # Instructions have no samples that differ, and nothing that heats up.
    counted = {name.rpartition("-")[2] for name in images if name.startswith("2-")}
    assert counted == {f"{kind}.{end}" for kind in ("speedup", "figures", "arrived")
                       for end in ("svg", "png")}  # fmt: skip


def test_an_image_needs_nothing_from_elsewhere(images):
    for name, content in images.items():
        if name.endswith(".svg"):
            text = content.decode()
            ET.fromstring(text)
            assert "var(--" not in text
            assert not re.search(r"(href|src)=|url\(", text)


def test_pngs_are_drawn_and_their_edges_are_free(images):
    for name, content in images.items():
        if name.endswith(".png"):
            image = Image.open(BytesIO(content)).convert("L")
            assert image.width == 2 * 816
            assert image.getextrema()[0] < 100, name
            for box in ((0, 0, 20, image.height), (image.width - 20, 0, *image.size)):
                assert image.crop(box).getextrema() == (255, 255), name
