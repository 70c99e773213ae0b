"""An install without ``[export]``: what it can do, and what it says of the rest.

Every distribution that ``pip install shufflenet-deploy`` would not bring is hidden from the import
system, so that what is missed here is missed there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import sample_runs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import shufflenet_deploy
from shufflenet_deploy import extras
from shufflenet_deploy.journal import Journal

ROOT = Path(shufflenet_deploy.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TINY = ("--model", "shufflenet-g3-0.25x", "--resolution", "32x32")

#: Runs the command line with some distributions hidden: first argument their names, second their
#: modules, the rest what is typed.
HIDING = """
import importlib.metadata, json, sys
distributions, modules = (set(json.loads(text)) for text in sys.argv[1:3])
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
found = importlib.metadata.distribution
def distribution(name):
    if name.replace("_", "-").lower() in distributions:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.distribution = distribution
sys.argv = ["shufflenet-deploy", *sys.argv[3:]]
from shufflenet_deploy.cli import main
main()
"""


def brought(requirements: list[str]) -> set[str]:
    """The distributions that pip installs for some requirements."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if name in found:
            continue
        found.add(name)
        for each in map(Requirement, metadata.requires(name) or ()):
            extras_asked = {"", *one.extras}
            if each.marker is None or any(
                each.marker.evaluate({"extra": extra}) for extra in extras_asked
            ):
                waiting.append(each)
    return found


@pytest.fixture(scope="module")
def hidden() -> tuple[str, str]:
    """Missing parts of a small install, as JSON lists: distributions, and their modules."""
    kept = brought(PROJECT["dependencies"]) | {"shufflenet-deploy", "pip", "setuptools"}
    modules = {
        name: {canonicalize_name(one) for one in owners}
        for name, owners in metadata.packages_distributions().items()
    }
    lacking = {one for owners in modules.values() for one in owners} - kept
    hiding = [name for name, owners in modules.items() if not owners & kept]
    assert {"torch", "onnx", "onnxruntime", "ai_edge_litert"} <= set(hiding)
    return json.dumps(sorted(lacking)), json.dumps(sorted(hiding))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A journal, and a native program that was exported elsewhere."""
    place = tmp_path_factory.mktemp("small")
    with Journal(place / "journal.sqlite") as journal:
        for name in ("before", "after"):
            for run in sample_runs.table8(suite=name):
                journal.append(run)
    argv = ["export", *TINY, "--fmt", "native", "--precision", "fp32", "--machine", "host"]
    subprocess.run([sys.executable, "-m", "shufflenet_deploy", *argv], cwd=place, check=True)
    return place


@pytest.fixture
def typed(folder, hidden):
    """Types a command line into the small install."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite"),
            "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
        }
        argv = [sys.executable, "-c", HIDING, *hidden, *words]
        return subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("devices", "local"),
        ("table", "--suite", "after"),
        ("report", "--suite", "after", "--plots", "plots"),
        ("compare", "before", "after"),
        ("runs", "list"),
        ("runs", "show", "after"),
        ("clean", "--host", "local"),
        ("bench", *TINY, "--runtime", "native", "--baseline", "none", "--processes", "1",
         "--min-runs", "3", "--min-secs", "0", "--retries", "0"),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_what_makes_no_file_works(typed, words):
    done = typed(*words)
    assert done.returncode == 0, done.stderr


def test_doctor_tells_the_target_apart_from_this_install(typed):
    done = typed("doctor", "--json", "--runtime", "native")
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)["checks"]


@pytest.mark.parametrize(
    "words",
    [
        ("export", *TINY),
        ("eval", "--data", "."),
        ("emit-c", *TINY),
        ("import", "weights.pth"),
        ("bench", "--model", "shufflenet-g3-1x", "--runtime", "native", "--baseline", "none"),
        ("inspect", "net.onnx"),
        ("classify", "image.jpg", "--model", "net.onnx"),
    ],
    ids=lambda words: words[0],
)
def test_the_rest_says_in_one_line_how_to_get_it(typed, folder, words):
    (folder / "weights.pth").write_bytes(b"some weights")
    (folder / "net.onnx").write_bytes(b"some network")
    done = typed(*words)
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error: ")]
    assert extras.INSTALL in line
    assert "Traceback" not in done.stderr


def test_the_extra_is_what_the_message_is_about():
    names = {re.split(r"[<>=]", text)[0] for text in PROJECT["optional-dependencies"]["export"]}
    # zig is a program: where there is none, gcc or clang compiles.
    imported = {name.replace("-", "_") for name in names} - {"ziglang"}
    assert imported == set(extras.EXPORT_MODULES)
    assert f"pip install '{PROJECT['name']}[export]'" == extras.INSTALL
