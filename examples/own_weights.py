"""Export a checkpoint of your own to ONNX and TFLite, and print how close each file is to PyTorch.

    python examples/own_weights.py CHECKPOINT MODEL HEIGHTxWIDTH FOLDER

CHECKPOINT is a .pth, .pt or .safetensors file with a state dict in one of the supported layouts.
"""

from __future__ import annotations

import sys

import shufflenet_deploy as sd
from shufflenet_deploy.api import PrecisionName
from shufflenet_deploy.errors import DeployError

FILES: tuple[tuple[str, PrecisionName], ...] = (
    ("onnx", "fp32"),
    ("tflite", "fp32"),
    ("tflite", "int8"),
)


def main(checkpoint: str, model: str, resolution: str, folder: str) -> None:
    """Load the weights, then export and validate each of ``FILES``."""
    loaded = sd.load(model, weights=checkpoint)
    print(f"{loaded.architecture.title}: {loaded.weights.layout} layout, {loaded.weights.source}")
    for file_format, precision in FILES:
        artifact = sd.export(
            model,
            weights=checkpoint,
            format=file_format,
            precision=precision,
            resolution=resolution,
            out=folder,
        )
        parity = artifact.parity
        result = "passed" if parity.passed else f"failed: {parity.reason}"
        print(f"{artifact.path.name}: {artifact.size_bytes / 1e6:.2f} MB, parity {result}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:5])
    except DeployError as error:
        sys.exit(f"error: {error}")
