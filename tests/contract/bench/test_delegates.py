"""ExecuTorch and OpenVINO over a real sshd: installed, run, profiled; and what delegates take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from agent_on_disk import AGENT, agent

from shufflenet_deploy import runtime
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.export.inspection.contents import inspect
from shufflenet_deploy.records import BenchmarkSpec, Delegation, Failure, FailureKind, Measurement
from shufflenet_deploy.runtime.agent_file import install_agent
from shufflenet_deploy.target import executorch_bridge

FILES = Path(__file__).parents[2] / "data" / "delegates"
ONCE = BenchmarkSpec(
    warmup_runs=1, warmup_secs=0, min_runs=3, min_secs=0, processes=1, timeout_secs=300
)
INFERENCES = 4
#: Both files are the same network with the same weights.
PICTURE = np.linspace(-1, 1, 3 * 16 * 16, dtype=np.float32).reshape(1, 3, 16, 16)


@pytest.fixture
def measured(ssh_target, tmp_path):
    """Runs a file over SSH and profiles it: its report, and the output for one input."""
    np.save(tmp_path / "picture.npy", PICTURE)

    def measure(name):
        chosen = runtime.get(name)
        environment = ssh_target.environment(chosen.payload(ssh_target.facts()))
        places = {
            "python": environment.python,
            "agent": install_agent(ssh_target.install),
            "model": ssh_target.install(FILES / f"tiny.{'pte' if name == 'executorch' else name}"),
            "spec": ONCE,
        }
        env = {**environment.env, **chosen.environment(ONCE)}
        given = ssh_target.install(tmp_path / "picture.npy")
        output = f"{given}.{name}"
        argv = chosen.command(**places, input=given, output=output)
        report = chosen.parse(ssh_target.invoke(argv, env=env, timeout_s=300).text)
        assert isinstance(report.outcome, Measurement), report.outcome
        ssh_target.transport.pull(output, tmp_path / f"{name}.npy")
        script = ssh_target.install(resource("device_scripts", "profile_operators.py"))
        profiling = chosen.profiling(**places, profiler=script, inferences=INFERENCES)
        profiled = chosen.parse(ssh_target.invoke(profiling, env=env, timeout_s=300).text)
        return report, profiled, np.load(tmp_path / f"{name}.npy")

    return measure


def test_two_runtimes_compute_the_same_over_ssh(measured):
    found = {name: measured(name) for name in ("executorch", "openvino")}
    first, second = (output for _, _, output in found.values())
    assert first.std() > 0
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    report, profiled, _ = found["executorch"]
    assert report.runtime_version == "1.5.1"
    assert report.outcome.delegation == Delegation(
        name="XNNPACK", parts=2, taken=5, left={"avg_pool2d.out": 1}
    )
    operators = {one.operator for one in profiled.profile.operators}
    assert "avg_pool2d.out" in operators
    assert any(name.startswith("Convolution") for name in operators)
    assert len(profiled.profile.inference) == INFERENCES
    report, profiled, _ = found["openvino"]
    assert report.runtime_version == "2026.4.1"
    assert report.outcome.delegation.taken >= 5
    assert any(one.operator.startswith("Conv") for one in profiled.profile.operators)


@pytest.mark.parametrize(
    ("name", "version", "layers"),
    [("tiny.pte", "program version 0", 6), ("tiny.openvino", "IR v11", 7)],
)
def test_a_file_tells_what_it_computes(name, version, layers):
    found = inspect(FILES / name)
    assert (found.version, found.precision) == (version, "fp32")
    assert found.inputs[0].shape == (1, 3, 16, 16)
    assert found.outputs[0].shape == (1, 10)
    # A convolution of 8 filters of 3x3x3 on 8x8 places with its biases, and 128 x 10 weights.
    assert found.multiply_adds == 8 * 27 * 64 + 1280 == 15104
    assert found.parameters == 8 * 27 + 8 + 1280 + 10
    assert sum(found.operations.values()) == layers
    if name.endswith("pte"):
        assert found.delegation.text == (
            "XNNPACK took 5 operators in 2 parts and left 1 (1 avg_pool2d.out)"
        )


def test_there_is_no_other_version_for_the_bridge():
    with pytest.raises(Exception, match=r"is for 1\.5\.1: leave the version out"):
        runtime.get("executorch==1.4.0")


def test_the_bridge_is_compiled_for_arm_too(ssh_target):
    facts = ssh_target.facts().model_copy(update={"arch": "aarch64", "libc": "glibc 2.36"})
    make = runtime.get("executorch").payload(facts).companions[executorch_bridge.VARIABLE]
    header = make().read_bytes()[:20]
    assert (header[:4], header[18:20]) == (b"\x7fELF", b"\xb7\x00")


def by_agent(name, model):
    chosen = runtime.get(name)
    argv = chosen.command(python=(sys.executable,), agent=str(AGENT), model=str(model), spec=ONCE)
    return chosen.parse(subprocess.run(argv, capture_output=True, text=True, check=False).stdout)


def test_litert_with_and_without_xnnpack(tiny_tflite):
    delegated = by_agent("litert", tiny_tflite).outcome
    assert delegated.delegation == Delegation(name="XNNPACK", parts=1, taken=1)
    plain = by_agent("litert-no-xnnpack", tiny_tflite).outcome
    assert isinstance(plain, Measurement)
    assert plain.delegation is None


def test_a_wheel_without_the_provider_says_so(tiny_onnx):
    outcome = by_agent("onnxruntime-xnnpack", tiny_onnx).outcome
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.RUNTIME_MISSING
    assert "built without the XNNPACK provider: it has" in outcome.message
    assert "CPUExecutionProvider" in outcome.message


def test_operators_that_no_delegate_reaches_are_left():
    operators = [
        {"op_name": "CONV_2D", "inputs": [0, 9], "outputs": [1]},
        {"op_name": "GATHER_ND", "inputs": [1], "outputs": [2]},
        {"op_name": "ADD", "inputs": [2, 1], "outputs": [3]},
        {"op_name": "DELEGATE", "inputs": [0, 9], "outputs": [1]},
        {"op_name": "DELEGATE", "inputs": [2, 1], "outputs": [3]},
    ]
    tell = sys.modules[agent.ENGINES["litert"].__module__].delegation
    assert tell(operators) == {
        "name": "XNNPACK", "parts": 2, "taken": 2, "left": {"GATHER_ND": 1},
    }  # fmt: skip
    tell = sys.modules[agent.ENGINES["onnxruntime-xnnpack"].__module__].delegation
    parts = [("XnnpackExecutionProvider", ["Conv", "Relu"]), ("CPUExecutionProvider", ["Loop"])]
    assert tell(parts) == {"name": "XNNPACK", "parts": 1, "taken": 2, "left": {"Loop": 1}}


def test_a_footnote_names_what_was_left():
    left = Delegation(name="XNNPACK", parts=1, taken=9, left={"Loop": 2, "If": 1})
    assert left.text == "XNNPACK took 9 operators and left 3 (2 Loop, 1 If)"
    assert left.model_copy(update={"left": {}}).text == "XNNPACK took 9 operators and left none"
