"""Every program that measures on a target, run here, prints what ``protocol.json`` states."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
from agent_on_disk import AGENT, agent

import shufflenet_deploy
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.runtime import agent_log, sustained
from shufflenet_deploy.runtime.agent_log import SensorFields
from shufflenet_deploy.target import plausibility

SCRIPTS = resource("device_scripts")
PROTOCOL = json.loads((SCRIPTS / "protocol.json").read_text())
HARNESS = Path(shufflenet_deploy.__file__).parent / "codegen" / "harness"
QUICK = ("--warmup-secs", "0", "--min-secs", "0", "--min-runs", "3")

READINGS = (41300, 32, -274000, 0, 200, 201, 199_999, 200_000, 125_000, -49, -50_000, 999)
FREQUENCIES = (1_800_000, 0, 999, 1000, 20_000_000, 20_000_001)

# A network of one layer, in place of a generated one.
NET_H = r"""
#define NET_NAME "stub"
#define NET_MACHINE "any machine"
#define NET_INPUT_SHAPE 1, 3, 2, 2
#define NET_OUTPUT_SHAPE 1, 4
#define NET_MOST_PARTS 1
static const unsigned net_input_floats = 12, net_output_floats = 4, net_layer_count = 1;
static const struct net_layer { const char *name, *step; } net_layers[] = {{"sum", "Add"}};
static void (*net_probe)(int layer);
static int net_init(const void *weights) { (void)weights; return 0; }
static void net_run(const float *input, float *output)
{
    for (int i = 0; i < 4; ++i)
        output[i] = input[i] + input[i + 4] + input[i + 8];
    if (net_probe)
        net_probe(0);
}
"""

POOL_C = r"""
#include "thread_pool.h"
int pool_start(int threads) { return threads; }
void pool_run(const float *input, float *output, void (*done)(int layer)) {
    (void)input; (void)output; (void)done;
}
void pool_run_by_turns(int parts, const float *input, float *output) {
    (void)parts; (void)input; (void)output;
}
void pool_end(void) {}
"""

# Reads everything below /sys from a folder.
REDIRECT_H = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static inline const char *redirected(const char *path)
{
    static char other[1024];
    const char *root = getenv("FAKE_ROOT");
    if (!root || strncmp(path, "/sys/", 5) != 0)
        return path;
    snprintf(other, sizeof other, "%s%s", root, path);
    return other;
}
#define open(path, ...) open(redirected(path), __VA_ARGS__)
#define access(path, mode) access(redirected(path), mode)
#define opendir(path) opendir(redirected(path))
"""


def check(log, kind):
    schema = {**PROTOCOL, "anyOf": [{"$ref": f"#/$defs/{kind}"}]}
    jsonschema.Draft202012Validator(schema).validate(log)
    return log


