"""Worker in onnx2tf's virtual environment; imports nothing of this package; see ``onnx2tf.py``.

Its one argument is a JSON object: ``onnx``, ``out`` (folders and files) and ``calibration``, an
``.npy`` file of ``(N, H, W, 3)`` inputs or null for an fp32 file. It leaves ``converted``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(order: dict[str, str | None]) -> None:
    """Convert; any failure is the process's failure."""
    import onnx2tf  # type: ignore[import-not-found]  # noqa: PLC0415

    out, calibration = Path(str(order["out"])), order["calibration"]
    options: dict[str, object] = {}
    if calibration is not None:
        options = {
            "output_integer_quantized_tflite": True,
            "quant_type": "per-channel",
            # The inputs are preprocessed already: mean 0, deviation 1.
            "custom_input_op_name_np_data_path": [["input", calibration, 0.0, 1.0]],
            "input_quant_dtype": "int8",
            "output_quant_dtype": "int8",
        }
    onnx2tf.convert(
        input_onnx_file_path=order["onnx"],
        output_folder_path=str(out),
        copy_onnx_input_output_names_to_tflite=True,
        non_verbose=True,
        **options,
    )
    pattern = "*_float32.tflite" if calibration is None else "*_full_integer_quant.tflite"
    next(out.glob(pattern)).rename(out / "converted")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
