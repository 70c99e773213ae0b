"""The same tasks in this process, in processes, and on a real Dask scheduler's workers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cluster_work
import dask
import pytest
from dask_cluster import running_cluster

from shufflenet_deploy import cluster
from shufflenet_deploy.cluster import Folder, Task, machines, versions
from shufflenet_deploy.errors import (
    ConnectError,
    ExportError,
    UsageError,
    WorkersError,
    WorkerVersionsError,
)

PAGE = Path(cluster.__file__).parents[2] / "docs" / "fleet.md"
BUILDERS = {"PYTHONPATH": str(Path(cluster_work.__file__).parent)}


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Processes of this machine find the work, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", BUILDERS["PYTHONPATH"])
        yield


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with running_cluster(tmp_path_factory.mktemp("dask"), workers=0) as shared:
        for _ in range(2):
            shared.add(**BUILDERS)
        yield shared


@pytest.fixture
def tasks(tmp_path):
    """Tasks with a file and a folder in common, and a file of their own."""
    images = tmp_path / "images"
    for name in ("a/1.jpg", "b/2.jpg"):
        (images / name).parent.mkdir(parents=True)
        (images / name).write_text(name)
    (tmp_path / "weights").write_bytes(os.urandom(100_000))
    shared = {
        "weights": tmp_path / "weights",
        "images": Folder(images, tuple(sorted(images.rglob("*.jpg")))),
    }
    own = [tmp_path / f"own-{index}" for index in range(8)]
    for path in own:
        path.write_text(path.name)
    return [
        Task(argument=index, files=shared, once={"own": path}) for index, path in enumerate(own)
    ]


def results(shared, tasks, function=cluster_work.hashed):
    stages = []
    done = list(shared.run(function, tasks, lambda index, text: stages.append((index, text))))
    assert sorted(one.index for one in done) == list(range(len(tasks)))
    assert {(index, f"hashing {index}") for index in range(len(tasks))} <= {*stages}
    return {one.value[0]: one.value[2] for one in done}, {one.value[1] for one in done}


def test_the_same_everywhere(scheduler, tasks):
    with machines() as here, machines(workers=2) as pool, machines(scheduler.address) as far:
        mine, (own,) = results(here, tasks)
        theirs, processes = results(pool, tasks)
        others, workers = results(far, tasks)
    assert mine == theirs == others
    assert own == os.getpid()
    assert own not in processes | workers
    assert workers <= {one.pid for one in scheduler.workers}


def test_a_worker_killed_in_the_middle_and_one_that_joins_late(scheduler, tmp_path):
    begun = tmp_path / "begun"
    begun.mkdir()
    extra = scheduler.add(**BUILDERS)
    work = [Task(argument=str(begun), files={"own": Path(__file__)}) for _ in range(40)]
    pids = []
    with machines(scheduler.address) as far:
        for done in far.run(cluster_work.slow, work):
            pids.append(done.value)
            if len(pids) == 6:
                extra.kill()
                extra.wait()
                late = scheduler.add(**BUILDERS)
    assert len(pids) == 40
    assert late.pid in pids
    # What it was doing was done again elsewhere.
    assert len(list(begun.iterdir())) >= 40


def test_errors_are_those_of_the_task(scheduler):
    with machines(scheduler.address) as far, machines(workers=2) as pool:
        for shared in (far, pool, cluster.Here()):
            (done,) = shared.run(cluster_work.failing, [Task(argument="file")])
            assert isinstance(done.error, ExportError)
            assert str(done.error) == "no file"
        for shared in (far, pool):
            with pytest.raises(WorkersError, match="a task failed: KeyError: 'absent'"):
                list(shared.run(cluster_work.broken, [Task(argument={})]))
        with pytest.raises(WorkersError, match="for want of memory"):
            list(pool.run(cluster_work.deadly, [Task(argument=0)]))
        with pytest.raises(UsageError, match="cannot read"):
            list(far.run(cluster_work.hashed, [Task(argument=0, once={"a": Path("absent")})]))


def test_a_worker_with_other_versions_is_refused(tmp_path, tasks):
    """A worker that joins late with another numpy, and the next command that finds it there."""
    (tmp_path / "other" / "numpy-0.1.dist-info").mkdir(parents=True)
    (tmp_path / "other" / "numpy-0.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: numpy\nVersion: 0.1\n"
    )
    other = {"PYTHONPATH": f"{tmp_path / 'other'}:{BUILDERS['PYTHONPATH']}"}
    with running_cluster(tmp_path / "dask", workers=0) as shared:
        notes = []
        with machines(shared.address, on_note=notes.append) as far:
            assert "has no workers yet" in notes[0]
            shared.add(**other)
            with pytest.raises(WorkerVersionsError, match=r"has numpy 0\.1 \(here") as late:
                list(far.run(cluster_work.hashed, tasks))
        assert late.value.exit_code == 2
        with pytest.raises(WorkerVersionsError, match=r"has numpy 0\.1"), machines(shared.address):
            pass


def test_versions_that_differ_are_named():
    own = {"python": "3.11", "torch": "2.13.0", "numpy": "2.4"}
    versions.check(own, dict(own), where="there")
    with pytest.raises(WorkerVersionsError, match=r"numpy absent \(here 2\.4\).* same versions"):
        versions.check(own, {"python": "3.11", "torch": "2.13.0"}, where="there")


def test_without_a_scheduler():
    refused = pytest.raises(ConnectError, match="no Dask scheduler answers at nowhere")
    with refused, machines("nowhere"):
        pass


def test_tls_as_in_the_configuration_of_dask(tmp_path, tasks, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [*("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
         *("-subj", "/CN=lab", "-keyout", key, "-out", certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    options = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key)
    with running_cluster(tmp_path / "dask", *map(str, options), workers=0) as shared:
        shared.add(**BUILDERS)
        assert shared.address.startswith("tls://")
        with pytest.raises(ConnectError, match="Dask configuration"), machines(shared.address):
            pass
        # The variables of docs/fleet.md, as Dask reads them.
        lines = re.findall(r"^export (DASK_\w+)=(\S+)$", PAGE.read_text(), re.MULTILINE)
        files = {"ca.pem": certificate, "me.pem": certificate, "me-key.pem": key}
        tls = dask.config.collect_env({name: str(files[file]) for name, file in lines})
        with (
            dask.config.set(dask.config.merge(dask.config.config, tls)),
            machines(shared.address) as far,
        ):
            found, _ = results(far, tasks)
    assert len(found) == len(tasks)


def test_light_to_import():
    program = "import sys, shufflenet_deploy.cluster; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
