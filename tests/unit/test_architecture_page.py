"""docs/architecture.md against the tree: the paths of its table, and its layers."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "architecture.md").read_text()


def test_every_path_of_the_table_exists():
    table = PAGE.partition("\n## To change X, open Y\n")[2]
    rows = re.findall(r"^\| (?!\*\*)(.+?) \| (.+) \|$", table, re.MULTILINE)
    paths = {path for _, places in rows for path in re.findall(r"`([\w./]+[./][\w./]*)`", places)}
    assert len(paths) > 60
    missing = [
        path
        for path in sorted(paths - {".h"})
        if not (CHECKOUT / "shufflenet_deploy" / path).exists() and not (CHECKOUT / path).exists()
    ]
    assert missing == []


def test_the_drawing_has_the_layers_that_are_checked():
    told = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    (contract, *_) = told["tool"]["importlinter"]["contracts"]
    drawn = PAGE.partition("\n## Layers\n")[2].split("```")[1].strip().splitlines()
    layers = [re.split(r"\s*\|\s*", layer) for layer in contract["layers"]]
    assert len(drawn) == len(layers)
    for line, names in zip(drawn, layers, strict=True):
        modules = re.split(r"\s{2,}", line)[0]
        assert {*modules.split(" | ")} == {name.rpartition(".")[2] for name in names}, line
