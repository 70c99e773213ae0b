"""Names from cards, suites and files: none leaves its folder, ends a line or is endless."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shufflenet_deploy.bench import Suite
from shufflenet_deploy.names import check_file_name, check_line, check_model_name, check_suite_name
from shufflenet_deploy.zoo.card import StoredWeights

PATHS = ("../x", "../../ESCAPED", "/etc/passwd", "a/b", "a\\b", "..", ".", ".hidden", "")
LINES = ("a\nb", "a\x00b", "a\x1b[31mb", "a\u202eb", "\ud800", "a\tb")


@pytest.mark.parametrize("name", [*PATHS, *LINES, "-rf", "a b", "ä", "x" * 81, "$(id)", "a,b", "~"])
def test_what_is_no_name_of_a_model(name: str):
    with pytest.raises(ValueError, match=r"name|longer"):
        check_model_name(name)


@pytest.mark.parametrize("name", [*PATHS, *LINES, "-rf", "ä" * 41])
def test_what_is_no_name_of_a_suite(name: str):
    with pytest.raises(ValueError, match=r"name|longer|printed"):
        check_suite_name(name)
    with pytest.raises(ValidationError):
        Suite(name=name, models=("alexnet",), resolutions=("224x224",))


@pytest.mark.parametrize("name", [*PATHS, *LINES, "x" * 201, "-rf"])
def test_what_is_no_file_beside_another(name: str):
    with pytest.raises(ValueError, match=r"file|longer"):
        check_file_name(name)
    with pytest.raises(ValidationError):
        StoredWeights(file=name, sha256="0" * 64, source="x", layout="x")


def test_names_as_people_choose_them():
    for name in ("shufflenet-g3-0.5x", "mobilenet-1.0", "my_net+v2", "x", "x" * 80):
        assert check_model_name(name) == name
    for name in ("bench", "Table 8", "abends, Küche (2)", "run_1.2"):
        assert check_suite_name(name) == name
    for name in ("weights.safetensors", "model-00001-of-00002.bin", "_x"):
        assert check_file_name(name) == name
    assert check_line("ShuffleNet 0.5x (g=3), 10 Klassen – übersetzt") != ""
    with pytest.raises(ValueError, match="longer"):
        check_line("x" * 401)
