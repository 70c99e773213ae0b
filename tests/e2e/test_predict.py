"""Predictions by the real QEMU and the compiled plugin: what it counts, and that it repeats."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.cli import command_line
from shufflenet_deploy.cores import core
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.predict import counting, plugin
from shufflenet_deploy.predict.caches import Cache
from shufflenet_deploy.predict.counts import Misses

SMALL = ("--model", "shufflenet-g3-0.25x", "--resolution", "64x64")
KIND, LINES = "predicted", 4096
SMMLA = 0x4E80A400  # without its registers

#: Reads 256 KiB line by line, eight times, and the clock before and after each.
STREAMING = """
#define LINES %d
static volatile char data[64 * (LINES + 2)] __attribute__((aligned(64)));
static void clock_read(void) {
    static long long now[2];
    register long number __asm__("x8") = 113, kind __asm__("x0") = 1;
    register void *to __asm__("x1") = now;
    __asm__ volatile("svc 0" : "+r"(kind) : "r"(number), "r"(to) : "memory");
}
void _start(void) {
    for (int turn = 0; turn < 8; ++turn) {
        clock_read();
        for (int i = 0; i < LINES; ++i) {
            PREFETCH(&data[64 * (i + 2)]);
            for (int again = 0; again < 32; ++again)
                (void)data[64 * i];
        }
        clock_read();
    }
    register long number __asm__("x8") = 93, status __asm__("x0") = 0;
    __asm__ volatile("svc 0" : : "r"(number), "r"(status));
}
"""


def lru(kib):
    return Cache(kib=kib, ways=4, replacement="lru")


def compiled(folder, prefetch):
    """A static ARM program whose accesses are known."""
    source, program = folder / "net.c", folder / "net"
    source.write_text(f"#define PREFETCH(to) {prefetch}\n{STREAMING % LINES}")
    command = [*(sys.executable, "-m", "ziglang", "cc"), "-target", "aarch64-linux-musl"]
    command += ["-nostdlib", "-static", "-O2", "-ffreestanding", "-o", str(program), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return program


@pytest.fixture(scope="module")
def streaming(tmp_path_factory):
    program = compiled(tmp_path_factory.mktemp("streaming"), "")
    return counting.Execution(
        title="streaming",
        argv=(counting.PROGRAM,),
        files={counting.PROGRAM: program},
        sha256=sha256_file(program),
    )


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Nothing was counted before."""
    monkeypatch.setattr(counting, "cache_folder", lambda kind: tmp_path / kind)
    monkeypatch.setenv("SHUFFLENET_DEPLOY_JOURNAL", str(tmp_path / "journal.sqlite"))


def total(counts):
    return sum((one for block in counts.blocks for one in block.misses.values()), Misses())


def test_a_stream_misses_a_line_at_a_time_in_every_cache_that_is_smaller(streaming, own_cache):
    """Once per line where it does not fit, never where it does; a prefetcher foresees it."""
    small, large = (lru(32), lru(64)), (lru(32), lru(1024))
    found = counting.count(streaming, core("cortex-a53"), [small, large], plugin.emulator())
    missed, kept = total(found[small]), total(found[large])
    assert missed.l1 + missed.l1_foreseen == pytest.approx(LINES, abs=4)
    assert missed.l1 <= 4
    assert missed.l2 + missed.l2_foreseen == pytest.approx(LINES, abs=4)
    assert (missed.l3, missed.l3_foreseen) == (missed.l2, missed.l2_foreseen)
    assert kept.l1 + kept.l1_foreseen == missed.l1 + missed.l1_foreseen
    assert kept.l2 + kept.l2_foreseen <= 4


def test_a_prefetched_stream_misses_in_its_prefetches(tmp_path, own_cache):
    """Two lines ahead, whatever the hardware foresees; counted as often as without being seen."""
    program = compiled(tmp_path, '__asm__ volatile("prfm pldl1keep, [%0, #0]" :: "r"(to))')
    seen = replace(counting.native(program), argv=(counting.PROGRAM,))
    unseen = replace(seen, prefetches_visible=False, sha256=sha256_file(program))
    caches = (lru(32), lru(64))
    found, without = (
        counting.count(one, core("cortex-a53"), [caches], plugin.emulator())[caches]
        for one in (seen, unseen)
    )
    assert found.instructions == without.instructions
    used = [one for block in found.blocks for one in block.prefetched.values()]
    lines = sum(one.lines for one in used)
    assert lines == pytest.approx(LINES, abs=4)
    missed, missed_without = total(found), total(without)
    assert missed.l1 == pytest.approx(missed.l2, abs=4) == pytest.approx(LINES, abs=4)
    assert missed_without.l1_foreseen == pytest.approx(LINES, abs=4)
    distance = sum(one.distance for one in used) / lines
    assert distance == pytest.approx(2 * found.instructions / LINES, rel=0.1)


def test_a_hierarchy_does_not_depend_on_others_of_its_run(streaming, own_cache):
    first = (
        Cache(kib=32, ways=4, replacement="random"),
        Cache(kib=128, ways=16, replacement="random"),
    )
    core_, qemu = core("cortex-a72"), plugin.emulator()
    alone = counting.count(streaming, core_, [first], qemu, recount=True)[first]
    along = counting.count(streaming, core_, [(lru(32), lru(64)), first], qemu, recount=True)
    assert alone == along[first]


def predicted(folder, *more):
    argv = ["predict", *SMALL, "--artifacts", str(folder), "--json", *more]
    result = CliRunner().invoke(command_line(), argv)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["predictions"]


