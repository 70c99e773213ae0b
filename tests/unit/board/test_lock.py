"""One holder at a time, and no lock file left."""

import multiprocessing
import time

import pytest

from shufflenet_deploy.board.lock import exclusive
from shufflenet_deploy.errors import UsageError


def _add(lock, log, number):
    with exclusive(lock):
        with log.open("a") as stream:
            stream.write(f"in {number}\n")
        time.sleep(0.02)
        with log.open("a") as stream:
            stream.write(f"out {number}\n")


def test_holders_never_overlap(tmp_path):
    lock, log = tmp_path / "state" / ".lock", tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(lock, log, i)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    lines = log.read_text().splitlines()
    assert len(lines) == 16
    for entered, left in zip(lines[::2], lines[1::2], strict=True):
        assert entered.replace("in", "out") == left
    assert not lock.exists()


def test_the_waiting_are_told(tmp_path):
    lock, waited = tmp_path / ".lock", tmp_path / "waited"
    context = multiprocessing.get_context("fork")

    def wait():
        with exclusive(lock, on_wait=waited.touch):
            pass

    with exclusive(lock):
        worker = context.Process(target=wait)
        worker.start()
        deadline = time.monotonic() + 10
        while not waited.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert waited.exists()
        assert worker.is_alive()
    worker.join(10)
    assert worker.exitcode == 0


def test_the_lock_is_given_back_when_the_block_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / ".lock"):
        raise ZeroDivisionError
    with exclusive(tmp_path / ".lock", on_wait=lambda: pytest.fail("still held")):
        pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), exclusive(tmp_path / "file" / ".lock"):
        pass
