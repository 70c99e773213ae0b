"""Every runtime in one bench, on a machine behind a real SSH server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from command_line import typed

from shufflenet_deploy import runtime

# ExecuTorch's and OpenVINO's converters are installed where they are missing.
pytestmark = [pytest.mark.onnx2tf, pytest.mark.timeout(1800)]

MODEL = "shufflenet-g3-0.25x"
#: PyPI's wheels are built without its provider.
ABSENT = "onnxruntime-xnnpack"


def test_all_runtimes_are_measured_over_ssh(tmp_path: Path, sshd: Any) -> None:
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
        *("--runtime", "all", "--processes", "1", "--warmup", "2", "--min-runs", "5"),
        *("--min-secs", "0", "--retries", "0", "--profile", "--json"),
    )
    done = typed(*words, cwd=tmp_path, env=env)
    told = json.loads(done.stdout)
    (lacking,) = told["failures"]
    assert (lacking["cell"]["runtime"], lacking["kind"]) == (ABSENT, "runtime-missing")
    assert told["measured"] == len(runtime.names()) - 1
    blocks = {block["setting"]["runtime"] for block in told["table"]["blocks"]}
    assert blocks == set(runtime.names())
    # Each names the nodes that it runs, but those whose wheels have no profiler, which is said.
    layers = {
        one["cell"]["runtime"]: {layer["name"] for layer in one["layers"]}
        for one in told["profile"]["breakdowns"]
    }
    assert "stage2.1.depthwise" in layers["mnn"]
    refused = {one["message"] for one in told["profile"]["failures"]}
    assert "ncnn has no profiler that can be reached" in refused
    assert done.returncode == 0, done.stderr
