"""The agent's one file: the same bytes from the same sources, wherever they lie."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from shufflenet_deploy.atomic_files import resource, sha256_file
from shufflenet_deploy.runtime import agent_file

ENGINE = '''
"""A runtime that adds one."""
import numpy
from ..engine import Engine

class AddOne(Engine):
    name = module = distribution = "{name}"
    timed = "an addition"
    failure_signs = (("model-corrupt", ("a zero byte",)),)

    def __init__(self, path, threads):
        with open(path, "rb") as stream:
            if b"\\0" in stream.read():
                raise ValueError("a zero byte")
        self.version, self.details = "1", {{"threads": threads}}
        self.inputs = [{{"name": "x", "shape": [2], "dtype": "float32"}}]
        self.outputs = self.inputs

    def bind_inputs(self, arrays):
        (self._input,) = arrays

    def invoker(self):
        def run():
            self._output = self._input + 1
        return run

    def read_output(self):
        return self._output

ENGINE = AddOne
'''


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """The sources in another folder, which is that of ``resource``."""
    root = tmp_path / "copied"
    shutil.copytree(resource("device_scripts"), root)
    monkeypatch.setattr(agent_file, "resource", lambda _folder: root)
    return root / "agent"


def measured(path, *options, status=0):
    argv = [sys.executable, path, *map(str, options), "--min-secs", "0", "--warmup-secs", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_its_bytes_follow_from_the_sources_alone(copy):
    before = agent_file.agent_bytes()
    (copy / "notes.txt").write_text("no source")
    (copy / "__pycache__").mkdir(exist_ok=True)
    for path in copy.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o600)
    assert agent_file.agent_bytes() == before
    for path in sorted(copy.rglob("*.py")):
        source = path.read_text()
        path.write_text(source + "# edited\n")
        assert agent_file.agent_bytes() != before, path
        path.write_text(source)
    assert agent_file.agent_bytes() == before


def test_what_is_pushed_is_what_keys_hash():
    pushed = []
    assert agent_file.install_agent(lambda path: pushed.append(sha256_file(path)) or "there")
    assert pushed == [agent_file.agent_sha256()]


def test_every_source_is_in_it(tmp_path):
    with zipfile.ZipFile(agent_file.write_agent(tmp_path)) as archive:
        names = set(archive.namelist())
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}
    root = resource("device_scripts")
    sources = {path.relative_to(root).as_posix() for path in (root / "agent").rglob("*.py")}
    assert names == sources - {"agent/__main__.py"} | {"__main__.py"}


def test_an_engine_is_one_more_file(copy, tmp_path):
    # Any importable module does for the runtime; "pip" has a version wherever the tests run.
    (copy / "engines" / "add_one.py").write_text(ENGINE.format(name="pip"))
    path = agent_file.write_agent(tmp_path)
    model = tmp_path / "model"
    model.write_bytes(b"good")
    log = measured(path, "--runtime", "pip", "--model", model)
    assert (log["runtime"]["name"], log["timed"]) == ("pip", "an addition")
    assert len(log["samples_ns"]) >= 30
    model.write_bytes(b"bad\0")
    log = measured(path, "--runtime", "pip", "--model", model, status=1)
    assert log["error"]["kind"] == "model-corrupt"
    model.write_bytes(b"good")
    shapes = ("--shapes", '{"x":[3]}')
    log = measured(path, "--runtime", "pip", "--model", model, *shapes, status=1)
    assert log["error"]["kind"] == "unsupported"


def test_help_names_every_option(tmp_path):
    argv = [sys.executable, str(agent_file.write_agent(tmp_path)), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert "--warmup-max-secs" in done.stdout
