"""Networks in code that torch's exporter and the graph reader do not both take."""

from __future__ import annotations

from pathlib import Path

from shufflenet_deploy.export import ExportRequest, Tolerances, export
from shufflenet_deploy.records import Artifact
from shufflenet_deploy.zoo import NetworkOptions, described

CODE = """
import torch
from torch import nn

class Freeing(nn.Conv2d):
    '''Frees a map that it does not need any more, as reversible networks do.'''
    def __init__(self):
        super().__init__(3, 3, 3, padding=1)

    def forward(self, x):
        half = x + 1
        y = half + super().forward(x)
        half.data.set_()
        return y.mean((2, 3))

class Best(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 3)

    def forward(self, x):
        return super().forward(x).mean((2, 3)).topk(5).values
"""


def exported(folder: Path, name: str, tolerances: Tolerances) -> Artifact:
    (folder / "own.py").write_text(CODE)
    network = described(f"{folder / 'own.py'}:{name}", NetworkOptions())
    fields = {"model": network, "format": "onnx", "precision": "fp32", "resolution": "16x16"}
    made = {"out": folder / "out", "tolerances": tolerances}
    return export(ExportRequest.model_validate({**fields, **made}))


def test_what_the_exporter_refuses_is_exported_as_its_graph(tmp_path: Path):
    assert exported(tmp_path, "Freeing", Tolerances()).parity.passed


def test_what_no_graph_expresses_is_exported(tmp_path: Path):
    assert exported(tmp_path, "Best", Tolerances()).parity.passed


def test_parity_is_missed_where_no_layer_can_be_named(tmp_path: Path):
    parity = exported(tmp_path, "Best", Tolerances(fp32_sqnr_db=900)).parity
    assert not parity.passed
    assert "minimum 900" in parity.reason
    assert parity.first_diverging is None
