"""docs/suites.md against the code: every key, its default, and an example that is a suite."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import shufflenet_deploy
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.records import BenchmarkSpec

PAGE = (Path(shufflenet_deploy.__file__).parents[1] / "docs" / "suites.md").read_text()


def told(title: str) -> dict[str, str]:
    """Keys and defaults of the table below a heading."""
    text = PAGE.partition(f"\n## {title}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]* \|([^|]*)\|", text, re.MULTILINE)
    return {key.replace("-", "_"): default.strip() for key, default in rows}


@pytest.mark.parametrize(
    ("title", "usual"),
    [
        ("Keys", Suite(models=("alexnet",), resolutions=("224x224",))),
        ("`[spec]`", BenchmarkSpec()),
    ],
)
def test_every_key_has_the_default_that_the_code_has(title, usual):
    values = usual.model_dump(mode="json")
    defaults = told(title)
    assert set(defaults) == set(values) - {"spec"}
    for key, default in defaults.items():
        if key not in ("name", "models", "resolutions"):
            assert default == ("" if values[key] is None else json.dumps(values[key])), key


def test_the_example_is_a_suite(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "nightly.toml").write_text(example)
    suite = Suite.read(tmp_path / "nightly.toml")
    assert (suite.name, suite.precision_target, suite.spec.processes) == ("nightly", 0.02, 5)
    assert len(suite.cells()) > 20
