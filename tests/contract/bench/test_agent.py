"""The program that runs on the device, run here with real runtimes."""

from __future__ import annotations

import ast
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from agent_on_disk import AGENT
from agent_on_disk import agent as package

QUICK = ("--warmup-secs", "0.02", "--warmup-max-secs", "0.1", "--min-secs", "0.02")


def agent(*options, timeout_s=60, **kwargs):
    """Run the agent; its JSON object and the finished process."""
    result = subprocess.run(
        [sys.executable, str(AGENT), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        **kwargs,
    )
    assert result.stdout.count("\n") == 1, result.stderr
    return json.loads(result.stdout), result


def measure(name, model, *options, **kwargs):
    log, result = agent("--runtime", name, "--model", model, *QUICK, *options, **kwargs)
    assert result.returncode == 0, log.get("error")
    return log


def failure(*options, **kwargs):
    log, result = agent(*options, **kwargs)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout
    assert "\n" not in log["error"]["message"]
    return log["error"]["kind"], log["error"]["message"]


def test_it_is_written_for_old_pythons():
    with zipfile.ZipFile(AGENT) as archive:
        sources = [archive.read(name) for name in archive.namelist()]
    trees = [ast.parse(source, feature_version=(3, 7)) for source in sources]
    roots = {
        name.split(".")[0]
        for tree in trees
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom) and node.level == 0
            else []
        )
    }
    runtimes = {"numpy", "onnxruntime", "ai_edge_litert", "tflite_runtime", "pkg_resources"}
    assert roots - runtimes - {"agent"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("name", ["onnxruntime", "litert"])
def test_a_measurement_says_everything(name, tiny_onnx, tiny_tflite):
    log = measure(name, tiny_onnx if name == "onnxruntime" else tiny_tflite, "--min-runs", 40)
    assert len(log["samples_ns"]) >= 40
    assert sum(log["samples_ns"]) >= 0.02e9 * 0.5
    assert min(log["samples_ns"] + log["warmup_ns"]) > 0
    assert log["first_ns"] > 0 < log["load_ns"]
    assert log["peak_rss_bytes"] > log["idle_rss_bytes"] > 1e6
    assert log["outputs_repeat"] is True
    assert log["runtime"]["version"]
    assert log["clock"]["resolution_ns"] >= 1
    assert set(log["conditions"]) == {"start", "before", "after"}
    assert log["conditions"]["before"]["memory_available_bytes"] > 1e6
    assert log["cpus"] == sorted(os.sched_getaffinity(0))
    details = log["runtime"]["details"]
    assert details["xnnpack"] if name == "litert" else details["providers"]


def test_sampling_stops_at_its_limit(tiny_onnx):
    began = time.monotonic()
    log = measure(
        *("onnxruntime", tiny_onnx, "--min-runs", 10**9, "--min-secs", "0", "--max-secs", "0.2")
    )
    assert time.monotonic() - began < 20
    assert sum(log["samples_ns"][:-1]) <= 0.2e9
    assert sum(log["samples_ns"]) > 0.02e9


def test_both_minimums_are_met(tiny_onnx):
    by_time = measure("onnxruntime", tiny_onnx, "--min-runs", 1, "--min-secs", "0.3")
    assert by_time["sampling"]["wall_ns"] > 0.3e9
    assert by_time["sampling"]["others_busy_cores"] is None or (
        by_time["sampling"]["others_busy_cores"] >= 0
    )
    by_count = measure("onnxruntime", tiny_onnx, "--min-runs", 3, "--min-secs", "0")
    assert len(by_count["samples_ns"]) == 3


def test_the_warm_up_ends_when_windows_agree_or_at_its_limit(tiny_onnx):
    none = ("--warmup-secs", "0", "--warmup-max-secs", "0", "--warmup-runs", "7")
    log = measure("onnxruntime", tiny_onnx, *none)
    # One more inference settles the caches after the conditions were read.
    assert (log["warmup_ended"], len(log["warmup_ns"])) == ("minimum", 8)
    log = measure("onnxruntime", tiny_onnx, "--warmup-secs", "0.05", "--warmup-max-secs", "5")
    assert log["warmup_ended"] in {"agreed", "limit"}


def test_windows_agree_only_on_steady_samples():
    windows_agree = package.sampling.windows_agree
    assert windows_agree([900, 700, *([500] * 20)])
    assert not windows_agree([1000 - 20 * index for index in range(24)])


def test_one_thread_and_one_core_are_respected(tiny_onnx):
    core = min(os.sched_getaffinity(0))
    log = measure("onnxruntime", tiny_onnx, "--cpus", core, "--threads", 2)
    assert log["cpus"] == [core]
    assert log["runtime"]["details"]["intra_op_threads"] == log["threads"] == 2


def test_the_logits_are_those_of_the_model(tiny_tflite, reference_logits, tmp_path):
    values = np.random.RandomState(3).uniform(-1, 1, (1, 64)).astype(np.float32)
    np.save(tmp_path / "in.npy", values)
    files = ("--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    measure("litert", tiny_tflite, *files)
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npy"), reference_logits(values), rtol=1e-5, atol=1e-5
    )
    assert not list(tmp_path.glob("*.partial"))


def test_real_values_are_quantised_for_a_full_integer_model(
    tiny_tflite_int8, reference_logits, tmp_path
):
    values = np.random.RandomState(3).uniform(-1, 1, (1, 64)).astype(np.float32)
    np.save(tmp_path / "in.npy", values)
    files = ("--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    log = measure("litert", tiny_tflite_int8, *files)
    logits = np.load(tmp_path / "out.npy")
    assert logits.dtype == np.int8
    (output,) = log["model"]["outputs"]
    real = (logits.astype(np.float32) - output["zero_point"]) * output["scale"]
    np.testing.assert_allclose(real, reference_logits(values), atol=output["scale"])


def test_the_seed_decides_the_data(tiny_onnx, tmp_path):
    outputs = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.npy"
        measure("onnxruntime", tiny_onnx, "--seed", seed, "--output", path)
        outputs.append(np.load(path))
    assert (outputs[0] == outputs[1]).all()
    assert (outputs[0] != outputs[2]).any()


def test_the_list_tells_what_is_here():
    log, result = agent("--list")
    assert result.returncode == 0
    found = {entry["name"]: entry for entry in log["runtimes"]}
    assert found["onnxruntime"]["available"]
    assert found["litert"]["available"]
    assert set(found) == {"onnxruntime", "litert", "tflite-runtime"}


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--runtime", "onnxruntime"),
        ("--runtime", "nothing", "--model", "m"),
        ("--runtime", "litert", "--model", "m", "--threads", "0"),
        ("--runtime", "litert", "--model", "m", "--cpus", "a"),
        ("--surprise",),
    ],
)
def test_wrong_options_are_json_too(options):
    assert failure(*options)[0] == "usage"


