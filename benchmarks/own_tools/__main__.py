"""The agent's figure next to that of a runtime's own tool, on the same file, in one run.

    PYTHONPATH=benchmarks .venv/bin/python -m own_tools --model shufflenet-g3-1x

Agent and tool take turns, each pinned to one core with one thread, so that both see the same
machine; each figure is the median over the rounds. A tool that prints a mean is compared with our
mean.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

from shufflenet_deploy.runtime.agent_file import write_agent

#: Tools that no package of PyPI or Debian carries, and why a runtime has no row.
NOT_TO_BE_HAD = {
    "onnxruntime_perf_test": "built from its sources only; the wheel has onnxruntime_test",
    "benchmark_model": "built from TensorFlow's or LiteRT's sources only; see --benchmark-model",
    "benchncnn": "built from ncnn's sources only",
    "MNN's benchmark.out": "built from MNN's sources only",
    "executor_runner": "built from ExecuTorch's sources only",
}


def own_figures(agent: Path, runtime: str, model: Path, secs: float) -> dict[str, float]:
    """Mean and median of one process of the agent, in ms."""
    words = [sys.executable, str(agent), "--runtime", runtime, "--model", str(model)]
    told = json.loads(run([*words, "--min-secs", f"{secs:g}"]))
    samples = [sample / 1e6 for sample in told["samples_ns"]]
    return {"mean": fmean(samples), "median": median(samples)}


def onnxruntime_test(model: Path, runs: int) -> dict[str, float]:
    """The mean that the wheel of onnxruntime's own script prints, its first inference included."""
    program = Path(sys.executable).with_name("onnxruntime_test")
    found = re.search(r"avg latency: ([\d.]+) ms", run([str(program), str(model), str(runs)]))
    return {"mean": float(found[1])} if found else {}


def litert_benchmark(model: Path, runs: int) -> dict[str, float]:
    """What the wheel of LiteRT's own script says, which calls LiteRT by its newer interface."""
    program = Path(sys.executable).with_name("litert-benchmark")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        words = ["--num_runs", str(runs), "--warmup_runs", "50", "--num_threads", "1"]
        run([str(program), "--model", str(model), *words, "--result_json", str(result)])
        told = json.loads(result.read_text())
    flat = dict(_numbers(told))
    wanted = {"mean": r"(avg|mean)\w*_ms$", "median": r"(median|p50)\w*_ms$"}
    return {
        name: next(value for key, value in flat.items() if re.search(pattern, key))
        for name, pattern in wanted.items()
        if any(re.search(pattern, key) for key in flat)
    }


def _numbers(value: object, path: str = "") -> list[tuple[str, float]]:
    if isinstance(value, dict):
        return [pair for key, one in value.items() for pair in _numbers(one, f"{path}.{key}")]
    return [(path, float(value))] if isinstance(value, int | float) else []


#: For each runtime the format of its files, its tool, and how it is asked.
TOOLS: dict[str, tuple[str, str, Callable[[Path, int], dict[str, float]]]] = {
    "onnxruntime": ("onnx", "onnxruntime_test", onnxruntime_test),
    "litert": ("tflite", "litert-benchmark", litert_benchmark),
}


def run(words: list[str]) -> str:
    """Standard output of a program that is pinned to one core."""
    core = str(max(os.sched_getaffinity(0)))
    done = subprocess.run(
        ["taskset", "-c", core, *words], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise SystemExit(f"{Path(words[0]).name} failed: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def exported(model: str, resolution: str, kind: str, folder: Path) -> Path:
    """An fp32 file of a model, made where it is not there yet."""
    program = Path(sys.executable).with_name("shufflenet-deploy")
    words = ["export", "--model", model, "--resolution", resolution, "--fmt", kind]
    done = subprocess.run(
        [str(program), *words, "--precision", "fp32", "--out", str(folder), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(json.loads(done.stdout)["files"][0]["path"])


def main() -> None:
    """Compare, and print one line per runtime and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="shufflenet-g3-1x")
    parser.add_argument("--resolution", default="224x224")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--secs", type=float, default=2.0, help="of each process")
    options = parser.parse_args()
    if shutil.which("taskset") is None:
        raise SystemExit("taskset is missing: apt-get install util-linux")
    with tempfile.TemporaryDirectory() as place:
        agent = write_agent(Path(place))
        for runtime, (kind, tool, ask) in TOOLS.items():
            file = exported(options.model, options.resolution, kind, Path("artifacts"))
            first = own_figures(agent, runtime, file, 0.5)
            runs = max(50, int(options.secs * 1e3 / first["median"]))
            ours, theirs = [], []
            for _ in range(options.rounds):
                ours.append(own_figures(agent, runtime, file, options.secs))
                theirs.append(ask(file, runs))
            for name in theirs[0]:
                mine = median(one[name] for one in ours)
                its = median(one[name] for one in theirs)
                print(
                    f"{runtime:<12} {name:<7} ours {mine:.3f} ms, {tool} {its:.3f} ms, "
                    f"ratio {mine / its:.3f}"
                )
    for tool, reason in NOT_TO_BE_HAD.items():
        print(f"{tool}: not to be had: {reason}")


if __name__ == "__main__":
    main()
