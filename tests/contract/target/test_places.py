"""A home that is read-only or starts no programs, made by the kernel's own mounts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
COMMAND = f"{sys.executable} -m shufflenet_deploy"
SMALL = "--model shufflenet-g3-0.25x --resolution 32x32 --baseline none --runtime native"


def namespaces() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    )


pytestmark = pytest.mark.skipif(not namespaces(), reason="this machine gives no mounts to users")


@pytest.fixture
def at(tmp_path):
    """``at("ro", words)`` runs a command with its folder on a file system mounted so."""
    home = tmp_path / "home"
    home.mkdir()

    def run(options: str, words: str) -> subprocess.CompletedProcess[str]:
        mount = f"mount -t tmpfs tmpfs {home} && mount -o remount,{options} {home}"
        environment = {
            name: value for name, value in os.environ.items() if "SHUFFLENET" not in name
        }
        return subprocess.run(
            [*NAMESPACE, f"{mount} && exec {COMMAND} {words}"],
            env={**environment, "XDG_CACHE_HOME": str(home), "XDG_STATE_HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("options", "message"), [("ro", "cannot be written"), ("noexec", "noexec")]
)
def test_doctor_names_the_variable_and_a_folder(at, options, message):
    done = at(options, "doctor --json --runtime native")
    check = {one["name"]: one for one in json.loads(done.stdout)["checks"]}["folder"]
    assert done.returncode == 1
    assert check["status"] == "fail"
    assert message in check["value"]
    assert check["remedy"].startswith("SHUFFLENET_DEPLOY_ROOT=/")
    assert check["remedy"].endswith("shufflenet-deploy bench --host local")


@pytest.mark.parametrize(
    ("options", "message"), [("ro", "Read-only file system"), ("noexec", "mounted noexec")]
)
def test_bench_names_them_before_it_exports(at, options, message, tmp_path):
    done = at(options, f"bench {SMALL} --journal {tmp_path}/runs.sqlite")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert message in line
    assert "SHUFFLENET_DEPLOY_ROOT=/" in line
    assert not list(tmp_path.glob("artifacts/*"))
