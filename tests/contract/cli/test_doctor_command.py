"""``doctor`` as it is typed, over every kind of link, and on a machine whose cores are ours."""

from __future__ import annotations

import json
import os

import pytest
from command_line import typed
from fake_sysfs import Cpus


@pytest.fixture
def doctor(tmp_path):
    def run(*words: str, env: dict[str, str] | None = None):
        own = {
            "SHUFFLENET_DEPLOY_ROOT": str(tmp_path / "ours"),
            "SHUFFLENET_DEPLOY_STATE": str(tmp_path / "state"),
            "COLUMNS": "100",
        }
        return typed("doctor", *words, cwd=tmp_path, env={**own, **(env or {})})

    return run


def checks_of(done) -> dict[str, dict]:
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads(done.stdout)
    assert report["fit"] is (done.returncode == 0)
    assert report["fit"] is not any(check["status"] == "fail" for check in report["checks"])
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.parametrize("kind", ["local", "ssh", "adb"])
def test_every_link(doctor, kind, sshd, phone, tmp_path):
    host = {"local": "local", "ssh": "pi"}.get(kind) or f"adb:{phone()}"
    done = doctor("--host", host, "--json", "-r", "litert", env=sshd.env)
    checks = checks_of(done)
    assert {"machine", "governor", "temperature", "power", "load", "memory", "swap", "disk",
            "clock", "python", "litert"} <= set(checks)  # fmt: skip
    assert checks["cores"]["value"].startswith(str(os.cpu_count()))
    assert "cores busy" in checks["load"]["value"]
    assert "steps of" in checks["clock"]["value"]
    assert checks["litert"]["status"] == "ok"
    assert not (tmp_path / "ours").exists()


def test_a_problem_is_reported_with_the_next_command(doctor, sshd_with, tmp_path, tools):
    cpus = Cpus.make(tmp_path / "cpu", 1_800_000, 1_800_000, governor="powersave")
    cpus.set("scaling_max_freq", 900_000, core=1)
    firmware = tools(vcgencmd="echo throttled=0x50005")
    pi = sshd_with(f"SetEnv PATH={firmware}:/usr/bin:/bin", inside=cpus.inside())
    done = doctor("--host", "pi", "--json", "-r", "litert", env=pi.env)
    assert done.returncode == 1
    checks = checks_of(done)
    assert checks["governor"]["status"] == "fail"
    assert checks["governor"]["remedy"].endswith("bench --host pi --governor performance")
    assert "core 1 may reach 900 of 1800 MHz" in checks["frequency limit"]["value"]
    assert checks["power"]["value"] == "0x50005: under-voltage, throttled"
    shown = doctor("--host", "pi", "-r", "litert", env=pi.env)
    assert "try: shufflenet-deploy bench --host pi --governor performance" in shown.stdout
    assert "pi: not fit to be measured" in shown.stdout


def test_a_host_that_is_not_there(doctor):
    done = doctor("--host", "nobody@127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_what_a_build_lacks_is_told(doctor, tmp_path):
    plain = checks_of(doctor("--json", "-r", "onnxruntime,onnxruntime-xnnpack"))
    assert plain["onnxruntime"]["status"] == "ok"
    lacking = plain["onnxruntime-xnnpack"]
    assert (lacking["status"], lacking["value"]) == ("warn", "cannot be had")
    assert "built without the XNNPACK provider: it has" in lacking["why"]
    assert "CPUExecutionProvider" in lacking["why"]
    assert "--use_xnnpack" in lacking["remedy"]
    # A module of the same name stands in for a build that has the provider.
    build = 'def get_available_providers():\n    return ["XnnpackExecutionProvider"]\n'
    (tmp_path / "onnxruntime.py").write_text(build)
    having = doctor("--json", "-r", "onnxruntime-xnnpack", env={"PYTHONPATH": str(tmp_path)})
    assert checks_of(having)["onnxruntime-xnnpack"]["status"] == "ok"


def test_what_every_wheel_lacks_is_told_before_one_is_installed(doctor, sshd):
    done = doctor("--host", "pi", "--json", "-r", "onnxruntime-xnnpack", env=sshd.env)
    lacking = checks_of(done)["onnxruntime-xnnpack"]
    assert lacking["status"] == "fail"
    assert lacking["why"].startswith("PyPI's wheels of onnxruntime are built without")


def test_an_unknown_runtime_is_the_user_s_mistake(doctor):
    assert doctor("-r", "torch").returncode == 2