def test_cores_that_do_not_exist_are_told(tiny_onnx):
    kind, message = failure("--runtime", "onnxruntime", "--model", tiny_onnx, "--cpus", "4000")
    assert kind == "usage"
    assert "4000" in message


def test_files_that_are_no_models(tiny_onnx, tiny_tflite, tmp_path):
    text = tmp_path / "text"
    text.write_text("not a model\n" * 20)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_onnx.read_bytes()[:700])
    for name, path in (
        ("onnxruntime", text),
        ("onnxruntime", cut),
        ("litert", text),
        ("litert", tiny_onnx),
        ("onnxruntime", tiny_tflite),
    ):
        kind, message = failure("--runtime", name, "--model", path)
        assert kind == "model-corrupt", message
        assert path.name in message
    assert failure("--runtime", "litert", "--model", tmp_path)[0] == "model-missing"


def test_an_operator_the_runtime_does_not_have(onnx_writer, tmp_path):
    model = onnx_writer(tmp_path / "odd.onnx", op="Frobnicate")
    kind, message = failure("--runtime", "onnxruntime", "--model", model)
    assert kind == "unsupported"
    assert "Frobnicate" in message


def test_a_runtime_that_is_not_there(tiny_tflite):
    kind, message = failure("--runtime", "tflite-runtime", "--model", tiny_tflite)
    assert kind == "runtime-missing"
    assert "tflite" in message


def test_numpy_that_is_not_there(tiny_onnx, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    options = ("--runtime", "onnxruntime", "--model", tiny_onnx)
    assert failure(*options, env=env) == ("runtime-missing", "no numpy here")


def test_memory_that_runs_out(onnx_writer, tmp_path):
    model = onnx_writer(tmp_path / "large.onnx", size=16384)

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    options = ("--runtime", "onnxruntime", "--model", model)
    assert failure(*options, preexec_fn=limit)[0] == "out-of-memory"


def test_input_of_the_wrong_shape_or_kind(tiny_onnx, tmp_path):
    options = ("--runtime", "onnxruntime", "--model", tiny_onnx, "--input")
    np.save(tmp_path / "wrong.npy", np.zeros((1, 3, 8, 8), np.float32))
    kind, message = failure(*options, tmp_path / "wrong.npy")
    assert kind == "usage"
    assert "[1, 3, 8, 8]" in message
    (tmp_path / "text.npy").write_text("hello")
    assert failure(*options, tmp_path / "text.npy")[0] == "usage"
    assert failure(*options, tmp_path / "absent.npy")[0] == "usage"


def test_output_that_cannot_be_written(tiny_onnx):
    options = ("--runtime", "onnxruntime", "--model", tiny_onnx, *QUICK)
    kind, message = failure(*options, "--output", "/proc/nowhere/out.npy")
    assert kind == "usage"
    assert "/proc/nowhere/out.npy" in message


def test_chatter_of_libraries_does_not_reach_standard_output(tiny_onnx, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os\n"
        "import onnxruntime\n"
        "made = onnxruntime.InferenceSession.__init__\n"
        "def loud(self, *args, **kwargs):\n"
        "    print('loading!')\n"
        "    os.write(1, b'from C\\n')\n"
        "    os.system('echo from a child')\n"
        "    made(self, *args, **kwargs)\n"
        "onnxruntime.InferenceSession.__init__ = loud\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    log, result = agent(
        "--runtime", "onnxruntime", "--model", tiny_onnx, *QUICK, "--min-runs", 3, env=env
    )
    assert log["samples_ns"]
    for line in ("loading!", "from C", "from a child"):
        assert line in result.stderr


def test_a_termination_is_reported(tiny_onnx):
    options = ("--runtime", "onnxruntime", "--model", str(tiny_onnx), "--min-secs", "60")
    with subprocess.Popen(
        [sys.executable, str(AGENT), *options, "--max-secs", "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        time.sleep(2.0)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert json.loads(out)["error"]["kind"] == "terminated"


def test_no_runtime_reports_to_its_makers_or_writes_into_the_home(tiny_onnx, tmp_path):
    """onnxruntime does both where neither CI nor its own variable says otherwise."""
    quiet = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    measure("onnxruntime", tiny_onnx, env={**env, "HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