def test_a_network_on_two_boards_of_one_core(tmp_path, own_cache):
    boards = ("--board", "raspberry-pi-zero-2w,rk3399-little")
    pi, rockchip = predicted(tmp_path, *boards)
    assert (pi["board"], pi["core"], pi["kind"]) == ("raspberry-pi-zero-2w", "cortex-a53", KIND)
    # 3.5 million multiply-adds, at most two a cycle, and not a tenth of that.
    least_ns = pi["multiply_adds"] / 4 / pi["clock_ghz"]
    assert least_ns < pi["predicted_ns"] < 10 * least_ns
    assert pi["low_ns"] < pi["predicted_ns"] < pi["high_ns"]
    assert sum(pi["parts"].values()) == pytest.approx(pi["predicted_ns"], rel=1e-6)
    assert rockchip["predicted_ns"] < pi["predicted_ns"]
    assert rockchip["instructions"] == pi["instructions"]
    again = predicted(tmp_path, *boards, "--recount", "--profile")
    for one, other in zip((pi, rockchip), again, strict=True):
        layers = other.pop("layers")
        assert {**one, "layers": None} == {**other, "layers": None}
        whole = sum(layer["predicted_ns"] for layer in layers)
        assert whole == pytest.approx(one["predicted_ns"], rel=0.1)
        assert layers[0]["name"] == "stem"


def test_a_program_with_matrix_products_is_predicted_on_cores_that_have_them(tmp_path, own_cache):
    (one,) = predicted(tmp_path, "--core", "cortex-a710@2.5", "--precision", "int8")
    assert (one["core"], one["precision"], one["clock_ghz"]) == ("cortex-a710", "int8", 2.5)
    assert not one["validated"]
    (program,) = tmp_path.glob("*-cortex-a710-*int8.native")
    content = program.read_bytes()
    words = memoryview(content[: len(content) // 4 * 4]).cast("I")
    assert sum(word & 0xFFE0FC00 == SMMLA for word in words) > 100
    # Two products of 32 multiply-adds a cycle at most.
    assert one["multiply_adds"] / 64 / 2.5 < one["predicted_ns"]
    assert 0.39 < one["relative"] < 0.6


def test_what_is_missing_is_named_with_what_to_install(monkeypatch, tmp_path):
    argv = ["predict", *SMALL, "--artifacts", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr("shutil.which", lambda _: None)
        result = CliRunner().invoke(command_line(), argv)
    assert isinstance(result.exception, UsageError)
    assert "apt install qemu-user" in str(result.exception)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _: None)
        result = CliRunner().invoke(command_line(), argv)
    assert "pip install 'shufflenet-deploy[predict]'" in str(result.exception)
    assert not list(Path(tmp_path).iterdir())


def test_a_qemu_without_plugins_is_refused(monkeypatch, tmp_path):
    """Debian 13 builds qemu-user without them."""
    static = tmp_path / "qemu-aarch64"
    static.write_text("#!/bin/sh\necho qemu-aarch64 version 10.0.2\n")
    static.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda _: str(static))
    with pytest.raises(UsageError, match="built without plugins, as in Debian 13"):
        plugin.emulator()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--runtime", "litert"), "litert divides its work among threads of its own"),
        (("--board", "rk3399-big"), "rk3399-big has 2 cores of one kind"),
        (("--profile",), "--profile is of one thread"),
    ],
)
def test_threads_that_cannot_be_predicted_are_refused(options, problem):
    result = CliRunner().invoke(command_line(), ["predict", *SMALL, "--threads", "4", *options])
    assert isinstance(result.exception, UsageError)
    assert problem in str(result.exception)


def test_runtimes_in_python_and_threads_beside_native_programs(tmp_path, own_cache):
    """Debian's Python, the runtimes' ARM wheels and the agent under QEMU; the same count again.

    Two threads of a program and of ncnn are counted by turns.
    """
    board = ("--board", "rk3399-big")
    native, ncnn, litert = predicted(tmp_path, *board, "--runtime", "native,ncnn,litert")
    assert [one["runtime"] for one in (native, ncnn, litert)] == ["native", "ncnn", "litert"]
    for one in (ncnn, litert):
        # The same multiply-adds, by code that is not made for this very network.
        assert native["instructions"] < one["instructions"] < 12 * native["instructions"]
        assert one["version"]
    (again,) = predicted(tmp_path, *board, "--runtime", "litert", "--recount")
    assert again == litert

    two = (*board, "--threads", "2")
    (again,) = predicted(tmp_path, *two, "--runtime", "native")
    both = predicted(tmp_path, *two, "--runtime", "native,ncnn", "--recount")
    assert both[0] == again
    for alone, shared in zip((native, ncnn), both, strict=True):
        assert (alone["threads"], shared["threads"]) == (1, 2)
        assert 0.4 * alone["predicted_ns"] < shared["predicted_ns"] < 0.95 * alone["predicted_ns"]
        # The same work, give or take what it takes to divide it and how it is cut into tiles.
        assert 0.8 < shared["instructions"] / alone["instructions"] < 1.2
        assert shared["parts"]["barriers"] > alone["parts"]["barriers"] == 0
        assert sum(shared["parts"].values()) == pytest.approx(shared["predicted_ns"], rel=1e-6)
        assert shared["relative"] > alone["relative"]


def test_a_runtime_with_a_bridge_of_ours_is_predicted_too(tmp_path):
    (one,) = predicted(tmp_path, "--board", "raspberry-pi-4", "--runtime", "executorch")
    assert one["runtime"] == "executorch"
    assert one["predicted_ns"] > 0


def test_runtimes_in_python_have_no_layers(tmp_path):
    argv = ["predict", *SMALL, "--artifacts", str(tmp_path), "--runtime", "litert", "--profile"]
    result = CliRunner().invoke(command_line(), argv)
    assert "--profile takes native programs apart: leave litert out" in str(result.exception)
