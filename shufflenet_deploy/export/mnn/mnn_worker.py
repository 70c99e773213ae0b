"""Worker in MNN's virtual environment; imports nothing of this package.

Its one argument is a JSON object. ``do`` is ``convert``, with ``onnx``, a file; ``fp16``, whether
weights are halves; ``maker``, a text for the file; and ``int8``, the quantiser's settings or null.
It leaves the file in floats as ``float.mnn``, too. Or it is ``observe``, with ``model``, a file in
floats; ``images``, an array of them; and ``bins``: then it answers with the lowest and highest of
each value over the images, and its histogram. Or it is ``describe``, with ``model``, a file, and
``shapes`` of inputs by name. ``out`` is a folder to be made, in which ``converted`` is left: the
file, or JSON. See ``converter``, ``int8``, ``inspection``.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def main(order: dict[str, Any]) -> None:
    """Convert, observe or describe; any failure is the process's failure."""
    out = Path(order["out"])
    out.mkdir()
    if order["do"] == "convert":
        (out / "converted").write_bytes(_same_each_time(_converted(order, out).read_bytes()))
    elif order["do"] == "observe":
        (out / "converted").write_text(json.dumps(_observed(order)))
    else:
        (out / "converted").write_text(json.dumps(_described(order["model"], order["shapes"])))


def _converted(order: dict[str, Any], out: Path) -> Path:
    """The file in floats, or in int8.

    MNN's commands would report to its makers what is converted; these are the functions below.
    """
    import _tools  # type: ignore[import-not-found]  # noqa: PLC0415

    plain, rounded, recipe = out / "float.mnn", out / "int8.mnn", out / "int8.json"
    words = ["-f", "ONNX", "--modelFile", order["onnx"], "--MNNModel", str(plain)]
    words += ["--bizCode", order["maker"], *(["--fp16"] if order["fp16"] else [])]
    _tools.mnnconvert(["mnnconvert", *words])
    if not plain.is_file():
        sys.exit("MNN's converter wrote no file")
    if order["int8"] is None:
        return plain
    recipe.write_text(json.dumps(order["int8"]))
    _tools.mnnquant(["mnnquant", str(plain), str(rounded), str(recipe)])
    if not rounded.is_file():
        sys.exit("MNN's quantiser wrote no file")
    return rounded


def _same_each_time(content: bytes) -> bytes:
    """The file with an identifier that follows from the rest of it, not a random one."""
    found = _UUID.search(content)
    if found is None:
        return content
    rest = content[: found.start()] + content[found.end() :]
    name = str(uuid.UUID(bytes=hashlib.sha256(rest).digest()[:16], version=4))
    return content[: found.start()] + name.encode() + content[found.end() :]


def _observed(order: dict[str, Any]) -> dict[str, Any]:
    """The range of each value over the images, and how often which numbers occur in it.

    A value is called by the operator that makes it and the place among its outputs, or by the one
    that reads it first: ``NAME:0``, ``NAME:in``. A histogram reaches from the lowest to the highest
    number in ``bins`` equal bins, without zeros: they are exact whatever the range.
    """
    import numpy as np  # noqa: PLC0415

    low: dict[str, float] = {}
    high: dict[str, float] = {}
    counts: dict[str, Any] = {}

    def see_range(name: str, numbers: Any) -> None:
        bounds = float(numbers.min()), float(numbers.max())
        if not np.isfinite(bounds).all():
            sys.exit("a value is not finite for a calibration image: check the weights")
        low[name] = min(bounds[0], low.get(name, bounds[0]))
        high[name] = max(bounds[1], high.get(name, bounds[1]))

    def see_all(name: str, numbers: Any) -> None:
        found = np.histogram(numbers[numbers != 0], order["bins"], (low[name], high[name]))[0]
        counts[name] = counts.get(name, 0.0) + found

    _run_images(order, see_range)
    if order["bins"]:
        _run_images(order, see_all)
    return {
        name: {"span": [low[name], high[name]], "counts": [*map(float, counts.get(name, ()))]}
        for name in low
    }


def _run_images(order: dict[str, Any], see: Any) -> None:
    """Show every value of floats to ``see``, image by image."""
    import MNN  # type: ignore[import-not-found]  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    interpreter = MNN.Interpreter(order["model"])
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    (source,) = interpreter.getSessionInputAll(session).values()

    def held(shape: Any, numbers: Any) -> Any:
        planar = MNN.Tensor_DimensionType_Caffe
        return MNN.Tensor(tuple(shape), MNN.Halide_Type_Float, numbers, planar)

    def look(name: str, tensor: Any) -> None:
        shape = tensor.getShape()
        if tensor.getDataType() == MNN.Halide_Type_Float and all(size > 0 for size in shape):
            copy = held(shape, np.zeros(shape, np.float32))
            tensor.copyToHostTensor(copy)
            see(name, np.array(copy.getData(), np.float32))

    def begins(tensors: Any, operator: Any) -> bool:
        if operator.getType().startswith(("Convolution", "Pooling")):
            look(f"{operator.getName()}:in", tensors[0])
        return True

    def ends(tensors: Any, operator: Any) -> bool:
        for place, tensor in enumerate(tensors):
            look(f"{operator.getName()}:{place}", tensor)
        return True

    for image in np.load(order["images"], allow_pickle=False):
        given = np.ascontiguousarray(image[None])
        source.copyFrom(held(given.shape, given))
        interpreter.runSessionWithCallBackInfo(session, begins, ends)


def _described(path: str, shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Inputs, outputs, and each operator that MNN runs with its operations, in millions.

    Of a file that MNN does not load, ``refused`` alone.
    """
    import MNN  # noqa: PLC0415

    try:
        interpreter = MNN.Interpreter(path)
    except Exception:  # noqa: BLE001 - MNN raises no other
        return {"refused": "MNN does not load it"}
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
    sources = interpreter.getSessionInputAll(session)
    stated = {name: list(tensor.getShape()) for name, tensor in sources.items()}
    for name, shape in shapes.items():
        interpreter.resizeTensor(sources[name], tuple(shape))
    if shapes:
        interpreter.resizeSession(session)
    operators: list[tuple[str, float]] = []

    def begins(_tensors: object, operator: Any) -> bool:
        operators.append((operator.getType(), operator.getFlops()))
        return True

    interpreter.runSessionWithCallBackInfo(session, begins, lambda _tensors, _operator: True)
    sinks = interpreter.getSessionOutputAll(session)
    return {
        "inputs": {name: list(tensor.getShape()) for name, tensor in sources.items()},
        "stated": stated,
        "outputs": {name: list(tensor.getShape()) for name, tensor in sinks.items()},
        "operators": operators,
    }


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
