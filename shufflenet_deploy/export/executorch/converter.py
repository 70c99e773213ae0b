"""ExecuTorch's exporter, isolated: from a PyTorch module to a ``.pte`` program for XNNPACK.

The module travels as an exported program; torch itself is this package's, which the worker finds
behind what its own environment has.
"""

from __future__ import annotations

import shutil
import sysconfig
import tempfile
from pathlib import Path

from shufflenet_deploy.codegen.cpu_target import HOST_ARCH
from shufflenet_deploy.export.isolated import IsolatedConverter, calibration_file
from shufflenet_deploy.export.isolated_runtime import IsolatedFile
from shufflenet_deploy.export.job import Job, Written
from shufflenet_deploy.export.torch_program import save_program
from shufflenet_deploy.target import executorch_bridge

_HERE = Path(__file__).parent

CONVERTER = IsolatedConverter(
    name="executorch",
    lock=_HERE / "executorch.lock.txt",
    worker=_HERE / "worker.py",
    pythons=((3, 11), (3, 14)),
    installs="ExecuTorch (once, about 430 MB)",
    advice="use --fmt tflite, which has XNNPACK's kernels too",
)

#: The method of a program that returns ``Metadata.to_json``.
METADATA = "shufflenet_deploy_metadata"


def write(job: Job) -> Written:
    """Write ``job.path``; see ``FileFormat.write``."""
    import torch  # noqa: PLC0415

    job.report("converting")
    size = job.request.resolution
    shape = (job.model.channels, size.height, size.width)
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as name:
        folder = Path(name)
        order = {
            "program": str(save_program(job.model.module, shape, folder / "module.pt2")),
            "torch": str(Path(torch.__file__).parents[1]),
            "calibration": None,
            "facts": {METADATA: job.metadata.to_json()},
        }
        if job.calibration is not None:
            job.report(job.calibrating())
            order["calibration"] = calibration_file(folder, job.calibration)
        shutil.copyfile(CONVERTER.run(order, folder, job.report), job.path)
    return Written("executorch")


def load(path: Path) -> IsolatedFile:
    """A program in ExecuTorch's C++ runtime, through the bridge that targets get as well.

    Raises:
        UsageError: the environment cannot be made here.
        ExportError: there is no C++ compiler, or the runtime refuses the program.
    """
    prepared = CONVERTER.environment()
    CONVERTER.install(prepared, lambda _: None)
    version = CONVERTER.version().partition("+")[0]
    places = sysconfig.get_path(
        "purelib", vars={"base": str(prepared.folder), "platbase": str(prepared.folder)}
    )
    bridge = executorch_bridge.bridge(HOST_ARCH, version, lambda _: Path(places))
    env = {executorch_bridge.VARIABLE: str(bridge)}
    return IsolatedFile(path, CONVERTER, "executorch", env=env)
