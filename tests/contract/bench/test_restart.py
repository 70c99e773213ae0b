"""A target that goes away in the middle and comes back: what is done on it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading

import pytest

import shufflenet_deploy.bench as bench
from shufflenet_deploy import transport
from shufflenet_deploy.bench.target_session import TargetSession
from shufflenet_deploy.target import Target


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_a_server_that_restarts(sshd_with, tmp_path, client):
    server = sshd_with()
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None
    again: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        config = str(server.folder / "sshd_config")
        again.append(subprocess.Popen([program, "-D", "-f", config], stderr=subprocess.DEVNULL))

    told: list[bench.Event] = []
    fields = {"models": ["shufflenet-g3-0.25x"], "resolutions": ["32x32"], "retries": 1}
    wanted = bench.Suite.of(fields, source="test")
    try:
        with (
            transport.connect(server.settings, ssh_client=client) as link,
            Target(link, root=str(tmp_path / "target")) as target,
            TargetSession(
                wanted,
                target,
                emit=told.append,
                patience=bench.Patience(),
                sleep=threading.Event().wait,
            ) as hold,
        ):
            # The session leader's parent is the sshd of this connection.
            up = "set -- ${l##*) }; "
            ask = f"read -r l </proc/$$/stat; {up} read -r l </proc/$4/stat; {up} echo $2"
            connection = int(link.run(["sh", "-c", ask]).text)
            server.process.terminate()
            server.process.wait()
            os.kill(connection, signal.SIGKILL)
            restart = threading.Timer(1.6, start)
            restart.start()
            result = hold.invoke("greeting", ["echo", "hello again"], timeout_s=20)
            restart.join()
        assert result.text == "hello again\n"
        assert any(isinstance(event, bench.Away) for event in told)
    finally:
        for process in again:
            process.terminate()
            process.wait()
