"""Worker in pnnx's virtual environment; imports nothing of this package.

Its one argument is a JSON object. ``do`` is ``convert``, with ``onnx``, a file; ``fp16``, whether
weights are halves; ``inputs`` and ``outputs``, their shapes; and ``metadata``, JSON on how it is
fed: ``converted`` is a ZIP archive of ncnn's pair and of ``net.json``. Or it is ``observe``, with
``model``, a file of fp32; ``values``, names; ``images``, an array of them; and ``bins``: then it is
JSON, the peak of each value and its histogram. ``out`` is a folder to be made for ``converted``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Convert or observe; any failure is the process's failure."""
    out = Path(order["out"])
    out.mkdir()
    if order["do"] == "convert":
        _convert(order, out)
    else:
        (out / "converted").write_text(json.dumps(_observed(order)))


def _convert(order: dict[str, Any], out: Path) -> None:
    param, weights = out / "net.param", out / "net.bin"
    command = [
        *(str(_program()), order["onnx"], f"fp16={int(order['fp16'])}", "optlevel=2"),
        *(f"inputshape={','.join(_text(shape) for shape in order['inputs'])}",),
        *(f"ncnnparam={param}", f"ncnnbin={weights}", f"ncnnpy={out / 'net_ncnn.py'}"),
        *(f"pnnxparam={out / 'p.param'}", f"pnnxbin={out / 'p.bin'}", f"pnnxpy={out / 'p.py'}"),
        f"pnnxonnx={out / 'p.onnx'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode or not param.is_file() or not weights.is_file():
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        sys.exit(lines[-1] if lines else f"pnnx ended with status {done.returncode}")
    names = _names(param.read_text())
    for kind, shapes in (("inputs", order["inputs"]), ("outputs", order["outputs"])):
        if len(names[kind]) != len(shapes):
            sys.exit(f"pnnx's network has {len(names[kind])} {kind}, the module {len(shapes)}")
    described = {
        kind: [
            {"name": name, "shape": shape, "dtype": "float32"}
            for name, shape in zip(names[kind], order[kind], strict=True)
        ]
        for kind in ("inputs", "outputs")
    }
    described["metadata"] = json.loads(order["metadata"])
    (out / "net.json").write_text(json.dumps(described, indent=1))
    with zipfile.ZipFile(out / "converted", "w", zipfile.ZIP_STORED) as archive:
        for path in (param, weights, out / "net.json"):
            archive.write(path, path.name)


def _observed(order: dict[str, Any]) -> dict[str, Any]:
    """The largest magnitude of each value over the images, and how often which magnitudes occur.

    A histogram reaches from minus the peak to the peak, in ``bins`` equal bins, without zeros: they
    are exact whatever the range. Without bins there is none.
    """
    import ncnn  # type: ignore[import-not-found]  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    net = _in_fp32(order["model"])
    (source,) = net.input_names()
    images = np.load(order["images"])

    def observe(see: Any) -> None:
        for image in images:
            extractor = net.create_extractor()
            extractor.set_light_mode(False)
            extractor.input(source, ncnn.Mat(image).clone())
            for name in order["values"]:
                status, value = extractor.extract(name)
                if status:
                    sys.exit(f"ncnn ended with status {status}")
                see(name, np.array(value))

    peaks = dict.fromkeys(order["values"], 0.0)
    counts = {name: np.zeros(order["bins"]) for name in order["values"]}

    def see_peak(name: str, value: Any) -> None:
        peak = float(np.abs(value).max())
        if not np.isfinite(peak):
            sys.exit("a value is not finite for a calibration image: check the weights")
        peaks[name] = max(peaks[name], peak)

    def see_all(name: str, value: Any) -> None:
        span = (-peaks[name], peaks[name])
        counts[name] += np.histogram(value[value != 0], order["bins"], span)[0]

    observe(see_peak)
    if order["bins"]:
        observe(see_all)
    return {name: {"peak": peak, "counts": counts[name].tolist()} for name, peak in peaks.items()}


def _in_fp32(path: str) -> Any:
    """A network in ncnn, which rounds nothing."""
    import ncnn  # noqa: PLC0415

    net = ncnn.Net()
    options = net.opt
    options.num_threads, options.use_vulkan_compute = 1, False
    for option in ("packed", "storage", "arithmetic"):
        setattr(options, f"use_fp16_{option}", False)
    options.use_bf16_packed = options.use_bf16_storage = False
    with zipfile.ZipFile(path) as archive:
        layers = archive.read("net.param").decode("ascii")
    if net.load_param_mem(layers) or net.load_model(path):
        sys.exit("ncnn cannot load what pnnx made")
    return net


def _program() -> Path:
    """The program in the wheel: its Python part would need PyTorch."""
    (found,) = (one for one in files("pnnx") or () if one.parts == ("pnnx", "pnnx"))
    return Path(str(found.locate()))


def _text(shape: list[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _names(param: str) -> dict[str, list[str]]:
    """What pnnx calls a network's inputs and outputs: in0, in1, ..., out0, ..."""
    layers = [line.split() for line in param.splitlines()[2:] if line.strip()]
    inputs = [words[1] for words in layers if words[0] == "Input"]
    made = [name for words in layers for name in words[4 + int(words[2]) :][: int(words[3])]]
    outputs = sorted(
        (name for name in made if name.startswith("out")), key=lambda one: int(one[3:])
    )
    return {"inputs": inputs, "outputs": outputs}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
