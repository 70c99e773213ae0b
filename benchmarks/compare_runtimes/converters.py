"""The peers of ``compare_runtimes``, and how each comes by its file and its environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compare_runtimes.results import HALVES, PEAK, Outcome, PeerError
from shufflenet_deploy import codegen, export, zoo
from shufflenet_deploy.export import c_export
from shufflenet_deploy.export.image_set import Batches, load_image_set
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.records import Recipe, Resolution

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model

HERE = Path(__file__).parent
INSTALL_SECS, CONVERT_SECS = 1800, 900


@dataclass(frozen=True)
class Job:
    """The measured network, the folder of files, and the network's source."""

    model: str
    weights: Path | None
    resolution: Resolution
    folder: Path
    environments: Path

    def exported(self, file_format: str, precision: str, **options: Any) -> Path:
        """One of our own files."""
        artifact = export.export(
            export.ExportRequest(
                model=self.model,
                weights=self.weights,
                resolution=self.resolution,
                format=file_format,
                precision=precision,
                out=self.folder,
                **options,
            )
        )
        return artifact.path

    def loaded(self) -> Model:
        """The PyTorch module with its weights and its preprocessing."""
        return zoo.load(self.model, weights=self.weights)

    def plain(self) -> Path:
        """The ONNX file that other converters start from: every operation as the paper draws it."""
        return self.exported("onnx", "fp32", lowering="paper")

    def path(self, ending: str) -> Path:
        """A file of this network that is not one of our own formats."""
        return self.folder / f"{self.model}-{self.resolution}{ending}"

    def judges(self) -> list[np.ndarray]:
        """Held-out pictures, which no int8 file was calibrated with, ``(1, 3, H, W)``."""
        chosen = load_image_set(None).validation_set(self.resolution)
        return list(Batches(chosen, self.loaded().preprocessing, self.resolution))


@dataclass(frozen=True)
class Engine:
    """What runs a file in ``worker.py``, and the packages that ours lacks for it.

    ``name`` is that of an engine of the agent, or of a function there. ``module`` is what is imported of the first of them. ``board`` says whether there are wheels of
    it, or programs, for 64-bit ARM.
    """

    name: str
    packages: tuple[str, ...] = ()
    module: str = ""
    board: bool = True


@dataclass(frozen=True)
class Peer:
    """One way to run the network. ``converter`` is what makes its file, where ours has that not."""

    name: str
    precision: str
    engine: Engine
    make: Callable[[Job, Path], Path]
    converter: tuple[str, ...] = ()
    note: str = ""
    settings: Mapping[str, str | bool] = field(default_factory=dict)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages installed for it; none where ours has all."""
        return (*self.engine.packages, *self.converter)

    def outcome(self) -> Outcome:
        """The facts known before it was measured."""
        return Outcome(
            name=self.name, precision=self.precision, engine=self.engine.name, note=self.note
        )


def by_generator(job: Job, _python: Path) -> Path:
    """Our C in floats, compiled for this machine."""
    made = c_export.fp32(job.loaded(), job.resolution, codegen.host())
    return codegen.compile_c(made.source, job.path("-native-fp32.so"))


def by_generator_fp16(job: Job, _python: Path) -> Path:
    """Our C in halves, compiled for this machine."""
    core = codegen.host().with_fp16()
    graph = trace(job.loaded().module, job.resolution, job.model)
    return codegen.compile_c(codegen.generate(graph, core), job.path("-native-fp16.so"))


def by_generator_int8(job: Job, _python: Path) -> Path:
    """Our C in bytes, compiled for this machine."""
    made = c_export.Int8Export(
        model=job.loaded(),
        size=job.resolution,
        machine=codegen.host(),
        images=load_image_set(None),
    ).make(Recipe(method="minmax"))
    return codegen.compile_c(made.source, job.path("-native-int8.so"))


def by_litert_torch(job: Job, python: Path) -> Path:
    """TFLite by Google's converter, in its environment, from the module itself."""
    target = job.path("-litert-torch.tflite")
    if not target.exists():
        program = (
            "import sys, torch, litert_torch\n"
            "from pathlib import Path\n"
            "from shufflenet_deploy import zoo\n"
            "name, weights, height, width, out = sys.argv[1:]\n"
            "net = zoo.load(name, weights=Path(weights) if weights else None).module\n"
            "picture = (torch.zeros(1, 3, int(height), int(width)),)\n"
            "litert_torch.convert(net, picture).export(out)\n"
        )
        size = (str(job.resolution.height), str(job.resolution.width))
        run([python, "-c", program, job.model, job.weights or "", *size, target])
    return target


def by_nncf(job: Job, python: Path) -> Path:
    """OpenVINO's file in int8, by its own quantiser, calibrated with the pictures of all int8."""
    target = job.path("-nncf.xml")
    if not target.exists():
        chosen = load_image_set(None).within_budget(job.resolution)
        given = job.path("-calibration.npy")
        batches = Batches(chosen, job.loaded().preprocessing, job.resolution)
        np.save(given, np.stack(list(batches)))
        program = (
            "import sys, numpy, nncf, openvino\n"
            "source, given, out = sys.argv[1:]\n"
            "data = nncf.Dataset(list(numpy.load(given)))\n"
            "net = openvino.Core().read_model(source)\n"
            "openvino.save_model(nncf.quantize(net, data), out, compress_to_fp16=False)\n"
        )
        run([python, "-c", program, job.plain(), given, target])
    return target


