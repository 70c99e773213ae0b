"""Worker in pnnx's virtual environment; imports nothing of this package.

Its one argument is a JSON object: ``onnx``, the file to convert; ``fp16``, whether weights are
halves; ``inputs`` and ``outputs``, their shapes; ``metadata``, JSON on how it is fed; and ``out``,
a folder to be made. It leaves the file ``converted`` there; see ``converter.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from importlib.metadata import files
from pathlib import Path
from typing import Any

#: The earliest time that an archive can state: equal networks are equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def main(order: dict[str, Any]) -> None:
    """Convert; any failure is the process's failure."""
    out = Path(order["out"])
    out.mkdir()
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
    # ncnn reads the weights from the start of the file and looks at nothing behind them.
    converted = weights.rename(out / "converted")
    with zipfile.ZipFile(converted, "a", zipfile.ZIP_STORED) as archive:
        archive.comment = b"ncnn"
        for path in (param, out / "net.json"):
            entry = zipfile.ZipInfo(path.name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


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
