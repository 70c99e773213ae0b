"""Both runtimes on a real Python 3.7, over SSH, by each way of bringing them there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from shufflenet_deploy import export, runtime, transport
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.records import BenchmarkSpec, Measurement
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import Mode, Target

QUICK = BenchmarkSpec(warmup_runs=1, warmup_secs=0, min_runs=3, min_secs=0)


def interpreter() -> Path | None:
    """A Python 3.7 of this machine: on PATH, or one of pyenv's."""
    found = shutil.which("python3.7")
    roots = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    known = [*roots.glob("versions/3.7.*/bin/python3.7"), *([Path(found)] if found else [])]
    return known[0] if known else None


pytestmark = pytest.mark.skipif(interpreter() is None, reason="this machine has no Python 3.7")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A small network in the format of a runtime."""
    folder = tmp_path_factory.mktemp("artifacts")

    def of(name: str):
        return export.export(
            ExportRequest(
                model="shufflenet-g3-0.25x",
                format=runtime.get(name).formats[0],
                precision="int8",
                resolution="32x32",
                out=folder,
            )
        )

    return of


@pytest.fixture
def old(sshd_with, tools, tmp_path):
    """This machine as a target whose only Python is 3.7."""
    shim = tools(python3=f'exec {interpreter()} "$@"')
    # An inner shell reads no login files, which may put another Python first.
    server = sshd_with(f"SetEnv PATH={shim}:/usr/bin:/bin SHLVL=2")
    with (
        transport.connect(server.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        yield target


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "version"), [("onnxruntime", "1.14.1"), ("tflite-runtime", "2.11.0")]
)
def test_a_runtime_is_brought_and_measures(old, artifact, name, version, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen, file = runtime.get(name), artifact(name)
    assert old.facts().python.startswith("3.7.")
    for mode in (Mode.VENV, Mode.WHEELS, Mode.AUTO):
        environment = old.environment(chosen.payload, mode=mode)
        argv = chosen.command(
            python=environment.python,
            agent=install_agent(old.install),
            model=old.install(file.path),
            spec=QUICK,
        )
        variables = {**environment.env, **chosen.environment(QUICK)}
        report = chosen.parse(old.invoke(argv, env=variables, timeout_s=120).text)
        assert isinstance(report.outcome, Measurement), report.outcome
        assert report.runtime_version == version