def by_clang(job: Job, _python: Path) -> Path:
    """Multiply-adds in vectors as wide as this core has them."""
    target, core = job.path(f"-{PEAK}.so"), codegen.host()
    run([sys.executable, "-m", "ziglang", "cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror",
         "-target", core.triple, f"-mcpu={core.zig_cpu}", "-fPIC", "-shared", "-nostdlib",
         HERE / "peak_fma.c", "-o", target])  # fmt: skip
    return target


NATIVE = Engine("native")
ONNXRUNTIME = Engine("onnxruntime")
LITERT = Engine("litert")
NCNN = Engine("ncnn", ("ncnn",), "ncnn")
OPENVINO = Engine("openvino", ("openvino",), "openvino", board=False)
MNN = Engine("mnn", ("MNN",), "MNN")
NOTHING_BUT_PEAK = Engine(PEAK, board=False)

PEERS = (
    Peer("ours-native", "fp32", NATIVE, by_generator, note="generated C"),
    Peer(
        "ours-onnx", "fp32", ONNXRUNTIME, lambda job, _: job.exported("onnx", "fp32"),
        note="as torch.onnx writes it",
    ),
    Peer("ours-tflite", "fp32", LITERT, lambda job, _: job.exported("tflite", "fp32")),
    Peer(
        "onnx2tf", "fp32", LITERT,
        lambda job, _: job.exported("tflite", "fp32", converter="onnx2tf"),
    ),
    Peer("litert-torch", "fp32", LITERT, by_litert_torch, ("litert-torch",)),
    Peer(
        "ncnn", "fp32", NCNN, lambda job, _: job.exported("ncnn", "fp32"),
        note="its fp16 and bf16 off",
    ),
    Peer("openvino", "fp32", OPENVINO, lambda job, _: job.plain()),
    Peer("mnn", "fp32", MNN, lambda job, _: job.exported("mnn", "fp32")),
    Peer(
        "ours-native-fp16", HALVES, NATIVE, by_generator_fp16, note="generated C",
    ),
    Peer(
        "ncnn-fp16", HALVES, NCNN, lambda job, _: job.exported("ncnn", "fp16"),
        note="its default: fp16 where it has code for it",
    ),
    Peer(
        "ncnn-bf16", HALVES, NCNN, lambda job, _: job.exported("ncnn", "fp32"),
        note="bf16 storage on", settings={"bf16": True},
    ),
    Peer(
        "openvino-bf16", HALVES, OPENVINO, lambda job, _: job.plain(),
        note="its default: bf16 where the core has it", settings={"precision": ""},
    ),
    Peer(
        "mnn-fp16", HALVES, MNN, lambda job, _: job.exported("mnn", "fp16"),
        note="low precision: fp16 where the core has it",
    ),
    Peer("ours-native-int8", "int8", NATIVE, by_generator_int8, note="generated C"),
    Peer("ours-onnx-int8", "int8", ONNXRUNTIME, lambda job, _: job.exported("onnx", "int8")),
    Peer(
        "onnxruntime-qdq", "int8", ONNXRUNTIME,
        lambda job, _: job.exported("onnx", "int8", lowering="paper"),
        note="plain torch.onnx, onnxruntime's quantiser",
    ),
    Peer("ours-tflite-int8", "int8", LITERT, lambda job, _: job.exported("tflite", "int8")),
    Peer(
        "onnx2tf-int8", "int8", LITERT,
        lambda job, _: job.exported("tflite", "int8", converter="onnx2tf"),
    ),
    Peer("openvino-int8", "int8", OPENVINO, by_nncf, ("nncf",), "NNCF's quantiser"),
    Peer(
        "mnn-int8", "int8", MNN,
        lambda job, _: job.exported("mnn", "int8", calibration_method="entropy"),
        note="MNN's quantiser",
    ),
    Peer(
        "ncnn-int8", "int8", NCNN, lambda job, _: job.exported("ncnn", "int8"),
        note="quantised by this package: ncnn's quantiser is in no wheel",
    ),
    Peer(PEAK, PEAK, NOTHING_BUT_PEAK, by_clang),
)  # fmt: skip


def run(words: Sequence[object], *, cwd: Path | None = None, secs: int = CONVERT_SECS) -> str:
    """Run a program of a peer; what it printed, or its last line as the reason why it failed.

    Raises:
        PeerError: it failed, or took too long.
    """
    argv = [str(word) for word in words]
    # NNCF would report to its makers that it was used.
    quiet = {**os.environ, "NNCF_CI": "1"}
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=quiet, capture_output=True, text=True, timeout=secs, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"{Path(argv[0]).name}: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise PeerError(f"{Path(argv[0]).name}: {lines[-1] if lines else 'failed'}")
    return done.stdout.strip()


def environment(peer: Peer, job: Job) -> Path:
    """The Python of a peer's environment, which sees our packages behind its own.

    Raises:
        PeerError: its packages cannot be installed.
    """
    if not peer.packages:
        return Path(sys.executable)
    folder = job.environments / "-".join((*peer.packages, f"py{sys.version_info.minor}"))
    python = folder / "bin" / "python"
    complete = (folder / "complete").exists()
    if not complete:
        say(f"{peer.name}: installing {' '.join(peer.packages)}")
        venv.create(folder, with_pip=True, clear=True)
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site,) = folder.glob("lib/python*/site-packages")
    # Again each time: the environment outlives a checkout that has moved.
    (site / "ours.pth").write_text("\n".join((*ours, str(HERE.parent))) + "\n")
    if not complete:
        same = f"torch=={metadata.version('torch').partition('+')[0]}"
        run([python, "-m", "pip", "install", "-q", *peer.packages, same], secs=INSTALL_SECS)
        (folder / "complete").touch()
    return python


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)
