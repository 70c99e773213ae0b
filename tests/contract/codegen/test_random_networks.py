"""The static programs that zig makes: they measure as the agent does, here and on foreign cores."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import random_networks

from shufflenet_deploy import codegen, runtime
from shufflenet_deploy.codegen import int8_interpreter as int8_reference
from shufflenet_deploy.codegen import pipeline
from shufflenet_deploy.codegen.generator import arithmetic_of
from shufflenet_deploy.codegen.ir.ops import Convolution
from shufflenet_deploy.codegen.pipeline import fp_program as lower
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import BenchmarkSpec, Failure, FailureKind, Measurement

QUICK = BenchmarkSpec(
    warmup_runs=2, warmup_secs=0, min_runs=7, min_secs=0, max_secs=30, timeout_secs=60
)
FOREIGN = ("aarch64", "cortex-a76", "armv7")


@pytest.fixture(scope="module")
def graph(drawing):
    """A ShuffleNet unit of each kind behind a stem, on an odd picture."""
    d = drawing(3, 37, 53, seed=5)
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    x = d.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    x = d.unit(x, 120, 3, stride=2, first_groups=1)
    x = d.unit(x, 120, 3)
    return d.done(d.dense(d.flatten(d.adaptive(x, (1, 1))), 11), "units")


@pytest.fixture(scope="module")
def program(graph, tmp_path_factory):
    """The graph as a program for this machine."""
    path = tmp_path_factory.mktemp("program") / "units.native"
    return codegen.compile_c(
        codegen.generate(graph, codegen.host()), path, product=codegen.Product.PROGRAM
    )


def run(*argv, status=0):
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def seeded(graph, seed):
    """The picture that every runner of ours feeds for a seed."""
    shape = (1, *graph.shapes[graph.input])
    return np.random.RandomState(seed).uniform(-1.0, 1.0, shape).astype(np.float32)


def wanted(graph, picture):
    return interpreter.outputs(graph, picture)


def assert_close(found, expected):
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) <= 1e-4 * max(1.0, float(np.abs(expected).max()))


def test_what_it_prints_is_a_measurement(program, graph, tmp_path):
    engine = runtime.get("native")
    spec = QUICK.model_copy(update={"cpus": (0,)})
    answer = tmp_path / "scores.npy"
    argv = engine.command(python=(), agent="", model=str(program), spec=spec, output=str(answer))
    raw = run(*argv)
    report = engine.parse(raw)
    assert isinstance(report.outcome, Measurement)
    assert len(report.outcome.samples) == 7
    assert len(report.outcome.warmup) == 3
    assert report.outcome.cpus == (0,)
    assert report.outcome.peak_rss_bytes > 100_000
    assert re.fullmatch(r"[\d.]+, Clang \d+\.\d+\.\d+", report.runtime_version)
    # gcc's own version names no compiler, and a log that names none has none.
    said = json.loads(raw)
    for told, version in (("12.2.0", "gcc 12.2.0"), ("Debian Clang 14.0.6", "Clang 14.0.6")):
        said["runtime"]["details"]["compiler"] = told
        assert engine.parse(json.dumps(said)).runtime_version.endswith(f", {version}")
    for told in (None, 3, "", "of my own", ["12"]):
        said["runtime"]["details"]["compiler"] = told
        assert "," not in engine.parse(json.dumps(said)).runtime_version
    assert report.before.memory_available_bytes > 0
    said = json.loads(raw)
    assert said["outputs_repeat"] is True
    assert said["warmup_ended"] == "minimum"
    assert said["model"]["inputs"][0]["shape"] == [1, 3, 37, 53]
    assert said["model"]["bytes"] == program.stat().st_size
    # Nothing was given: the picture is the one that the agent gives the other runtimes.
    assert_close(np.load(answer), wanted(graph, seeded(graph, 0)))


def test_minimums_and_limits_are_those_of_the_agent(program):
    limits = ("--warmup-secs", "0", "--warmup-max-secs", "0", "--warmup-runs", "0")
    said = json.loads(run(program, *limits, "--min-runs", "1", "--min-secs", "0.2"))
    assert sum(said["samples_ns"]) >= 0.1e9
    assert len(said["samples_ns"]) > 1
    said = json.loads(run(program, *limits, "--min-runs", "100000000", "--max-secs", "0.1"))
    assert sum(said["samples_ns"]) <= 1e9
    said = json.loads(run(program, "--warmup-secs", "0.01", "--min-secs", "0", "--min-runs", "1"))
    assert said["warmup_ended"] in {"agreed", "limit"}
    assert len(said["warmup_ns"]) >= 6


def test_a_picture_of_one_s_own(program, graph, tmp_path):
    picture = seeded(graph, 3)
    np.save(tmp_path / "picture.npy", picture)
    files = ("--input", tmp_path / "picture.npy", "--output", tmp_path / "scores.npy")
    assert run(program, "--once", *files) == ""
    assert_close(np.load(tmp_path / "scores.npy"), wanted(graph, picture))


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        *(
            (("--threads", count), "usage", f"--threads {count}: write a whole number from 1 to 64")
            for count in ("0", "-2", "65", "1.5", "many", "")
        ),
        (("--min-runs", "many"), "usage", "--min-runs many"),
        (("--model", "x.onnx"), "usage", "--model"),
        (("--cpus", "0,x"), "usage", "--cpus 0,x"),
        (("--input", "missing.npy"), "usage", "missing.npy"),
        (("--input", "{narrow}"), "usage", "(1, 3, 37, 53)"),
        (("--input", "{double}"), "usage", "float32"),
        (("--input", "{text}"), "usage", ".npy"),
        (("--once", "--output", "/nowhere/scores.npy"), "usage", "/nowhere/scores.npy"),
    ],
)
def test_what_cannot_be_done_is_said_in_the_object(program, tmp_path, options, kind, words):
    np.save(tmp_path / "narrow.npy", np.zeros((1, 3, 37, 52), np.float32))
    np.save(tmp_path / "double.npy", np.zeros((1, 3, 37, 53)))
    (tmp_path / "text.npy").write_text("not numbers")
    names = {name: tmp_path / f"{name}.npy" for name in ("narrow", "double", "text")}
    raw = run(program, *(word.format(**names) for word in options), status=1)
    assert json.loads(raw)["error"]["kind"] == kind
    report = runtime.get("native").parse(raw)
    assert isinstance(report.outcome, Failure)
    assert words in report.outcome.message


def test_a_signal_ends_it_with_a_reason(program):
    with subprocess.Popen(
        [program, "--min-secs", "60", "--max-secs", "60"], stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        raw, _ = process.communicate(timeout=10)
    outcome = runtime.get("native").parse(raw).outcome
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.CRASHED
    assert "signal" in outcome.message


def test_every_layer_has_its_time(program):
    told = json.loads(run(program, "--profile", "20", "--min-runs", "5"))["profile"]
    layers = told["operators"]
    assert [layer["operator"] for layer in layers].count("convolution") == 5
    assert [len(layer["ns"]) for layer in layers] == [20] * len(layers)
    whole, parts = sum(told["inference_ns"]), sum(sum(layer["ns"]) for layer in layers)
    assert 0 < parts <= whole


@pytest.mark.parametrize("machine", FOREIGN)
def test_foreign_programs_under_emulation(machine, graph, drawn, tmp_path):
    emulator = random_networks.EMULATORS[machine]
    assert shutil.which(emulator[0]), f"{emulator[0]} is missing: run tests/system-packages.sh"
    # The unit above for each core; random networks are spread over the cores.
    first = 40 + 3 * FOREIGN.index(machine)
    for number, one in enumerate([graph, *map(drawn, range(first, first + 3))]):
        path = codegen.compile_c(
            codegen.generate(one, codegen.cpu_target_named(machine)),
            tmp_path / f"net{number}",
            product=codegen.Product.PROGRAM,
        )
        answer = tmp_path / f"scores{number}.npy"
        run(*emulator, path, "--once", "--output", answer)
        assert_close(np.load(answer), wanted(one, seeded(one, 0)))


@pytest.mark.parametrize("machine", FOREIGN)
def test_foreign_int8_programs_under_emulation(machine, graph, drawing, tmp_path):
    """Every core gives the bytes that the reference says, to the last bit."""
    emulator = random_networks.EMULATORS[machine]
    core = codegen.cpu_target_named(machine)
    d = drawing(3, 29, 21, seed=6)
    x = d.conv("input", 24, (3, 3), (2, 2), (1, 1, 1, 1), act="relu")
    # Groups of 5 outputs, 15 to a pixel: the last group's vector ends behind the pixel's bytes.
    narrow = d.unit(d.unit(x, 60, 3, stride=2, first_groups=1), 60, 3)
    odd = d.done(d.dense(d.flatten(d.adaptive(narrow, (1, 1))), 7), "odd")
    for number, one in enumerate((graph, odd)):
        ranges = calibration.calibrate(one, [seeded(one, seed) for seed in (1, 2)])
        path = codegen.compile_c(
            codegen.generate(one, core, ranges),
            tmp_path / f"net{number}",
            product=codegen.Product.PROGRAM,
        )
        answer = tmp_path / f"scores{number}.npy"
        run(*emulator, path, "--once", "--output", answer)
        program = pipeline.int8_program(one, ranges, arithmetic_of(core))
        expected = int8_reference.run(program, seeded(one, 0)[0])
        np.testing.assert_array_equal(np.load(answer).ravel(), expected)


@pytest.mark.parametrize("seed", range(8))
def test_assembly_under_emulation(seed, drawn_pointwise, tmp_path):
    graph = drawn_pointwise(seed)
    core = "cortex-a53" if seed % 2 else "cortex-a72"
    path = codegen.compile_c(
        codegen.generate(graph, codegen.cpu_target_named(core)),
        tmp_path / "net",
        product=codegen.Product.PROGRAM,
        options=("-DNET_POISON",),
    )
    run("qemu-aarch64", "-cpu", core, path, "--once", "--output", tmp_path / "s.npy")
    assert_close(np.load(tmp_path / "s.npy"), wanted(graph, seeded(graph, 0)))


def assembled(graph, folder):
    """The answer of a graph's program for 64-bit ARM, from memory that is no number at first."""
    path = codegen.compile_c(
        codegen.generate(graph, codegen.cpu_target_named("cortex-a72")),
        folder / "net",
        product=codegen.Product.PROGRAM,
        options=("-DNET_POISON",),
    )
    run("qemu-aarch64", "-cpu", "cortex-a72", path, "--once", "--output", folder / "s.npy")
    return np.load(folder / "s.npy")


