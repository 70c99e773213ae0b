"""OpenVINO's converter and quantiser, isolated: from the plain ONNX model to a file.

OpenVINO's own form is a pair of files, ``.xml`` and ``.bin``. A file of this package is both in one
archive, as ``model.xml`` and ``model.bin``, not compressed: ``unzip`` makes the pair of it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.export.job import Job, Written, onnx_file, plain_onnx

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="openvino",
    lock=_HERE / "openvino.lock.txt",
    worker=_HERE / "worker.py",
    pythons=((3, 11), (3, 14)),
    installs="OpenVINO and NNCF (once, about 550 MB)",
    advice="use --fmt onnx",
)


def write(job: Job) -> Written:
    """Write ``job.path``; see ``FileFormat.write``."""
    from shufflenet_deploy.export.onnx.fp32 import call_output_feature_map  # noqa: PLC0415

    job.report("converting")
    plain = plain_onnx(job)
    if job.request.head == "none":
        call_output_feature_map(plain)
    with onnx_file(plain) as source:
        folder = source.parent
        order = {
            "onnx": str(source),
            "precision": job.request.precision.value,
            "calibration": None,
            "facts": {"metadata": job.metadata.to_json()},
        }
        if job.calibration is not None:
            job.report(job.calibrating())
            order["calibration"] = calibration_file(folder, job.calibration)
        shutil.copyfile(CONVERTER.run(order, folder, job.report), job.path)
    return Written("openvino")
