"""Local cache of downloads for targets: wheels and interpreters."""

from __future__ import annotations

import shutil

from shufflenet_deploy.target import bundled_python, wheels


def forget() -> int:
    """Remove all of it; the bytes that were freed."""
    freed_bytes = 0
    for folder in (wheels.cache_folder(), bundled_python.cache_folder()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        freed_bytes += sum(path.stat().st_size for path in files)
        shutil.rmtree(folder, ignore_errors=True)
    return freed_bytes