@pytest.mark.parametrize("size", [(2, 4), (7, 7), (14, 14), (9, 15), (11, 33), (28, 28), (5, 70)])
def test_depthwise_assembly_under_emulation(size, drawing, tmp_path):
    d, around = drawing(3, *size, seed=size[1]), ((3, 3), (1, 1), (1, 1, 1, 1), 3)
    x = d.conv("input", 3, *around, act="relu")
    x = d.conv(d.conv(x, 3, *around), 3)  # a bias that moves on
    graph = d.done(d.conv(x, 3, *around, act="relu6"), "depthwise")
    assert_close(assembled(graph, tmp_path), wanted(graph, seeded(graph, 0)))


@pytest.mark.parametrize("size", [(2, 7), (3, 8), (14, 14), (9, 15), (28, 28), (11, 33), (31, 70)])
def test_halving_assembly_under_emulation(size, drawing, tmp_path):
    d, around = drawing(3, *size, seed=size[1]), ((3, 3), (2, 2), (1, 1, 1, 1))
    parts = [d.pool("input", kind, *around, act="relu6") for kind in ("max", "average")]
    parts.append(d.pool("input", "max", *around))
    parts += [d.conv("input", 3, *around, groups=3, act=act) for act in ("none", "relu")]
    parts.append(d.conv(d.conv("input", 3, *around, groups=3), 3))  # a bias that moves on
    graph = d.done(d.concat(*parts), "halved")
    assert_close(assembled(graph, tmp_path), wanted(graph, seeded(graph, 0)))


