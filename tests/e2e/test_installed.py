"""The package as pip installs it: the wheel holds every module and data file, and works alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import shufflenet_deploy

ROOT = Path(shufflenet_deploy.__file__).parents[1]
FOLDERS = ("shufflenet_deploy", "device_scripts", "models", "benchmarks")
#: Begin the names of programs of the repository, which are not part of the package.
LEFT_OUT = (
    "benchmarks/compare_runtimes",
    "benchmarks/journal_scale",
    "benchmarks/model_coverage",
    "benchmarks/own_tools",
    "benchmarks/prediction",
    "benchmarks/runtime_counts",
)


def run(*argv: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    built = run(
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", "out", "."),
        folder=source,
    )
    assert built.returncode == 0, built.stderr
    (found,) = (source / "out").glob("*.whl")
    return found


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    for name in FOLDERS:
        for path in (ROOT / name).rglob("*"):
            place = path.relative_to(ROOT).as_posix()
            if path.is_dir() or "__pycache__" in place or place.startswith(LEFT_OUT):
                continue
            inside = place if name == "shufflenet_deploy" else f"shufflenet_deploy/{place}"
            assert inside in packed


def test_the_installed_package_exports(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    done = run(
        *("-m", "shufflenet_deploy", "export", "--fmt", "native", "--machine", "host"),
        *("--model", "shufflenet-g3-0.25x", "--resolution", "32x32"),
        folder=tmp_path,
        PYTHONPATH=str(site),
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "artifacts").glob("*.native"))) == 2
    where = run(
        "-c",
        "import shufflenet_deploy as p; print(p.__file__)",
        folder=tmp_path,
        PYTHONPATH=str(site),
    )
    assert Path(where.stdout.strip()).is_relative_to(site)
