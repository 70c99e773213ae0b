"""Several threads: the same bits as one's, nothing that two of them touch at once, anywhere."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from shufflenet_deploy import codegen, runtime, zoo
from shufflenet_deploy.codegen.toolchain import HARNESS_SOURCES, copy_harness
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import BenchmarkSpec, Measurement, Resolution

#: What threads of a C library are watched by, and what its memory is.
WATCHED = {
    "races": ("-O1", "-fsanitize=thread"),
    "memory": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
}
COUNTS = (2, 3, 4, 7)
#: As many as an emulator has cores for: more wait for one another, and take minutes.
FEW = (2,)


@pytest.fixture(autouse=True)
def _gcc() -> None:
    torch.set_num_threads(1)
    if shutil.which("gcc") is None:
        pytest.fail("these tests compile generated C: apt-get install gcc libc6-dev")


def written(graph, machine, precision):
    ranges, core = None, codegen.cpu_target_named(machine)
    if precision == "fp16":
        core = core.with_fp16()
    if precision == "int8":
        random = np.random.default_rng(1)
        shape = (1, *graph.shapes[graph.input])
        pictures = [random.standard_normal(shape).astype(np.float32) for _ in range(2)]
        ranges = calibration.calibrate(graph, pictures)
    return codegen.generate(graph, core, ranges)


def parts_of(library, stages, count, *, backwards, picture, answer):
    """All stages, each of whose parts are done one after the other, by one thread."""
    parts = range(count)
    for stage in range(stages):
        for part in reversed(parts) if backwards else parts:
            library.net_run_part(stage, part, count, picture.ctypes.data, answer.ctypes.data)


def assert_the_same_for_any_number(source, folder):
    """In whatever order the parts of a stage are done; memory is poisoned before each inference."""
    options = ("-DNET_POISON",)
    path = codegen.compile_c(
        source, folder / "net.so", compiler=codegen.Compiler.GCC, options=options
    )
    library = ctypes.CDLL(str(path))
    library.net_run.argtypes = [ctypes.c_void_p] * 2
    library.net_run_part.argtypes = [ctypes.c_int] * 3 + [ctypes.c_void_p] * 2
    library.net_init.argtypes = [ctypes.c_void_p]
    stages = int(re.search(r"#define NET_STAGES (\d+)", source.header)[1])
    picture = np.random.default_rng(7).standard_normal(source.input_shape).astype(np.float32)
    expected, found = (np.empty(source.output_shape, np.float32) for _ in range(2))
    assert library.net_init(None) == 0
    library.net_run(picture.ctypes.data, expected.ctypes.data)
    assert np.isfinite(expected).all()
    for count in (1, *COUNTS, 64):
        for backwards in (False, True):
            found.fill(np.nan)
            assert library.net_init(None) == 0
            parts_of(library, stages, count, backwards=backwards, picture=picture, answer=found)
            assert found.tobytes() == expected.tobytes(), (count, backwards)


@pytest.mark.parametrize(
    ("name", "resolution", "precisions"),
    [
        ("shufflenet-g3-0.5x", "93x61", "fp32 int8"),
        ("shufflenet-g8-0.25x", "97x65", "fp32 int8"),
        ("shufflenet-g3-0.25x-se", "64x64", "fp32 int8"),
        ("mobilenet-0.25", "96x64", "fp32 int8"),
        ("squeezenet-1.1", "75x91", "fp32 int8"),
        ("alexnet", "67x67", "int8"),
    ],
)
def test_networks_of_the_zoo(name, resolution, precisions, tmp_path):
    graph = trace(zoo.load(name).module, Resolution.parse(resolution), name)
    for precision in precisions.split():
        folder = tmp_path / precision  # a library's path is its name to the loader
        assert_the_same_for_any_number(written(graph, "host", precision), folder)


@pytest.mark.parametrize("seed", range(30, 42))
def test_random_networks(seed, drawn, tmp_path):
    machine = ("x86-64", "x86-64-v3", "host")[seed % 3]
    assert_the_same_for_any_number(written(drawn(seed), machine, "fp32"), tmp_path)


def units(drawing):
    """Layers of all kinds that are worth sharing, on an odd picture."""
    d = drawing(3, 93, 77, seed=5)
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    x = d.unit(x, 240, 3, stride=2, first_groups=1)
    x = d.unit(d.unit(x, 240, 3), 480, 3, stride=2)
    x = d.unit(x, 480, 3)
    x = d.conv(x, 64, (3, 3), (1, 1), (1, 1, 1, 1), act="relu")
    x = d.conv(x, 96, (1, 1), (2, 2), act="relu6")
    x = d.dense(d.flatten(x), 300, "relu")
    return d.done(d.dense(x, 110), "units")


def floats_only(drawing):
    """Layers that exist in floating point only, large enough to share."""
    d = drawing(3, 61, 83, seed=6)
    x = d.conv("input", 32, (5, 4), (2, 1), (2, 1, 2, 2), act="relu")
    x = d.pool(d.normalise(x), "max", (3, 3), (2, 2))
    y = d.pool(x, "average", (3, 3), (1, 1), (1, 1, 1, 1), count=False)
    x = d.add(x, y, "relu")
    gate = d.conv(d.conv(d.adaptive(x, (1, 1)), 16, act="relu"), 32, act="sigmoid")
    x = d.elementwise(d.multiply(x, gate), "sigmoid")
    return d.done(d.dense(d.flatten(d.adaptive(x, (5, 3))), 70, "sigmoid"), "floats")


def measuring(source, folder, *options):
    """The program that measures, dynamically linked, for what watches it."""
    codegen.write_sources(source, folder)
    copy_harness(folder)
    command = [
        *("gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *source.cpu.flags, *options),
        *("-DNET_PROBE", '-DNET_WEIGHTS_FILE="net.weights"', "net.c", *HARNESS_SOURCES),
        *("-o", "net", "-lm", "-pthread"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "net"


def scores(command, count, folder):
    """Logits of so many threads after several inferences in a row."""
    answer = folder / f"scores{count}.npy"
    quick = (
        "--warmup-runs",
        "1",
        "--warmup-secs",
        "0",
        "--warmup-max-secs",
        "0",
        "--min-secs",
        "0",
    )
    argv = [*command, "--threads", str(count), *quick, "--min-runs", "5", "--output", str(answer)]
    # What the program never gives back goes with it.
    watching = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=120, env=watching
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr, done.stderr
    said = json.loads(done.stdout)
    assert said["threads"] == count
    assert said["outputs_repeat"] is True
    return answer.read_bytes()


@pytest.mark.parametrize(
    ("draw", "precision", "machine", "kind"),
    [
        (units, "fp32", "host", "races"),
        (units, "fp32", "x86-64-v3", "memory"),
        (units, "int8", "host", "memory"),
        (units, "int8", "x86-64", "races"),
        (units, "int8", "x86-64-v3", "races"),
        (floats_only, "fp32", "host", "races"),
        (floats_only, "fp32", "x86-64", "memory"),
    ],
)
def test_threads_are_watched(kind, draw, precision, machine, drawing, tmp_path):
    source = written(draw(drawing), machine, precision)
    program = measuring(source, tmp_path, *WATCHED[kind])
    alone = scores([program], 1, tmp_path)
    for count in (2, 3, 7):
        assert scores([program], count, tmp_path) == alone


def test_what_watches_for_races_sees_one(drawing, tmp_path):
    """A pool whose threads do not wait for each other is caught: the tests above can fail."""
    source = written(units(drawing), "host", "int8")
    measuring(source, tmp_path, "-O1")
    pool = (tmp_path / "thread_pool.c").read_text(encoding="utf-8")
    assert pool.count("pool.output);\n            meet();") == 1
    hasty = pool.replace("pool.output);\n            meet();", "pool.output);")
    hasty = hasty.replace("input, output);\n        meet();", "input, output);")
    (tmp_path / "thread_pool.c").write_text(hasty, encoding="utf-8")
    command = ["gcc", "-std=gnu11", *source.cpu.flags, *WATCHED["races"], "-DNET_PROBE"]
    command += [
        '-DNET_WEIGHTS_FILE="net.weights"',
        "net.c",
        *HARNESS_SOURCES,
        "-o",
        "net",
        "-pthread",
    ]
    subprocess.run([*command, "-lm"], cwd=tmp_path, check=True)
    argv = [tmp_path / "net", "--threads", "2", "--once"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert "data race" in done.stderr


ARM = (
    ("aarch64", "qemu-aarch64", "cortex-a53"),
    ("cortex-a76", "qemu-aarch64", "max"),
    ("armv7", "qemu-arm", "cortex-a7"),
)


@pytest.mark.parametrize(
    ("machine", "emulator", "cpu", "precision"),
    [(*core, precision) for core in ARM for precision in ("fp32", "int8")]
    + [("cortex-a76", "qemu-aarch64", "max", "fp16")]
    + [("cortex-a710", "qemu-aarch64", "max", "int8")],
)
def test_programs_for_arm_under_emulation(machine, emulator, cpu, precision, drawing, tmp_path):
    source = written(units(drawing), machine, precision)
    path = codegen.compile_c(source, tmp_path / "net", product=codegen.Product.PROGRAM)
    alone = scores([emulator, "-cpu", cpu, path], 1, tmp_path)
    for count in FEW:
        assert scores([emulator, "-cpu", cpu, path], count, tmp_path) == alone


@pytest.fixture(scope="module")
def program(drawing, tmp_path_factory):
    path = tmp_path_factory.mktemp("threads") / "units.native"
    return codegen.compile_c(
        written(units(drawing), "host", "fp32"), path, product=codegen.Product.PROGRAM
    )


def test_what_is_recorded(program):
    engine = runtime.get("native")
    spec = BenchmarkSpec(
        threads=2, cpus=(0,), warmup_runs=1, warmup_secs=0, min_runs=5, min_secs=0, max_secs=30
    )
    argv = engine.command(python=(), agent="", model=str(program), spec=spec)
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    outcome = engine.parse(done.stdout).outcome
    assert isinstance(outcome, Measurement)
    assert outcome.cpus == (0,)
    said = json.loads(done.stdout)
    assert (said["threads"], said["timed"].split(":")[0]) == (2, "net_run_part by all threads")


def test_every_layer_has_its_time(program):
    argv = [program, "--threads", "2", "--profile", "20", "--min-runs", "5", "--min-secs", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    told = json.loads(done.stdout)["profile"]
    assert {len(layer["ns"]) for layer in told["operators"]} == {20}
    whole = sum(told["inference_ns"])
    assert 0 < sum(sum(layer["ns"]) for layer in told["operators"]) <= whole


def test_threads_stay_on_the_cores_that_are_named(program):
    argv = [program, "--threads", "3", "--cpus", "0", "--min-secs", "20"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            masks = eventually(lambda: masks_of(process.pid), lambda found: len(found) == 3)
        finally:
            process.terminate()
    assert masks == ["0"] * 3


def masks_of(pid):
    """The cores that each thread of a process may run on."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return [re.search(r"Cpus_allowed_list:\s*(\S+)", text)[1] for text in texts]


def eventually(ask, good):
    """The answer once it is good, or the last one."""
    deadline = time.monotonic() + 20
    while not good(found := ask()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
