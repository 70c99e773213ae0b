"""The bridge to ExecuTorch's C++ runtime, compiled for a machine and kept in this one's cache.

The source lies beside this file. What it is compiled against are the headers of ExecuTorch's wheel,
of the same version as the libraries that it is going to call.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from shufflenet_deploy.codegen import toolchain
from shufflenet_deploy.target import wheels

_SOURCE = Path(__file__).with_suffix(".cpp")

#: Where the agent's engine looks for the path of the bridge on its machine.
VARIABLE = "SHUFFLENET_DEPLOY_EXECUTORCH_BRIDGE"

#: What the wheel's own libraries were compiled with.
_DEFINITIONS = ("-DC10_USING_CUSTOM_GENERATED_MACROS", "-DET_EVENT_TRACER_ENABLED")
_INCLUDE = "executorch/include"


def bridge(arch: str, version: str, headers: Callable[[Path], Path]) -> Path:
    """The compiled bridge for ``arch`` and a version of ExecuTorch.

    ``headers`` is called only where it must be compiled, with an empty folder; it returns the
    folder that holds the wheel's ``executorch/include``.

    Raises:
        ExportError: there is no C++ compiler, or it failed.
        TargetError: the headers cannot be fetched.
    """
    digest = hashlib.sha256(_SOURCE.read_bytes())
    digest.update(f"{arch} {version}".encode())
    digest.update(Path(toolchain.__file__).read_bytes())
    path = wheels.cache_folder().with_name("bridges") / f"{arch}-{digest.hexdigest()[:16]}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(prefix="executorch-") as folder:
        include = headers(Path(folder)) / _INCLUDE
        places = (include, include / "executorch/runtime/core/portable_type/c10")
        options = (*_DEFINITIONS, *(f"-I{place}" for place in places))
        return toolchain.compile_cpp(_SOURCE, path, arch=arch, options=options)


def headers_of_wheel(version: str, platform: wheels.Platform) -> Callable[[Path], Path]:
    """Headers from the wheel for a target, as ``bridge`` wants them."""

    def unpacked(folder: Path) -> Path:
        (wheel,) = wheels.fetched((f"executorch=={version}",), platform)
        with zipfile.ZipFile(wheel) as archive:
            for entry in archive.infolist():
                name = PurePosixPath(entry.filename)
                if name.is_relative_to(_INCLUDE) and ".." not in name.parts:
                    archive.extract(entry, folder)
        return folder

    return unpacked
