"""Realistic runs for tests: what a bench of Table 8's models on a board would have stored.

Latencies are log-normal around a median, with a few late samples as an operating system makes them;
everything is seeded, so that two calls give the same runs.
"""

from __future__ import annotations

import math
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from shufflenet_deploy.records import (
    Artifact,
    BenchmarkSpec,
    Cell,
    Conditions,
    ContingencyTable,
    Core,
    Evaluation,
    Failure,
    LabelledData,
    Measurement,
    Metric,
    Parity,
    Precision,
    Prediction,
    Resolution,
    Run,
    TargetFacts,
    TensorSpec,
    TimeParts,
    TopKCounts,
    WeightsInfo,
)

START = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)

PI = TargetFacts(
    host="pi",
    transport="ssh",
    arch="aarch64",
    os="Debian GNU/Linux 12 (bookworm)",
    kernel="6.6.31",
    cpu="Cortex-A72",
    board="Raspberry Pi 4 Model B Rev 1.4",
    cores=tuple(Core(index=index, max_khz=1_800_000, part="0xd08") for index in range(4)),
    memory_bytes=4 << 30,
    free_bytes=20 << 30,
    libc="glibc 2.36",
    python="3.11.2",
)

SPEC = BenchmarkSpec(min_runs=20, processes=3)

#: Multiply-adds at 224x224, in millions.
MEGA = {
    "shufflenet-g3-0.5x": 37.59,
    "shufflenet-g3-1x": 137.46,
    "shufflenet-g3-2x": 524.05,
    "alexnet": 714.2,
    "mobilenet-1.0": 568.7,
}

#: Milliseconds at 224x224, somewhere between a phone of 2017 and a Pi of 2020.
LATENCY_MS = {
    "shufflenet-g3-0.5x": 12.4,
    "shufflenet-g3-1x": 33.1,
    "shufflenet-g3-2x": 104.0,
    "alexnet": 131.0,
    "mobilenet-1.0": 96.0,
}


def run(
    model: str = "shufflenet-g3-0.5x",
    *,
    resolution: str = "224x224",
    process: int = 0,
    median: float | None = None,
    noise: float = 0.01,
    count: int = 40,
    outcome: Measurement | Failure | None = None,
    round_secs: float = 0.0,
    precision: Precision = Precision.FP32,
    runtime: str = "onnxruntime",
    runtime_version: str | None = "1.32.0",
    options: dict[str, str] | None = None,
    target: TargetFacts = PI,
    spec: BenchmarkSpec = SPEC,
    suite: str = "table8-20261124-0930",
    trained: bool = True,
    sha256: str | None = None,
    **changes: Any,
) -> Run:
    """One process of one cell; ``median`` is in raw units (ns, instructions)."""
    size = Resolution.parse(resolution)
    scale = size.pixels / 224**2
    name = f"{suite} {model} {resolution} {precision} {runtime} {target.host} {process} {options}"
    seed = zlib.crc32(name.encode())
    middle = median or LATENCY_MS.get(model, 50.0) * 1e6 * scale
    started_at = START + timedelta(seconds=60 * process + round_secs)
    multiply_adds = round(MEGA.get(model, 100.0) * 1e6 * scale)
    return Run(
        id=f"{seed:08x}",
        suite=suite,
        started_at=started_at,
        process=process,
        cell=Cell(
            model=model,
            options=options or {},
            runtime=runtime,
            format="onnx" if runtime == "onnxruntime" else "tflite",
            precision=precision,
            resolution=size,
            threads=spec.threads,
        ),
        artifact=artifact(model, size, precision, multiply_adds, trained=trained, sha256=sha256),
        multiply_adds=multiply_adds,
        runtime_version=runtime_version,
        target=target,
        spec=spec,
        outcome=outcome
        or measurement(middle, noise=noise, count=count, seed=seed, threads=spec.threads),
        **{
            "before": conditions(started_at),
            "after": conditions(started_at + timedelta(seconds=3)),
            "tool": {"version": "0.1.0", "environment": "venv", "attempt": 1, "stderr": ""},
            **changes,
        },
    )


def measurement(
    median: float, *, noise: float = 0.01, count: int = 40, seed: int = 0, threads: int = 1
) -> Measurement:
    """Samples around ``median``; ``noise`` is the standard deviation of their logarithm.

    Each of the threads has a core of its own.
    """
    generator = np.random.default_rng(seed)
    samples = median * np.exp(generator.normal(0.0, noise, count))
    late = generator.random(count) < (0.02 if noise else 0.0)
    samples[late] *= 1.3
    return Measurement(
        samples=tuple(round(sample) for sample in samples),
        first=round(median * 1.8),
        load=round(median * 4),
        peak_rss_bytes=61 << 20,
        clock_resolution_ns=1,
        cpus=tuple(range(4 - threads, 4)),
    )


