"""The profilers of real runtimes on real exports: every operator finds its layer."""

from __future__ import annotations

import ast
import itertools
import json
import subprocess
import sys

import pytest
from agent_on_disk import AGENT

from shufflenet_deploy import runtime
from shufflenet_deploy.analysis.profile import BETWEEN, OUTSIDE, take_apart
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.export import ExportRequest, export
from shufflenet_deploy.export.profile_attribution import Attribution
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Cell,
    Failure,
    FailureKind,
    LayerKind,
    Metric,
    Resolution,
)

PROFILER = resource("device_scripts", "profile_operators.py")
SPEC = BenchmarkSpec(warmup_runs=2, warmup_secs=0, min_runs=4, min_secs=0, timeout_secs=60)
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert", "native": "native"}
INFERENCES = 6


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """Exports a small ShuffleNet once per format and precision."""
    out = tmp_path_factory.mktemp("profiled")

    def make(model_format, precision, model="shufflenet-g3-0.25x"):
        wish = ExportRequest(
            model=model,
            format=model_format,
            precision=precision,
            resolution=Resolution(height=64, width=64),
            machine="host",
            out=out,
        )
        return export(wish)

    return make


def run(name, model):
    chosen = runtime.get(name)
    argv = chosen.profiling(
        python=(sys.executable,),
        profiler=str(PROFILER),
        agent=str(AGENT),
        model=str(model),
        spec=SPEC,
        inferences=INFERENCES,
    )
    result = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert result.stdout.count("\n") == 1, result.stderr
    return chosen.parse(result.stdout), result


def test_it_is_written_for_old_pythons():
    ast.parse(PROFILER.read_text(), feature_version=(3, 7))


@pytest.mark.parametrize(
    ("model_format", "precision"),
    [*itertools.product(RUNTIMES, ("fp32", "int8"))],
)
def test_every_operator_belongs_to_a_layer_or_between(model_format, precision, artifact):
    made = artifact(model_format, precision)
    report, _ = run(RUNTIMES[model_format], made.path)
    # The process measured first: its inferences without the profiler are apart from those with it.
    assert len(report.outcome.samples) == 4
    assert len(report.profile.inference) == INFERENCES
    found = Attribution().attributed(report.profile, made)
    assert all(len(one.samples) == INFERENCES for one in found.operators)
    strangers = {one.operator for one in found.operators if one.layer is None}
    ours = {"copy", "quantizeinput", "fillpadding"}
    assert strangers <= {"ReorderInput", "ReorderOutput", "Transpose", "QuantizeLinear", *ours}
    kinds = {layer.name: layer.kind for layer in found.layers}
    worked = {one.layer for one in found.operators}
    merged = {name for name in kinds if name not in worked}
    # Only an addition or a shuffle can be merged into the convolution before it; native programs
    # also spare the flattening of a single pixel.
    spared = {LayerKind.OTHER} if model_format == "native" else set()
    assert {kinds[name] for name in merged} <= {LayerKind.JOIN, LayerKind.SHUFFLE, *spared}
    assert sum(layer.multiply_adds for layer in found.layers) == made.multiply_adds
    order = [name for name in kinds if name in worked]
    # In int8 programs a fully connected layer is a convolution of one pixel.
    dense = {name for name, kind in kinds.items() if kind is LayerKind.DENSE}
    convolutions = [
        one.layer for one in found.operators if "onv" in one.operator and one.layer not in dense
    ]
    by_unit = [name.rpartition(".")[0] for name in convolutions]
    assert sorted(by_unit, key=[n.rpartition(".")[0] for n in order].index) == by_unit
    whole = take_apart(
        found,
        report.outcome.samples,
        cell=Cell(
            model=made.model,
            runtime=RUNTIMES[model_format],
            format=model_format,
            precision=made.precision,
            resolution=made.resolution,
        ),
        host="here",
        metric=Metric.LATENCY,
        multiply_adds=made.multiply_adds,
    )
    assert sum(part.value for part in whole.kinds) == pytest.approx(whole.whole)
    assert {part.name for part in whole.kinds} <= {*LayerKind, BETWEEN, OUTSIDE}
    assert whole.kinds[-1].value >= 0


def test_what_cannot_be_profiled_says_so(artifact):
    made = artifact("tflite", "fp32")
    argv = [sys.executable, PROFILER, AGENT, "--runtime", "tflite-runtime", "--model", made.path]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    told = runtime.get("tflite-runtime").parse(result.stdout)
    assert isinstance(told.outcome, Failure)
    assert told.outcome.kind is FailureKind.UNAVAILABLE
    assert "profiler" in told.outcome.message
    assert told.profile is None


def test_a_broken_file_fails_as_it_does_for_the_agent(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    report, result = run("onnxruntime", tmp_path / "broken.onnx")
    assert result.returncode == 1
    assert report.outcome.kind is FailureKind.EXPORT


def test_another_layout_of_litert_is_refused(artifact, tmp_path):
    """A library whose events are larger than those we read: nothing is made of them."""
    made = artifact("tflite", "fp32")
    changed = tmp_path / "profile_operators.py"
    source = PROFILER.read_text()
    assert '("memory", ctypes.c_int64 * 6),' in source
    changed.write_text(source.replace("c_int64 * 6", "c_int64 * 5"))
    argv = [sys.executable, changed, AGENT, "--runtime", "litert", "--model", made.path]
    quick = ["--warmup-secs", "0", "--min-runs", "1", "--min-secs", "0"]
    result = subprocess.run(
        [*argv, *quick], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(result.stdout)["error"]["kind"] == "unsupported"
