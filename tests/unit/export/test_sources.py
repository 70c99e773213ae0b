"""The sources in an export's key: everything that decides its bytes, and an edit of any of it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import shufflenet_deploy
from shufflenet_deploy.export import formats, sources

PACKAGE = Path(shufflenet_deploy.__file__).parent
GENERATOR = PACKAGE / "codegen"

#: Exports that reach every generator there is, then names the modules that were loaded for it.
EXPORT = """
import sys
from pathlib import Path
from shufflenet_deploy.export import ExportRequest, export
for fmt in ("onnx", "tflite", "native"):
    export(ExportRequest(model="shufflenet-g3-0.25x", format=fmt, precision="int8", machine="host",
                         resolution="32x32", remedies="none", out=Path(sys.argv[1])))
print(*(m.__file__ for n, m in sys.modules.items() if n.startswith("shufflenet_deploy")), sep="\\n")
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "*.jpg", "*.safetensors")
    return Path(
        shutil.copytree(
            PACKAGE, tmp_path_factory.mktemp("tree") / "shufflenet_deploy", ignore=ignored
        )
    )


def test_every_folder_of_the_generator_of_c_is_among_them() -> None:
    found = set(sources.files(PACKAGE, *formats.names()))
    assert {path for path in GENERATOR.rglob("*") if path.suffix in {".c", ".h"}} <= found
    for folder in {path.parent for path in GENERATOR.rglob("*.py")}:
        written = set(folder.glob("*.py"))
        # What no export reaches is the reference that tests compare with.
        assert {path.name for path in written - found} <= {
            "int8_interpreter.py",
            "int8_element_interpreter.py",
            "requantization.py",
        }


def test_other_formats_do_not_depend_on_the_generator_of_c() -> None:
    assert not any(GENERATOR in path.parents for path in sources.files(PACKAGE, "onnx", "tflite"))


def test_a_script_that_is_run_by_its_name_is_among_them() -> None:
    assert PACKAGE / "export" / "tflite" / "onnx2tf_worker.py" in sources.files(PACKAGE, "tflite")


@pytest.mark.parametrize("name", ["onnx", "native"])
def test_an_edit_of_any_of_them_changes_the_key(copied: Path, name: str) -> None:
    paths = sources.files(copied, name)
    before = sources.digest_of(paths, copied)
    seen = {before}
    for path in paths:
        original = path.read_bytes()
        path.write_bytes(original + b"\n")
        seen.add(sources.digest_of(paths, copied))
        path.write_bytes(original)
    assert len(seen) == len(paths) + 1
    assert sources.digest_of(paths, copied) == before


def test_a_new_module_counts_once_it_is_imported(copied: Path) -> None:
    added, importer = copied / "export" / "brand_new.py", copied / "network" / "graph.py"
    added.write_text('"""New."""\n', encoding="utf-8")
    assert added not in sources.files(copied, "onnx")
    original = importer.read_text(encoding="utf-8")
    importer.write_text(
        original
        + "\ndef late():\n    from shufflenet_deploy.export import (  # later\n"
        + "        brand_new,  # this one\n    )\n",
        encoding="utf-8",
    )
    assert added in sources.files(copied, "onnx")
    importer.write_text(original, encoding="utf-8")


def test_imports_are_read_as_python_reads_them() -> None:
    """The text is searched, not parsed, for speed: held to the parser over the whole package."""
    modules = {".".join(("shufflenet_deploy", *path.relative_to(PACKAGE).with_suffix("").parts))
               for path in PACKAGE.rglob("*.py")}  # fmt: skip
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                wanted |= {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import"
                wanted |= {str(node.module), *(f"{node.module}.{one.name}" for one in node.names)}
        assert wanted & modules <= sources._imported(text), path


def test_whatever_an_export_loads_is_among_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {Path(line) for line in done.stdout.splitlines() if line.startswith("/")}
    assert len(loaded) > 100
    assert loaded <= set(sources.files(PACKAGE, *formats.names()))
