"""Validation of the packages that a Python on a target reports."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from shufflenet_deploy.target.environment import environment_key, missing_from, proof_argument

PAYLOAD = SimpleNamespace(
    name="onnxruntime",
    requirements=("onnxruntime==1.20.1", "numpy>=1.26,<3"),
    imports=("onnxruntime", "numpy"),
)


def reported(versions, failed=None) -> str:
    return "noise\n" + json.dumps({"versions": versions, "failed": failed or {}}) + "\n"


@pytest.mark.parametrize(
    ("printed", "missing"),
    [
        (reported({"onnxruntime": "1.20.1", "numpy": "2.2.0"}), None),
        (reported({"onnxruntime": "1.20.1", "numpy": "2.2.0rc1"}), None),
        (reported({"onnxruntime": None, "numpy": "2.2.0"}), "onnxruntime is not installed"),
        (
            reported({"onnxruntime": "1.19.0", "numpy": "2.2.0"}),
            "onnxruntime is 1.19.0, not ==1.20.1",
        ),
        (
            reported(
                {"onnxruntime": "1.20.1", "numpy": "2.2.0"}, {"numpy": "ImportError: libm.so.6"}
            ),
            "import numpy: ImportError: libm.so.6",
        ),
        ("Segmentation fault\n", "its Python did not run"),
    ],
)
def test_what_is_missing(printed, missing):
    assert missing_from(PAYLOAD, printed) == missing


def test_only_names_travel_to_the_target():
    assert json.loads(proof_argument(PAYLOAD)) == {
        "distributions": ["onnxruntime", "numpy"],
        "imports": ["onnxruntime", "numpy"],
    }


def test_the_key_tells_pins_and_pythons_apart():
    other = SimpleNamespace(
        name="x", requirements=PAYLOAD.requirements[::-1], imports=PAYLOAD.imports
    )
    assert environment_key(PAYLOAD, "3.11.2") == environment_key(other, "3.11.2")
    assert environment_key(PAYLOAD, "3.11.2") != environment_key(PAYLOAD, "3.12.2")
    other.requirements = ("onnxruntime==1.20.2", "numpy>=1.26,<3")
    assert environment_key(PAYLOAD, "3.11.2") != environment_key(other, "3.11.2")
