"""Worker in OpenVINO's virtual environment; imports nothing of this package.

Its one argument is a JSON object: ``onnx``, a file; ``precision``, one of fp32, fp16 and int8;
``calibration``, an ``.npy`` file of inputs ``(N, C, H, W)`` or null; ``facts``, texts to store in
the file by name; and ``out``, a folder to be made. It leaves ``converted`` there, an archive of
OpenVINO's pair of files; see ``converter.py``.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

_PARTS = ("model.xml", "model.bin")
#: The earliest time that a zip archive can state, so that equal files have equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def main(order: dict[str, Any]) -> None:
    """Convert; any failure is the process's failure."""
    import openvino  # type: ignore[import-not-found]  # noqa: PLC0415

    out = Path(order["out"])
    out.mkdir()
    model = openvino.convert_model(order["onnx"])
    if order["precision"] == "int8":
        model = _in_int8(model, Path(order["calibration"]))
    _name_by_place(model)
    for name, text in order["facts"].items():
        model.set_rt_info(text, ["shufflenet-deploy", name])
    path = out / _PARTS[0]
    openvino.save_model(model, path, compress_to_fp16=order["precision"] == "fp16")
    with zipfile.ZipFile(out / "converted", "w", zipfile.ZIP_STORED) as archive:
        for part in _PARTS:
            archive.writestr(zipfile.ZipInfo(part, _EPOCH), (out / part).read_bytes())


def _name_by_place(model: Any) -> None:
    """Name nodes without one by their place: OpenVINO counts all nodes that it ever made."""
    for place, node in enumerate(model.get_ordered_ops()):
        kind, _, count = node.get_friendly_name().rpartition("_")
        if kind == node.get_type_name() and count.isdecimal():
            node.set_friendly_name(f"{kind}_{place}")


def _in_int8(model: Any, calibration: Path) -> Any:
    """The model in int8 but for its pools: weights per channel, activations by ranges of images."""
    import nncf  # type: ignore[import-not-found]  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    images = [image[None] for image in np.load(calibration, allow_pickle=False)]
    # OpenVINO has no integer pools on ARM, and refuses the whole file there.
    pools = nncf.IgnoredScope(types=["AvgPool", "MaxPool"], validate=False)
    data = nncf.Dataset(images)
    return nncf.quantize(model, data, subset_size=len(images), ignored_scope=pools)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