@pytest.mark.parametrize(
    ("sides", "size"), [((4, 4), (23, 14)), ((3, 3), (8, 26)), ((4, 2), (7, 7)), ((2, 3), (1, 40))]
)
def test_tiles_under_emulation(sides, size, drawn_tiles, forced, tmp_path):
    forced(*sides)
    graph = drawn_tiles(*size)
    assert_close(assembled(graph, tmp_path), wanted(graph, seeded(graph, 0)))


def test_dense_assembly_under_emulation(drawing, tmp_path):
    d = drawing(5, 3, 3, seed=4)
    x = d.dense(d.dense(d.flatten("input"), 75, "relu"), 130, "relu6")
    graph = d.done(d.dense(x, 3, "sigmoid"), "dense")
    assert_close(assembled(graph, tmp_path), wanted(graph, seeded(graph, 0)))


def test_biases_that_became_floors_under_emulation(drawing, tmp_path):
    d = drawing(12, 28, 13, seed=9)
    x = "input"
    for out in (60, 120):
        x = d.unit(x, out, 3, stride=2, first_groups=1)
        x = d.unit(d.unit(x, out, 3), out, 3)
    graph = d.done(d.dense(d.flatten(d.adaptive(x, (1, 1))), 7), "chains")
    machine = codegen.cpu_target_named("cortex-a72")
    steps = lower(graph, machine).ops
    floored = [
        step.name
        for step in steps
        if isinstance(step, Convolution) and step.epilogue.clamp_min is not None
    ]
    # The last unit of the first stage is read by a padded pool; the last of all only by a mean.
    expands = [step.name for step in steps if isinstance(step, Convolution)][1::2]
    assert floored == [expands[at] for at in (0, 1, 3, 4, 5)]
    path = codegen.compile_c(
        codegen.generate(graph, machine), tmp_path / "net", product=codegen.Product.PROGRAM
    )
    run("qemu-aarch64", "-cpu", "cortex-a72", path, "--once", "--output", tmp_path / "s.npy")
    assert_close(np.load(tmp_path / "s.npy"), wanted(graph, seeded(graph, 0)))


