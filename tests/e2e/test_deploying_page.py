"""docs/deploying.md by the letter: its commands are typed, its programs are run, and they agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import command_line
import pytest

import shufflenet_deploy
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.network.metadata import Metadata

PAGE = Path(shufflenet_deploy.__file__).parents[1] / "docs" / "deploying.md"
LONGEST_LINES = 30


def section(title: str) -> tuple[list[str], str, str]:
    """The commands of a section, one a line, and its program with the name in its first line."""
    text = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (program,) = re.findall(r"```(?:python|c)\n(.*?)```", text, re.DOTALL)
    (name,) = re.findall(r"\w+\.(?:py|c)\b", program.splitlines()[0])
    return commands.splitlines(), name, program


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the page is tried: with a photograph."""
    place = tmp_path_factory.mktemp("deploying")
    shutil.copy(resource("export", "images") / "parity-08-cup.jpg", place / "photo.jpg")
    return place


def typed(command: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def top(file: Path, folder: Path) -> list[str]:
    """The classes that ``classify`` names, the best first."""
    done = command_line.typed("classify", "-m", file, "photo.jpg", "--json", cwd=folder)
    told = json.loads(done.stdout)
    assert told["trained"] is False
    return [one["name"] for one in told["classes"]]


@pytest.mark.parametrize(("title", "suffix"), [("ONNX", "onnx"), ("TFLite", "tflite")])
def test_the_page_classifies_as_the_command_does(title, suffix, folder):
    commands, name, program = section(title)
    assert len(program.splitlines()) <= LONGEST_LINES
    (folder / name).write_text(program)
    for command in commands:
        said = typed(command, folder)
    (file,) = folder.glob(f"artifacts/*.{suffix}")
    named = [line.partition(" ")[2] for line in said.splitlines()]
    assert named == top(file, folder)


def test_the_c_of_the_page_finds_the_same_class(folder):
    commands, name, program = section("C")
    assert len(program.splitlines()) <= LONGEST_LINES
    (folder / name).write_text(program)
    for command in commands:
        said = typed(command, folder)
    (file,) = folder.glob("artifacts/*fp32.onnx")
    # The image is scaled after the crop here, before it elsewhere: nearly the same pixels.
    assert said.partition(": ")[2].strip() in top(file, folder)[:3]


def test_the_page_names_every_field():
    rows = re.findall(r"^\| (`.*?) \|", PAGE.read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == {
        *Metadata.model_fields
    }
