"""The tools that runtimes bring to measure themselves, and those that cannot be had.

Each tool runs one file for a while in one process, and answers figures in milliseconds by their
names: ``mean``, ``median`` or ``least``. One that cannot be told how many threads to use takes one
per core; the agent is then given as many.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.export.openvino.converter import CONVERTER as OPENVINO

#: Tools that no package of PyPI or Debian carries, and where they were looked for.
NOT_TO_BE_HAD = {
    "onnxruntime_perf_test": "not in the wheels of onnxruntime, onnxruntime-genai and "
    "onnxruntime-extensions; Debian's onnxruntime-tools is the same onnxruntime_test",
    "benchmark_model": "not in the wheels of ai-edge-litert, and litert-cli fetches it from "
    "elsewhere; Debian's libtensorflow-lite-dev has none; see --benchmark-model",
    "benchncnn": "not in the wheels of ncnn and pnnx; ncnn's source archive on PyPI has its "
    "library without benchmark/ and tools/; Debian has no ncnn",
    "MNN's benchmark.out": "not in the wheel of MNN, whose programs convert and quantise only; "
    "there is no source archive; Debian has no MNN",
    "executor_runner": "not in the wheel of executorch, which has libraries and headers without "
    "the program's source; Debian has no ExecuTorch",
}


@dataclass(frozen=True)
class Tool:
    """A runtime's own tool: whose files it takes, its name, and how it is asked.

    ``ask`` takes the file, seconds and inferences (a tool knows one of them). ``python`` is that of
    the environment in which the runtime is, for our agent: the tool's runtime is ours. A tool that
    is not ``single_threaded`` uses a thread per core.
    """

    runtime: str
    format: str
    name: str
    ask: Callable[[Path, float, int], dict[str, float]]
    python: Callable[[], Path] = lambda: Path(sys.executable)
    single_threaded: bool = True

    @property
    def threads(self) -> int:
        """The threads that both it and the agent use."""
        return 1 if self.single_threaded else len(_cores())


def _cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


def run(words: list[str], threads: int = 1) -> str:
    """Standard output of a program that is pinned to as many cores as it has threads."""
    cores = ",".join(map(str, _cores()[-threads:]))
    done = subprocess.run(
        ["taskset", "-c", cores, *words], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise SystemExit(f"{Path(words[0]).name} failed: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def _onnxruntime_test(model: Path, _secs: float, runs: int) -> dict[str, float]:
    """The mean that the wheel of onnxruntime's own script prints, its first inference included."""
    program = Path(sys.executable).with_name("onnxruntime_test")
    words = [str(program), str(model), str(runs)]
    said = run(words, len(_cores()))
    found = re.search(r"avg latency: ([\d.]+) ms", said)
    return {"mean": float(found[1])} if found else {}


def _litert_benchmark(model: Path, _secs: float, runs: int) -> dict[str, float]:
    """What the wheel of LiteRT's own script says, which calls LiteRT by its newer interface."""
    program = Path(sys.executable).with_name("litert-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        words = ["--num_runs", str(runs), "--warmup_runs", "50", "--num_threads", "1"]
        run([str(program), "--model", str(model), *words, "--result_json", str(result)])
        told = json.loads(result.read_text())
    flat = dict(_numbers(told))
    wanted = {
        "mean": r"(avg|mean)\w*_ms$",
        "median": r"(median|p50)\w*_ms$",
        "least": r"min\w*_ms$",
    }
    return {
        name: next(value for key, value in flat.items() if re.search(pattern, key))
        for name, pattern in wanted.items()
        if any(re.search(pattern, key) for key in flat)
    }


def _numbers(value: object, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, Mapping):
        return [pair for key, one in value.items() for pair in _numbers(one, f"{path}.{key}")]
    return [(path, float(value))] if isinstance(value, int | float) else []


def _openvino_python() -> Path:
    return OPENVINO.environment().python


def _benchmark_app(model: Path, secs: float, _runs: int) -> dict[str, float]:
    """What OpenVINO's own tool says, told what our engine is: one stream, one request, fp32."""
    program = _openvino_python().with_name("benchmark_app")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(model) as archive:
            archive.extractall(folder)
        settings = {
            "api": "sync", "hint": "none", "nstreams": "1", "nthreads": "1", "pin": "NO",
            "infer_precision": "CPU:f32", "t": str(max(1, round(secs))),
            "report_type": "no_counters", "report_folder": folder,
        }  # fmt: skip
        words = [word for key, value in settings.items() for word in (f"-{key}", value)]
        run([str(program), "-m", str(Path(folder, "model.xml")), "-json_stats", *words])
        told = json.loads(Path(folder, "benchmark_report.json").read_text())["execution_results"]
    words = {"mean": "avg latency", "median": "latency (ms)", "least": "min latency"}
    return {name: float(told[word]) for name, word in words.items()}


TOOLS = (
    Tool("onnxruntime", "onnx", "onnxruntime_test", _onnxruntime_test, single_threaded=False),
    Tool("litert", "tflite", "litert-benchmark", _litert_benchmark),
    Tool("openvino", "openvino", "benchmark_app", _benchmark_app, _openvino_python),
)
