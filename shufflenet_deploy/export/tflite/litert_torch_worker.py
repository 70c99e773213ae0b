"""Worker in litert-torch's virtual environment; imports nothing of this package.

Its one argument is a JSON object: ``program``, a file of ``torch.export``; ``shape`` of its input
``[1, C, H, W]``; ``torch``, the folder that torch is imported from; ``out``, a folder to be made;
and ``calibration``, an ``.npy`` file of ``(N, H, W, C)`` inputs or null for an fp32 file. It leaves
``converted`` in ``out``; see ``litert_torch.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_MAP_AXES = 4


def main(order: dict[str, Any]) -> None:
    """Convert; any failure is the process's failure."""
    # Behind the environment's own packages: of those that are there as well, its versions count.
    sys.path.append(order["torch"])
    import litert_torch  # type: ignore[import-not-found]  # noqa: PLC0415
    import torch  # noqa: PLC0415

    out = Path(order["out"])
    out.mkdir()
    module = torch.export.load(order["program"]).module()
    sample = torch.zeros(order["shape"])
    with torch.no_grad():
        results = module(sample)
    listed = results if isinstance(results, (tuple, list)) else [results]
    maps = [at for at, result in enumerate(listed) if result.ndim == _MAP_AXES]
    channels_last = litert_torch.to_channel_last_io(module, args=[0], outputs=maps)
    converted = litert_torch.convert(channels_last, (sample.permute(0, 2, 3, 1).contiguous(),))
    plain = out / "float.tflite"
    converted.export(str(plain))
    if order["calibration"] is None:
        plain.rename(out / "converted")
    else:
        (out / "converted").write_bytes(_in_int8(plain, Path(order["calibration"])))


def _in_int8(plain: Path, calibration: Path) -> bytes:
    """The file in int8: weights per channel, activations by the ranges of the images."""
    import numpy as np  # noqa: PLC0415
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415
    from ai_edge_quantizer import quantizer, recipe  # type: ignore[import-not-found]  # noqa: PLC0415

    ((signature, names),) = Interpreter(str(plain)).get_signature_list().items()
    (source,) = names["inputs"]
    images = np.load(calibration)
    tool = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    ranges = tool.calibrate({signature: [{source: image[None]} for image in images]})
    return bytes(tool.quantize(ranges).quantized_model)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
