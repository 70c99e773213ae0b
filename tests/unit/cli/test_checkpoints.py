"""Whose checkpoint a ``--weights`` names, in commands that take several models."""

from __future__ import annotations

from pathlib import Path

import pytest

from shufflenet_deploy.cli.checkpoints import checkpoint_of_each
from shufflenet_deploy.errors import UsageError

REFERENCES = {"Net": "{...}", "alexnet": "alexnet"}
TYPED = ("mine.py:Net", "alexnet")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a,b=c.pth"
    path.touch()
    return path


def test_one_model_needs_no_name(file: Path) -> None:
    assert checkpoint_of_each([str(file)], ["Net"], {"Net": "{...}"}) == {"Net": file}
    assert checkpoint_of_each(None, TYPED, REFERENCES) == {}


@pytest.mark.parametrize("name", ["Net", "mine.py:Net"])
def test_a_model_as_typed_or_by_its_own_name(file: Path, name: str) -> None:
    assert checkpoint_of_each([f"{name}={file}"], TYPED, REFERENCES) == {"Net": file}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["FILE"], "which model"),
        (["Nte=FILE"], "Nte is none of Net, alexnet"),
        (["Net=FILE", "Net=OTHER"], "Net has 2 files"),
        (["Net=nothing.pth"], "nothing.pth is not a file"),
    ],
)
def test_what_is_not_clear(file: Path, given: list[str], message: str) -> None:
    other = file.with_name("other.pth")
    other.touch()
    words = [one.replace("FILE", str(file)).replace("OTHER", str(other)) for one in given]
    with pytest.raises(UsageError, match=message):
        checkpoint_of_each(words, TYPED, REFERENCES)
