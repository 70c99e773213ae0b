"""``emit-c`` as it is typed: what it writes compiles, and bad input is one line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line
from shufflenet_deploy.errors import ParityError, UsageError
from shufflenet_deploy.export import Tolerances

SMALL = ("emit-c", "-m", "shufflenet-g3-0.25x", "--resolution", "64x64")


def emitted(folder: Path, *more: str):
    result = CliRunner().invoke(command_line(), [*SMALL, *more, "--out", str(folder), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_what_is_written_compiles(tmp_path: Path, precision: str):
    said = emitted(tmp_path, "--machine", "x86-64", "--precision", precision)
    assert said["precision"] == precision
    if precision == "fp32":
        assert 0 < said["relative_difference"] <= 1e-4
    else:
        assert said["parity"]["passed"]
        assert said["recipe"]["method"] == "minmax"
    command = [*said["compile"].replace("cc ", "gcc ", 1).split(), "-Wall", "-Werror"]
    command = [word.replace("'", "") for word in command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.o").stat().st_size > said["weights_bytes"]


def test_preprocessing_comes_with_it_where_it_is_asked_for(tmp_path: Path):
    assert not (emitted(tmp_path), (tmp_path / "net_preprocess.c").exists())[1]
    said = emitted(tmp_path, "--machine", "x86-64", "--preprocess")
    assert said["compile"].endswith("-c net.c net_preprocess.c")
    command = said["compile"].replace("cc ", "gcc ", 1).replace("'", "").split()
    strict = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([*command, *strict], cwd=tmp_path, check=True)
    assert (tmp_path / "net_preprocess.o").exists()


def test_int8_for_a_foreign_core_is_checked_in_its_numbers(tmp_path: Path):
    sqnr = [
        emitted(tmp_path, "--machine", machine, "-p", "int8")["parity"]["sqnr_db"]
        for machine in ("armv7", "cortex-a76", "x86-64")
    ]
    assert sqnr[0] == sqnr[1] != sqnr[2]


def test_fp16_is_judged_as_an_exported_file_is(tmp_path: Path):
    said = emitted(tmp_path, "--machine", "cortex-a76", "-p", "fp16")
    assert said["precision"] == "fp16"
    assert said["parity"]["passed"]
    assert 30 < said["parity"]["sqnr_db"] < 80
    assert "recipe" not in said


def test_int8_that_is_no_good_is_not_written(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(Tolerances, "cosine", lambda *_, **__: 1.1)
    argv = [*SMALL, "-p", "int8", "--machine", "x86-64", "--out", str(tmp_path / "c")]
    result = CliRunner().invoke(command_line(), [*argv, "--remedies", "none"])
    assert isinstance(result.exception, ParityError)
    assert "minimum 1.1; it predicts the same class as PyTorch for" in str(result.exception)
    assert str(result.exception).endswith("(minmax calibration)")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-p", "all"), "fp32, fp16, int8"),
        (("-p", "fp16"), "cortex-a72 does not compute in fp16"),
        (("-p", "fp16", "--machine", "a76", "--remedies", "none"), "int8 only"),
        (("-p", "int8", "--calib-method", "mean"), "percentile"),
        (("-p", "int8", "--remedies", "many"), "auto, none"),
        (("--calib", "."), "int8 only"),
        (("-p", "int8", "--calib", "missing"), "missing"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, options, words):
    result = CliRunner().invoke(command_line(), [*SMALL, *options, "--out", str(tmp_path / "c")])
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception)
    assert not (tmp_path / "c").exists()


def test_an_unknown_machine(tmp_path: Path):
    result = CliRunner().invoke(
        command_line(), ["emit-c", "--machine", "z80", "--out", str(tmp_path)]
    )
    assert isinstance(result.exception, UsageError)
    assert "cortex-a72" in str(result.exception)
