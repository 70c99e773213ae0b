"""Tasks in this process, and as a worker does them, whose folder and address are given."""

from __future__ import annotations

from pathlib import Path

import cluster_work
import pytest

from shufflenet_deploy.cluster import Folder, Here, Task, machines, tasks, versions
from shufflenet_deploy.errors import ExportError, UsageError, WorkersError, WorkerVersionsError


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Makes this process a worker of a cluster."""
    place = tmp_path / "worker"
    place.mkdir()
    monkeypatch.setattr(tasks, "_scratch", lambda: place)
    monkeypatch.setattr(tasks, "_address", lambda: "tcp://worker")
    return place


@pytest.fixture
def task(tmp_path):
    images = tmp_path / "images"
    (images / "a").mkdir(parents=True)
    (images / "a" / "1.jpg").write_text("one")
    (images / "passed-over.txt").write_text("not sent")
    program = tmp_path / "program"
    program.write_text("#!")
    program.chmod(0o755)
    (tmp_path / "own").write_text("own")
    shared = {"program": program, "images": Folder(images, (images / "a" / "1.jpg",))}
    return Task(argument="it", files=shared, once={"own": tmp_path / "own"})


def ordered(task, function=cluster_work.hashed, **changes):
    read = {name: tasks.read(path) for name, path in task.listing()}
    fields = {
        "function": function,
        "argument": task.argument,
        "keys": tuple(task.files),
        "shared": {name: stamp for name, (stamp, _) in read.items()},
        "once": {key: tasks.read(path) for key, path in task.once.items()},
        "expected": versions.own(),
    }
    contents = {stamp.sha256: content for stamp, content in read.values()}
    return tasks.Order(**(fields | changes)), contents


def test_a_worker_finds_what_was_sent_and_nothing_else(worker, task):
    (here,) = Here().run(cluster_work.hashed, [task])
    value, stages = tasks.perform(*ordered(task))
    assert stages == ["hashing it"]
    assert value[2]["own"] == here.value[2]["own"]
    assert value[2]["program"] == here.value[2]["program"]
    assert set(value[2]["images"]) < set(here.value[2]["images"])
    (program,) = worker.glob("tasks/*/program")
    assert program.stat().st_mode & 0o111
    # What one task alone needs is gone; the rest is there for the next, once.
    tasks.perform(*ordered(task))
    assert len([*worker.glob("files/*")]) == 2
    assert {path.name for path in worker.iterdir()} == {"files", "tasks"}


def test_what_arrives_damaged_is_refused(worker, task):
    order, contents = ordered(task)
    with pytest.raises(WorkersError, match=r"damaged at tcp://worker"):
        tasks.perform(order, dict.fromkeys(contents, b"other"))
    assert not [*worker.glob("files/*")]


def test_other_versions_are_refused_before_anything_is_written(worker, task):
    order, contents = ordered(task, expected={**versions.own(), "torch": "0.1"})
    with pytest.raises(WorkerVersionsError, match=r"tcp://worker has torch .* \(here 0\.1\)"):
        tasks.perform(order, contents)
    assert not [*worker.iterdir()]


def test_errors_here():
    with machines() as here:
        (done,) = here.run(cluster_work.failing, [Task(argument="file")])
    assert isinstance(done.error, ExportError)
    with pytest.raises(UsageError, match="cannot read"):
        tasks.read(Path("absent"))
