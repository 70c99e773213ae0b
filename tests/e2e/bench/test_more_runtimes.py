"""ncnn and MNN on a machine behind a real SSH server: provisioned, measured and compared there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import typed

MODEL = "shufflenet-g3-0.25x"


@pytest.mark.timeout(900)  # installs an environment where it is missing
def test_ncnn_and_mnn_are_measured_over_ssh(tmp_path: Path, sshd: Any) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(sshd.config.read_text().replace("Host board", "Host pi"))
    env = {
        **os.environ,
        "SHUFFLENET_DEPLOY_SSH_CONFIG": str(config),
        "SHUFFLENET_DEPLOY_JOURNAL": str(tmp_path / "journal.sqlite"),
        "SHUFFLENET_DEPLOY_ROOT": str(tmp_path / "target"),
        "NO_COLOR": "1",
    }
    words = (
        *("bench", "--host", "pi", "--model", MODEL, "--baseline", "none", "--resolution", "32x32"),
        *("--runtime", "ncnn,mnn", "--processes", "1", "--warmup", "2", "--min-runs", "5"),
        *("--min-secs", "0", "--retries", "0", "--profile", "--json"),
    )
    done = typed(*words, cwd=tmp_path, env=env)
    told = json.loads(done.stdout)
    assert (told["measured"], told["failures"]) == (2, [])
    assert {block["setting"]["runtime"] for block in told["table"]["blocks"]} == {"ncnn", "mnn"}
    # MNN names the nodes that it runs; ncnn's wheel has no profiler, which is said.
    (breakdown,) = told["profile"]["breakdowns"]
    assert breakdown["cell"]["runtime"] == "mnn"
    assert any(layer["name"] == "stage2.1.depthwise" for layer in breakdown["layers"])
    (refused,) = told["profile"]["failures"]
    assert refused["message"] == "ncnn has no profiler that can be reached"
    assert done.returncode == 1