@pytest.mark.parametrize(
    ("core", "lesser"), [("cortex-a76", "cortex-a72"), ("cortex-a710", "cortex-a76")]
)
def test_a_core_without_what_it_takes(core, lesser, graph, tmp_path):
    path = codegen.compile_c(
        codegen.generate(graph, codegen.cpu_target_named(core)),
        tmp_path / "net",
        product=codegen.Product.PROGRAM,
    )
    raw = run("qemu-aarch64", "-cpu", lesser, path, status=1)
    outcome = runtime.get("native").parse(raw).outcome
    assert outcome.kind is FailureKind.UNSUPPORTED
    assert core in outcome.message


_AVX512 = "avx2 fma avx_vnni avx512f avx512vl avx512bw avx512dq"


@pytest.mark.parametrize(
    ("arch", "features", "parts", "name"),
    [
        ("aarch64", "asimd", ["Cortex-A53"] * 4, "cortex-a53"),
        ("aarch64", "asimd", ["Cortex-A53", "Cortex-A72"], "cortex-a72"),
        ("aarch64", "asimd asimddp asimdhp", ["Cortex-A76"] * 4, "cortex-a76"),
        ("aarch64", "asimd asimddp asimdhp i8mm", ["Cortex-A510", "Cortex-X2"], "cortex-a710"),
        ("aarch64", "asimd asimddp asimdhp i8mm", ["Cortex-A510"] * 4, "cortex-a55"),
        ("aarch64", "asimd", [], "aarch64"),
        ("armv7l", "neon vfpv4", ["Cortex-A7"], "armv7"),
        ("x86_64", "avx2 fma", [], "x86-64-v3"),
        ("x86_64", "avx2 fma avx_vnni", [], "x86-64-v3-vnni"),
        ("x86_64", _AVX512, [], "x86-64-v4"),
        ("x86_64", f"{_AVX512} avx512_vnni avx512vbmi", [], "x86-64-v4-vnni"),
        ("x86_64", "", [], "x86-64"),
    ],
)
def test_the_machine_that_suits_a_target(arch, features, parts, name):
    assert codegen.best_for(arch, features.split(), parts).name == name


@pytest.mark.parametrize(("arch", "features"), [("riscv64", ""), ("armv7l", "vfpv3")])
def test_a_target_that_there_is_no_code_for(arch, features):
    with pytest.raises(ExportError, match=arch):
        codegen.best_for(arch, features.split())


def test_the_compiler_keeps_no_copy_of_a_network(drawing, tmp_path):
    d = drawing(3, 8, 8, seed=20170704)
    source = codegen.generate(d.done(d.conv("input", 40), "kept"), codegen.host())
    begun = time.time() - 1
    codegen.compile_c(source, tmp_path / "net", product=codegen.Product.PROGRAM)
    said = run(sys.executable, "-m", "ziglang", "env")
    (cache,) = re.findall(r'global_cache_dir\W+"([^"]+)"', said)
    new = [one for one in Path(cache).rglob("net.o") if one.stat().st_mtime >= begun]
    assert not [one for one in new if source.weights[:256] in one.read_bytes()]
