"""All that runs on a target's own Python runs on 3.7, which has no ``importlib.metadata``."""

from __future__ import annotations

import ast
import json
import subprocess
import sys

import pytest
from agent_on_disk import AGENT

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.target import facts, health, target
from shufflenet_deploy.target.environment import PROOF_PROGRAM

OLDEST = (3, 7)
PROGRAMS = {
    **{
        path.relative_to(resource("device_scripts")).as_posix(): path.read_text()
        for path in resource("device_scripts").rglob("*.py")
    },
    "proof": PROOF_PROGRAM,
    "interpreter": facts.INTERPRETER_PROGRAM,
    "clock": health.CLOCK_PROGRAM,
    "pin": target._PIN_PROGRAM,
}
#: Begins a program as if by Python 3.7.
BLOCKED = (
    "import sys; sys.modules['importlib.metadata'] = None; sys.modules['pkg_resources'] = None\n"
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_its_grammar_is_old(name):
    ast.parse(PROGRAMS[name], feature_version=OLDEST)


def test_nothing_it_calls_is_newer(tmp_path):
    paths = []
    for name, text in PROGRAMS.items():
        path = tmp_path / f"{name.removesuffix('.py').replace('/', '-')}.py"
        path.write_text(text)
        paths.append(str(path))
    main = "import vermin; vermin.main()"
    checker = [sys.executable, "-c", main, "--no-tips", "--violations", "-t=3.7-", *paths]
    done = subprocess.run(checker, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the import path with distributions as pip, Debian and setuptools leave them."""
    for name, version in (("Tflite.Runtime", "2.11.0"), ("onnxruntime", "1.14.1")):
        info = tmp_path / f"{name.lower().replace('.', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    head = "Metadata-Version: 1.2\nName: numpy\nVersion: 1.16.2\n\nName: other\nVersion: 9\n"
    (tmp_path / "numpy-1.16.2.egg-info").write_text(head)
    (tmp_path / "broken-1.dist-info").mkdir()
    (tmp_path / "old.egg-info").mkdir()
    (tmp_path / "old.egg-info" / "PKG-INFO").write_text("Name: old_one\nVersion: 3\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def run(program: str, *arguments: str) -> str:
    argv = [sys.executable, "-S", "-c", program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("blocked", ["", BLOCKED], ids=["3.8", "3.7"])
def test_installed_versions_are_found(folder, blocked):
    names = ["tflite-runtime", "onnxruntime", "numpy", "old-one", "broken", "absent"]
    printed = run(
        blocked + PROOF_PROGRAM, json.dumps({"distributions": names, "imports": ["json", "absent"]})
    )
    versions = json.loads(printed)["versions"]
    # Newer Pythons find a distribution by the name of its folder alone.
    versions.pop("broken")
    assert versions == {
        "tflite-runtime": "2.11.0",
        "onnxruntime": "1.14.1",
        "numpy": "1.16.2",
        "old-one": "3" if blocked else versions["old-one"],
        "absent": None,
    }


def test_modules_are_imported_when_all_versions_are_there(folder):
    wanted = {"distributions": ["numpy"], "imports": ["json", "absent"]}
    found = json.loads(run(BLOCKED + PROOF_PROGRAM, json.dumps(wanted)))
    assert list(found["failed"]) == ["absent"]


def test_the_agent_finds_versions_as_well(folder):
    program = (
        f"{BLOCKED}sys.path.insert(1, {str(AGENT)!r})\n"
        "from agent.distributions import version_of\n"
        "print(version_of('tflite-runtime'), version_of('numpy'))\n"
        "try:\n    version_of('absent')\nexcept ImportError as error:\n    print(error)\n"
    )
    assert run(program).splitlines() == [
        "2.11.0 1.16.2",
        "absent has no metadata on the import path",
    ]