def run(*argv, status=0, **kwargs):
    result = subprocess.run(
        [str(word) for word in argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )
    assert result.returncode == status, result.stderr
    return json.loads(result.stdout)


def script(name, *options, **kwargs):
    return run(sys.executable, SCRIPTS / name, *options, **kwargs)


def measuring(*options, **kwargs):
    return run(sys.executable, AGENT, *options, **kwargs)


@pytest.fixture(scope="module")
def sysfs(tmp_path_factory):
    """A tree of sensors: thermal zones, cores, and a battery; some of them broken."""
    root = tmp_path_factory.mktemp("root")

    def write(path, value):
        file = root / "sys" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")

    for number, reading in enumerate(READINGS):
        write(f"class/thermal/thermal_zone{number}/temp", reading)
        write(f"class/thermal/thermal_zone{number}/type", f"zone{number}")
    for number, khz in enumerate(FREQUENCIES):
        write(f"devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq", khz)
        write(f"devices/system/cpu/cpu{number}/cpufreq/scaling_governor", "ondemand")
    for name, value in {"type": "Battery", "capacity": 81, "status": "Full", "temp": 301}.items():
        write(f"class/power_supply/bat/{name}", value)
    return root


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    """The native harness around the one-layer network."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("harness")
    for name, text in {"net.h": NET_H, "pool.c": POOL_C, "redirect.h": REDIRECT_H}.items():
        (folder / name).write_text(text)
    program = folder / "stub.native"
    sources = (HARNESS / "main.c", folder / "pool.c")
    flags = ("-O1", "-w", "-include", folder / "redirect.h", "-I", folder, "-I", HARNESS)
    subprocess.run([compiler, *flags, *sources, "-lm", "-o", program], check=True)
    return program


@pytest.mark.parametrize("name", ["onnxruntime", "litert"])
def test_a_profile_of_a_real_runtime(name, tiny_onnx, tiny_tflite):
    model = tiny_onnx if name == "onnxruntime" else tiny_tflite
    words = (AGENT, "--runtime", name, "--model", model, *QUICK)
    log = script("profile_operators.py", "--runs", 2, *words)
    assert check(log, "measurement")["profile"]["operators"]


def test_a_measurement_of_a_quantized_model(tiny_tflite_int8):
    log = measuring("--runtime", "litert", "--model", tiny_tflite_int8, *QUICK)
    check(log, "measurement")


def test_a_list_and_a_failure(tmp_path):
    check(measuring("--list"), "listing")
    missing = ("--runtime", "onnxruntime", "--model", tmp_path / "none.onnx")
    check(measuring(*missing, status=1), "failure")
    log = script("sustained.py", "--agent", AGENT, *missing, status=1)
    assert sustained.parse(json.dumps(check(log, "sustained_failure")), models=1)


def test_models_that_take_turns(tiny_onnx):
    model = ("--runtime", "onnxruntime", "--model", tiny_onnx, "--also", tiny_onnx)
    secs = ("--secs", "0.02", "--slice-secs", "0.005")
    log = script("sustained.py", "--agent", AGENT, *secs, *model)
    assert sustained.parse(json.dumps(check(log, "sustained")), models=2).slices


def test_the_native_harness(harness, sysfs):
    env = {"FAKE_ROOT": str(sysfs)}
    log = check(run(harness, *QUICK, "--profile", 2, env=env), "measurement")
    report = agent_log.parse_log(json.dumps(log))
    assert report.outcome.samples
    assert report.before.battery_percent == 81
    assert report.before.temperature_c["battery"] == 30.1
    check(run(harness, "--list", env=env), "listing")
    check(run(harness, "--threads", 0, status=1), "failure")


def background(program, *words):
    """A measurement beside two busy processes; none of them is left."""
    spec = (*QUICK, "--min-secs", "0.3", "--background-load", 2, *words)
    log = check(run(*program, *spec), "measurement")
    sampling = log["sampling"]
    assert sampling["background_processes"] == 2
    assert 0.1 < sampling["background_busy_cores"] <= 2.1
    told = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in told if str(program[0]) in line and "background" in line]
    return agent_log.parse_log(json.dumps(log))


def test_agent_and_harness_measure_beside_busy_processes(harness, tiny_onnx):
    assert background((harness,)).outcome.background_busy_cores > 0.1
    words = ("--runtime", "onnxruntime", "--model", tiny_onnx)
    assert background((sys.executable, AGENT), *words).outcome.background_busy_cores > 0.1


def test_busy_processes_end_with_the_one_that_measures_however_it_ends(harness, tiny_onnx):
    words = ("--runtime", "onnxruntime", "--model", tiny_onnx)
    for program in ((harness,), (sys.executable, AGENT, *words)):
        for number in (signal.SIGTERM, signal.SIGKILL):
            argv = [*map(str, program), "--min-secs", "60", "--background-load", "2"]
            with subprocess.Popen(
                argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            ) as one:
                children = Path(f"/proc/{one.pid}/task/{one.pid}/children")
                busy = wait_for(lambda file=children: file.read_text().split(), 2)
                one.send_signal(number)
            places = [Path("/proc", pid, "stat") for pid in busy]
            wait_for(lambda files=places: [file for file in files if is_running(file)], 0)


def wait_for(found, count):
    deadline = time.monotonic() + 30
    while len(found()) != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found()


def is_running(stat):
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def paced(program, *words):
    """Twenty arrivals at 100 per second."""
    spec = ("--warmup-secs", "0", "--min-secs", "0", "--min-runs", "20", "--rate", "100", *words)
    log = check(run(*program, *spec), "measurement")
    pace, sampling = log["pace"], log["sampling"]
    assert pace["rate_hz"] == 100
    assert len(pace["latency_ns"]) == len(log["samples_ns"]) == 20
    # The latency is from an arrival, and holds the call; arrivals come at their times, not earlier.
    pairs = zip(pace["latency_ns"], log["samples_ns"], strict=True)
    assert all(latency >= call for latency, call in pairs)
    assert sampling["ended_ns"] - sampling["began_ns"] >= 20 * 10_000_000
    assert sampling["ended_ns"] - sampling["began_ns"] <= sampling["wall_ns"]
    assert agent_log.parse_log(json.dumps(log)).latency == tuple(pace["latency_ns"])


def test_agent_and_harness_infer_at_a_rate(harness, tiny_onnx):
    paced((harness,))
    paced((sys.executable, AGENT), "--runtime", "onnxruntime", "--model", tiny_onnx)


def test_a_rate_above_what_the_model_can_do_queues_every_image(harness, tiny_onnx):
    words = ("--runtime", "onnxruntime", "--model", tiny_onnx, *QUICK, "--min-runs", 50)
    for program in ((harness, *QUICK, "--min-runs", 50), (sys.executable, AGENT, *words)):
        log = run(*program, "--rate", "1e6")
        latencies, calls = log["pace"]["latency_ns"], log["samples_ns"]
        # Each waits for all that came before it, of which a microsecond apart is one period.
        assert latencies[-1] >= sum(calls) - 50 * 1000


def test_a_wrong_rate_is_a_failure(harness):
    check(run(harness, "--rate", "0", status=1), "failure")
    words = ("--runtime", "onnxruntime", "--model", "x", "--rate", "nan")
    check(run(sys.executable, AGENT, *words, status=1), "failure")


def agent_conditions(root, monkeypatch):
    module = agent.sensors
    read, glob = module.read_text, module.glob.glob
    monkeypatch.setattr(module, "read_text", lambda path: read(placed(root, path)))
    monkeypatch.setattr(
        module.glob,
        "glob",
        lambda pattern: [one.removeprefix(str(root)) for one in glob(placed(root, pattern))],
    )
    return agent.conditions()


def placed(root, path):
    return f"{root}{path}" if path.startswith("/sys/") else path


def test_agent_and_harness_read_sensors_alike(harness, sysfs, monkeypatch):
    by_agent = agent_conditions(sysfs, monkeypatch)
    by_harness = run(harness, "--list", env={"FAKE_ROOT": str(sysfs)})["conditions"]
    check({**run(harness, "--list"), "conditions": by_agent}, "listing")
    temperatures = {
        f"zone{number}": celsius
        for number, reading in enumerate(READINGS)
        if (celsius := plausibility.celsius(reading)) is not None
    }
    frequencies = {
        str(number): khz for number, khz in enumerate(FREQUENCIES) if plausibility.is_frequency(khz)
    }
    assert len(temperatures) == 7
    assert len(frequencies) == 3
    assert by_agent["temperature_c"] == pytest.approx(temperatures)
    assert by_agent["frequency_khz"] == frequencies
    assert by_agent["battery"] == by_harness["battery"]
    assert by_agent["governors"] == by_harness["governors"]
    # The harness reports what the kernel does; the host drops the rest of its readings.
    fields = {name: by_harness[name] for name in SensorFields.model_fields}
    sensors = SensorFields.model_validate(fields)
    assert sensors.plausible_c == pytest.approx(temperatures)
    assert sensors.plausible_khz == frequencies
