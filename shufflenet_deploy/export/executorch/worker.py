"""Worker in ExecuTorch's virtual environment; imports nothing of this package.

Its one argument is a JSON object: ``program``, a file of ``torch.export``; ``torch``, the folder
that torch is imported from; ``calibration``, an ``.npy`` file of inputs ``(N, C, H, W)`` or null
for an fp32 file; ``facts``, texts to store in the file by name; and ``out``, a folder to be made.
It leaves ``converted`` there; see ``converter.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Convert; any failure is the process's failure."""
    # Behind the environment's own packages: of those that are there as well, its versions count.
    sys.path.append(order["torch"])
    import torch  # noqa: PLC0415
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # type: ignore[import-not-found]  # noqa: PLC0415
        XnnpackPartitioner,
    )
    from executorch.exir import (  # type: ignore[import-not-found]  # noqa: PLC0415
        to_edge_transform_and_lower,
    )

    out = Path(order["out"])
    out.mkdir()
    program = torch.export.load(order["program"])
    if order["calibration"] is not None:
        program = _in_int8(program, Path(order["calibration"]))
    lowered = to_edge_transform_and_lower(
        program, partitioner=[XnnpackPartitioner()], constant_methods=order["facts"]
    )
    (out / "converted").write_bytes(lowered.to_executorch().buffer)


def _in_int8(program: Any, calibration: Path) -> Any:
    """The program in int8 by PT2E: weights per channel, activations by the ranges of the images."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (  # type: ignore[import-not-found]  # noqa: PLC0415
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import (  # type: ignore[import-not-found]  # noqa: PLC0415
        convert_pt2e,
        prepare_pt2e,
    )

    images = [torch.from_numpy(image[None]) for image in np.load(calibration, allow_pickle=False)]
    scheme = get_symmetric_quantization_config(is_per_channel=True)
    observed = prepare_pt2e(program.module(), XNNPACKQuantizer().set_global(scheme))
    with torch.no_grad():
        for image in images:
            observed(image)
    return torch.export.export(convert_pt2e(observed), (images[0],))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
