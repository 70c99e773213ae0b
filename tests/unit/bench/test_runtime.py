"""Runtimes: what is installed where, the command line, and the reading of real logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shufflenet_deploy import runtime
from shufflenet_deploy.errors import ParseError, TargetError, UsageError
from shufflenet_deploy.records import BenchmarkSpec, Core, FailureKind, TargetFacts

LOGS = Path(__file__).parent / "logs"


def facts(arch="aarch64", python="3.11.2", libc="glibc 2.36"):
    return TargetFacts(
        host="pi",
        transport="ssh",
        arch=arch,
        os="Debian 12",
        kernel="6.1",
        cpu="Cortex-A72",
        cores=(Core(index=0),),
        python=python,
        libc=libc,
    )


@pytest.mark.parametrize(
    ("name", "where", "wanted"),
    [
        ("onnxruntime", {}, ("onnxruntime==1.32.0", "numpy==2.4.6")),
        ("onnxruntime", {"arch": "arm64"}, ("onnxruntime==1.32.0", "numpy==2.4.6")),
        ("onnxruntime", {"libc": "glibc 2.27"}, ("onnxruntime==1.28.0", "numpy==2.4.6")),
        ("onnxruntime", {"python": "3.9.2"}, ("onnxruntime==1.19.2", "numpy==2.0.2")),
        ("onnxruntime", {"python": "3.7.3"}, ("onnxruntime==1.14.1", "numpy==1.21.6")),
        ("onnxruntime==1.30", {}, ("onnxruntime==1.30", "numpy==2.4.6")),
        ("onnxruntime==1.17.3", {}, ("onnxruntime==1.17.3", "numpy==1.26.4")),
        ("litert", {}, ("ai-edge-litert==2.3.0", "numpy==2.4.6")),
        ("litert", {"python": "3.9.2"}, ("ai-edge-litert==2.1.0", "numpy==2.0.2")),
        ("litert-no-xnnpack", {}, ("ai-edge-litert==2.3.0", "numpy==2.4.6")),
        ("onnxruntime-xnnpack", {}, ("onnxruntime==1.32.0", "numpy==2.4.6")),
        ("executorch", {}, ("executorch==1.5.1", "numpy==2.4.6")),
        ("executorch==1.5.1", {}, ("executorch==1.5.1", "numpy==2.4.6")),
        ("openvino", {}, ("openvino==2026.4.1", "numpy==2.4.6")),
        (
            "openvino",
            {"arch": "x86_64", "libc": "glibc 2.28"},
            ("openvino==2026.4.1", "numpy==2.4.6"),
        ),
        ("tflite-runtime", {}, ("tflite-runtime==2.14.0", "numpy==1.26.4")),
        ("ncnn", {}, ("ncnn==1.0.20261020", "numpy==2.4.6")),
        ("mnn", {"python": "3.9.2", "libc": "glibc 2.17"}, ("MNN==3.6.1", "numpy==2.0.2")),
        (
            "tflite-runtime",
            {"arch": "armv7l", "python": "3.9.2", "libc": "glibc 2.31"},
            ("tflite-runtime==2.13.0", "numpy==1.26.4"),
        ),
    ],
)
def test_the_newest_release_with_a_wheel_is_pinned(name, where, wanted):
    payload = runtime.get(name).payload(facts(**where))
    assert payload.requirements == wanted
    assert payload.name == name


@pytest.mark.parametrize(
    ("name", "where", "told"),
    [
        ("onnxruntime", {"arch": "armv7l"}, "tflite-runtime"),
        ("onnxruntime", {"arch": "riscv64"}, "riscv64"),
        ("onnxruntime==1.32", {"python": "3.10.1"}, "leave the version out"),
        ("litert", {"python": "3.8.1"}, "tflite-runtime"),
        ("ncnn", {"python": "3.8.1"}, "tflite-runtime"),
        ("mnn", {"arch": "armv7l"}, "tflite-runtime"),
        ("tflite-runtime", {"python": "3.13.0"}, "litert"),
        ("onnxruntime", {"libc": "musl 1.2"}, "musl"),
        ("openvino", {"libc": "glibc 2.31"}, "needs glibc 2.35"),
        ("executorch", {"arch": "armv7l"}, "litert"),
        ("onnxruntime", {"python": None}, "no Python"),
    ],
)
def test_a_target_without_a_wheel_is_told_what_to_do(name, where, told):
    with pytest.raises(TargetError, match=told) as raised:
        runtime.get(name).payload(facts(**where))
    assert "\n" not in str(raised.value)


def test_an_unknown_runtime_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean onnxruntime"):
        runtime.get("onxruntime")
    with pytest.raises(UsageError, match="choose one of"):
        runtime.get("xyzzy")
    with pytest.raises(UsageError, match="not a runtime"):
        runtime.get("onnxruntime==1.30; rm -rf /")


def test_formats_follow_from_the_runtime():
    assert runtime.get("onnxruntime").formats == ("onnx",)
    assert runtime.get("litert").formats == ("tflite",)


def test_the_command_says_everything_the_spec_says():
    spec = BenchmarkSpec(
        warmup_runs=2, warmup_secs=0.25, min_runs=7, min_secs=1.5, threads=4, cpus=(2, 3)
    )
    argv = runtime.get("litert").command(
        python=("/opt/py thon",), agent="/a/agent.pyz", model="/m/it's.tflite", spec=spec
    )
    assert argv[:2] == ("/opt/py thon", "/a/agent.pyz")
    options = dict(zip(argv[2::2], argv[3::2], strict=True))
    assert options == {
        "--runtime": "litert",
        "--model": "/m/it's.tflite",
        "--threads": "4",
        "--cpus": "2,3",
        "--warmup-runs": "2",
        "--warmup-secs": "0.25",
        "--warmup-max-secs": "1",
        "--min-runs": "7",
        "--min-secs": "1.5",
        "--max-secs": "30",
    }
    env = runtime.get("litert").environment(spec)
    assert env["OMP_NUM_THREADS"] == "4"


def test_a_native_file_is_its_own_command():
    engine = runtime.get("native")
    argv = engine.command(python=(), agent="", model="/m/net.native", spec=BenchmarkSpec())
    assert argv[0] == "/m/net.native"
    assert "--runtime" not in argv
    assert engine.standalone
    assert engine.payload(facts(arch="armv7l", python=None)).requirements == ()
    with pytest.raises(UsageError, match=r"leave ==1\.0 out"):
        runtime.get("native==1.0")


#: No wheel has its provider: what the agent says of that was captured.
WITHOUT_WHEEL = "onnxruntime-xnnpack"


def test_the_log_of_a_wheel_without_the_provider_is_a_failure():
    report = runtime.get(WITHOUT_WHEEL).parse((LOGS / f"{WITHOUT_WHEEL}.json").read_text())
    assert report.outcome.kind is FailureKind.RUNTIME_MISSING
    assert "built without the XNNPACK provider" in report.outcome.message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("executorch", "XNNPACK took 5 operators in 2 parts and left 1 (1 avg_pool2d.out)"),
        ("openvino", "OpenVINO's kernels took 7 operators and left none"),
    ],
)
def test_a_log_tells_what_a_delegate_took(name, told):
    report = runtime.get(name).parse((LOGS / f"{name}.json").read_text())
    assert report.outcome.delegation.text == told


@pytest.mark.parametrize("name", [one for one in runtime.names() if one != WITHOUT_WHEEL])
def test_a_captured_log_is_read(name):
    raw = (LOGS / f"{name}.json").read_text()
    report = runtime.get(name).parse(raw)
    log = json.loads(raw)
    assert list(report.outcome.samples) == log["samples_ns"]
    assert list(report.outcome.warmup) == log["warmup_ns"]
    assert report.outcome.load == log["load_ns"]
    assert report.outcome.first == log["first_ns"]
    assert report.outcome.peak_rss_bytes > log["idle_rss_bytes"] > (0 if name == "native" else 10e6)
    compiler = ", Clang 22.1.8" if name == "native" else ""
    assert report.runtime_version == log["runtime"]["version"] + compiler
    assert report.before.at <= report.after.at
    assert runtime.get(name).parse(raw) == report
    # An engine that lets a runtime overwrite its input measures inferences of something else.
    assert log["outputs_repeat"]


def test_a_failure_that_the_agent_explained_is_an_outcome():
    report = runtime.get("onnxruntime").parse((LOGS / "failure.json").read_text())
    assert report.outcome.kind is FailureKind.EXPORT
    assert "trunc.onnx" in report.outcome.message
    assert report.after.memory_available_bytes > 0


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("", "printed nothing"),
        ("Segmentation fault", "other than JSON"),
        ('{"schema": 1, "samples_ns": [1', "other than JSON"),
        ("[1, 2]", "not an object"),
        ('{"schema": 99}', "schema 99"),
        ("{}", "schema None"),
        ('{"schema": 1}', "does not fit"),
        ("[" * 100_000, "other than JSON"),
    ],
)
def test_anything_else_is_refused(raw, told):
    with pytest.raises(ParseError, match=told):
        runtime.get("onnxruntime").parse(raw)


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ns": []},
        {"samples_ns": [1.5]},
        {"samples_ns": ["1"]},
        {"peak_rss_bytes": None},
        {"surprise": 1},
        {"clock": {"resolution_ns": 0, "read_ns": 1}},
        {"runtime": {"name": "x"}},
    ],
)
def test_a_log_with_a_wrong_field_is_refused(change):
    log = json.loads((LOGS / "onnxruntime.json").read_text())
    with pytest.raises(ParseError, match=next(iter(change))):
        runtime.get("onnxruntime").parse(json.dumps({**log, **change}))


def test_a_log_cut_short_anywhere_is_refused():
    raw = (LOGS / "onnxruntime.json").read_text().strip()
    for length in range(0, len(raw), 37):
        with pytest.raises(ParseError):
            runtime.get("onnxruntime").parse(raw[:length])


def test_a_wrong_time_is_refused():
    log = json.loads((LOGS / "onnxruntime.json").read_text())
    log["conditions"]["before"]["at"] = "yesterday"
    with pytest.raises(ParseError, match="time"):
        runtime.get("onnxruntime").parse(json.dumps(log))