def conditions(at: datetime, **changes: Any) -> Conditions:
    """A quiet Raspberry Pi."""
    return Conditions(
        **{
            "at": at,
            "governors": {"cpu0": "performance"},
            "frequency_khz": {"cpu0": 1_800_000},
            "temperature_c": {"cpu-thermal": 48.2},
            "throttled": 0,
            "load_1min": 0.12,
            **changes,
        }
    )


def artifact(
    model: str,
    size: Resolution,
    precision: Precision,
    multiply_adds: int,
    *,
    trained: bool = True,
    sha256: str | None = None,
) -> Artifact:
    """An exported file that passed its parity check."""
    return Artifact(
        path=Path(f"/artifacts/{model}-{size}-{precision}.onnx"),
        sha256=sha256 or f"{zlib.crc32(f'{model}{size}{precision}'.encode()):064x}",
        size_bytes=5_600_000,
        model=model,
        format="onnx",
        precision=precision,
        resolution=size,
        inputs=(TensorSpec(name="input", shape=(1, 3, size.height, size.width), dtype="float32"),),
        outputs=(TensorSpec(name="logits", shape=(1, 1000), dtype="float32"),),
        multiply_adds=multiply_adds,
        parameters=1_000_000,
        options={"head": "fixed"} if model.startswith("alexnet") else {},
        weights=(
            WeightsInfo.checkpoint("weights.pth", sha256="0" * 64, layout="megvii")
            if trained
            else WeightsInfo.seeded(0, sha256="0" * 64)
        ),
        converter="torch.onnx",
        parity=Parity(
            inputs=4,
            max_abs_diff=1e-5,
            sqnr_db=110.0,
            cosine=1.0,
            top1_agreement=1.0,
            passed=True,
        ),
        created_at=START,
    )


def evaluation(of: Artifact, *, top1: int = 56, pictures: int = 100, **changes: Any) -> Evaluation:
    """The evaluation that ``eval`` would have stored of a file; its module is right as often."""
    tally = TopKCounts(pictures=pictures, top1=top1, top5=pictures, tied=0)
    return Evaluation(
        **{
            "id": f"{zlib.crc32(f'{of.sha256}{top1}'.encode()):08x}",
            "at": START,
            "artifact": of,
            "data": LabelledData(
                source="val", fingerprint="f" * 64, pictures=pictures, found=50_000, classes=1000
            ),
            "file": tally,
            "module": tally,
            "pairing": ContingencyTable(
                both_right=top1,
                only_module_right=0,
                only_file_right=0,
                both_wrong=pictures - top1,
                same_class=pictures,
            ),
            **changes,
        }
    )


def table8(**changes: Any) -> list[Run]:
    """Table 8's models and resolutions, three processes each, in interleaved rounds."""
    return [
        run(model, resolution=resolution, process=process, round_secs=5 * place, **changes)
        for process in range(3)
        for place, (model, resolution) in enumerate(
            (model, resolution)
            for resolution in ("224x224", "480x640", "720x1280")
            for model in MEGA
        )
    ]


def counted(model: str, **changes: Any) -> list[Run]:
    """Two processes that counted instructions on a deterministic board: equal to the last one."""
    spec = SPEC.model_copy(update={"metric": Metric.INSTRUCTIONS, "processes": 2})
    least = MEGA[model] * 1e6 / 4
    return [
        run(model, process=process, median=least / 0.34, noise=0.0, spec=spec, **changes)
        for process in range(2)
    ]


def close(value: float, expected: float, tolerance: float = 0.02) -> bool:
    """True if two figures agree within a relative tolerance."""
    return math.isclose(value, expected, rel_tol=tolerance)


def prediction(**changes: Any) -> Prediction:
    """Of the cell of ``run()``, for a board with the core of its host."""
    parts = TimeParts(issue=8e6, mispredict=0, l2=1e6, l3=0, dram_bandwidth=1e6, dram_latency=0)
    usual = {
        "board": "a-board",
        "core": PI.core_name(),
        "clock_ghz": 1.5,
        "model": "shufflenet-g3-0.5x",
        "runtime": "onnxruntime",
        "version": "1.32.0",
        "precision": "fp32",
        "resolution": Resolution.parse("224x224"),
        "threads": SPEC.threads,
        "predicted_ns": 10e6,
        "low_ns": 7.5e6,
        "high_ns": 12.5e6,
        "parts": parts,
        "instructions": 1000,
        "multiply_adds": 1000,
        "artifact": "ab" * 32,
        "validated": True,
    }
    return Prediction(**usual | changes)
