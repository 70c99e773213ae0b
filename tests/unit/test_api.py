"""The Python API: imported on first use, callable where a package has its name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sample_runs

import shufflenet_deploy as sd
from shufflenet_deploy import api
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.journal import Journal


def printed(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_no_other_module_of_it():
    said = printed(
        "import sys; before = {*sys.modules}; import shufflenet_deploy;"
        "print(*sorted({*sys.modules} - before))"
    )
    assert said.split() == ["shufflenet_deploy"]


def test_a_function_stays_callable_when_the_package_of_its_name_was_imported_first():
    said = printed(
        "from shufflenet_deploy.export import ExportRequest\n"
        "import shufflenet_deploy.bench\n"
        "import shufflenet_deploy as sd\n"
        "from shufflenet_deploy import export\n"
        "from shufflenet_deploy.errors import UsageError\n"
        "assert export is sd.export and export.ExportRequest is ExportRequest\n"
        "for call in (sd.export, sd.bench):\n"
        "    try:\n"
        "        call('shuflenet')\n"
        "    except UsageError as error:\n"
        "        print(error)\n"
        "import sys\n"
        "print('torch' in sys.modules)\n"
    )
    unknown_model, unknown_suite, torch = said.splitlines()
    assert "shuflenet" in unknown_model
    assert "no suite 'shuflenet'" in unknown_suite
    assert torch == "False"


def test_the_names_of_the_api():
    assert {*api.__all__} <= {*dir(sd)}
    assert {*sd.__all__} == {*api.__all__, "__version__"}
    for name in api.__all__:
        assert callable(getattr(sd, name))
    stub = Path(sd.__file__).with_suffix(".pyi").read_text()
    for name in sd.__all__:
        assert f" as {name}\n" in stub or f"{name}: " in stub
    with pytest.raises(AttributeError, match="no attribute 'exports'"):
        _ = sd.exports


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    runs = sample_runs.table8()
    with Journal(path) as book:
        definition = json.dumps({"baseline": "alexnet"})
        book.open_suite(id=runs[0].suite, name="table8", host="pi", definition=definition)
        for run in runs:
            book.append(run)
    return path


@pytest.mark.parametrize(
    ("form", "sign"),
    [
        ("terminal", "ShuffleNet"),
        ("md", "| Model |"),
        ("csv", "model,"),
        ("json", '"schema_version"'),
        ("latex", "\\begin{table"),
    ],
)
def test_a_table_in_every_form(journal, form, sign):
    text = sd.table(form=form, journal=journal)
    assert sign in text
    assert "\x1b" not in text


def test_a_table_over_another_baseline(journal):
    told = json.loads(sd.table(form="json", journal=journal, baseline="none"))
    assert told["baseline"] == ""
    with pytest.raises(UsageError, match="'vgg' was not measured in this suite"):
        sd.table(journal=journal, baseline="vgg")
    with pytest.raises(UsageError, match="no form 'html' of a table: choose one of terminal, md"):
        sd.table(form="html", journal=journal)


def test_bad_input_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"^export: machines: Extra inputs"):
        sd.export("shufflenet-g3-0.25x", machines="host", out=tmp_path)
    with pytest.raises(UsageError, match="'onxx' is not a file format: did you mean onnx"):
        sd.export("shufflenet-g3-0.25x", format="onxx", out=tmp_path)
    with pytest.raises(UsageError, match=r"suite: unknown key 'model' .did you mean models"):
        sd.bench({"model": "alexnet"}, journal=tmp_path / "journal.sqlite")
    with pytest.raises(UsageError, match="instructions are counted on a virtual board only"):
        sd.bench(
            {"models": ["alexnet"], "spec": {"metric": "instructions"}},
            journal=tmp_path / "journal.sqlite",
        )
    with pytest.raises(UsageError, match="shuflenet"):
        sd.load("shuflenet")
