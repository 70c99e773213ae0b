"""``export`` and ``inspect`` as they are typed: what is printed, which exit code, what is left."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import digits
import pytest
from command_line import typed
from PIL import Image

from shufflenet_deploy import zoo
from shufflenet_deploy.atomic_files import resource as resource_file
from shufflenet_deploy.zoo.card import card_text

SMALL = ("--model", "shufflenet-g3-0.25x", "--resolution", "64x64")


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return typed(*argv, cwd=cwd, env={"COLUMNS": "160"})


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("export")
    return folder, run("export", *SMALL, cwd=folder)


def test_makes_all_four_files_and_says_how_good_they_are(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = made
    assert done.returncode == 0
    assert done.stderr == "warning: no --weights: untrained weights, good for latency only\n"
    for kind in ("fp32.onnx", "int8.onnx", "fp32.tflite", "int8.tflite"):
        name = f"shufflenet-g3-0.25x-64x64-{kind}"
        assert (folder / "artifacts" / name).is_file()
        assert (folder / "artifacts" / f"{name}.manifest.json").is_file()
        assert name in done.stdout
    assert done.stdout.count("exported") == 4
    assert "dB" in done.stdout
    assert len(files_in(folder)) == 8


def test_the_second_time_costs_nothing(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = made
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "shufflenet_deploy", "export", *SMALL, "--json"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    files = json.loads(done.stdout)["files"]
    assert [file["status"] for file in files] == ["up to date"] * 4
    assert files[0]["artifact"]["parity"]["passed"]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < 2.0  # half a second on an idle machine; making them takes over ten


def test_no_runtime_reports_the_model_to_its_makers(
    made: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """onnxruntime would, and keeps an identifier in the home, unless it is told not to."""
    file = made[0] / "artifacts" / "shufflenet-g3-0.25x-64x64-fp32.onnx"
    image = next(resource_file("export", "images").glob("*.jpg"))
    quiet = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    env = {name: value for name, value in os.environ.items() if name not in quiet}
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "shufflenet_deploy", "classify", image, "--model", file],
        cwd=tmp_path,
        env=env | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "home").rglob("*onnxruntime*"))


def test_the_second_time_imports_no_framework(
    made: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = made
    script = (
        "import sys; from shufflenet_deploy.export import export, ExportRequest;"
        "export(ExportRequest(model='shufflenet-g3-0.25x', format='onnx', precision='int8',"
        " resolution='64x64'));"
        "print({'torch', 'onnx', 'onnxruntime', 'numpy', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_inspects_what_was_made(made: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = made
    file = folder / "artifacts" / "shufflenet-g3-0.25x-64x64-int8.onnx"
    shown = run("inspect", file, cwd=folder)
    assert shown.returncode == 0
    assert "QuantizeLinear" in shown.stdout
    found = json.loads(run("inspect", file, "--json", cwd=folder).stdout)
    assert found["precision"] == "int8"
    assert found["operations"]["QLinearConv"] == 52


def test_a_failed_validation_keeps_the_file_and_goes_on(tmp_path: Path) -> None:
    done = run("export", *SMALL, "--fmt", "tflite", "--min-sqnr", "90", cwd=tmp_path)
    assert done.returncode == 1
    assert "failed validation" in done.stdout
    assert "exported but failed validation: SQNR" in done.stderr
    assert "first differs at" in done.stderr
    names = files_in(tmp_path)
    assert "shufflenet-g3-0.25x-64x64-fp32.tflite" in names
    assert any(re.fullmatch(r".*-64x64-int8-[0-9a-f]{8}\.tflite", name) for name in names)


def test_a_trained_network_that_int8_spoils_is_told_the_cure(tmp_path: Path) -> None:
    """Its files of other weights, pictures and limits lie side by side, and are those printed."""
    argv = ("export", "--model", digits.CARD, "-f", "tflite", "-p", "int8", "--remedies", "none")
    digits.calibration(tmp_path / "own")
    good = run(*argv, "--calib", "own", cwd=tmp_path)
    assert (good.returncode, good.stderr) == (0, "")
    shipped = run(*argv, "--min-sqnr", "60", cwd=tmp_path)
    assert shipped.returncode == 1
    assert "SQNR 23.1, minimum 60; it predicts the same class as PyTorch for" in shipped.stderr
    assert "calibrated with the shipped photographs: give --calib a folder" in shipped.stderr
    few = tmp_path / "few" / "7"
    few.mkdir(parents=True)
    shutil.copy(next((tmp_path / "own").iterdir()), few)
    (few / "._1.png").write_bytes(b"no picture")
    spoilt = run(*argv, "--calib", "few", cwd=tmp_path)
    assert spoilt.returncode == 1
    warning, error = spoilt.stderr.splitlines()
    assert warning.startswith("warning: --calib few holds 1 image: too few")
    assert "it was calibrated with 1 image: give --calib a folder" in error
    made = {name for name in files_in(tmp_path / "artifacts") if name.endswith(".tflite")}
    assert len(made) == 3
    assert all(name.startswith("digits-0348bc2e-32x32-int8-") for name in made)
    printed = {line.split()[0] for done in (good, shipped, spoilt)
               for line in done.stdout.splitlines() if line.startswith("digits")
               and not line.split()[0].endswith(":")}  # fmt: skip
    assert printed == made


def test_a_file_that_was_changed_is_replaced_by_name(tmp_path: Path) -> None:
    argv = ("export", *SMALL, "-f", "tflite", "-p", "fp32")
    run(*argv, cwd=tmp_path)
    file = tmp_path / "artifacts" / "shufflenet-g3-0.25x-64x64-fp32.tflite"
    file.write_bytes(b"of my own")
    done = run(*argv, cwd=tmp_path)
    assert done.returncode == 0
    assert f"note: replacing {file}, which is not what its manifest describes" in done.stderr
    assert "replacing" not in run(*argv, cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--model", "alexnett"), "did you mean alexnet"),
        (("--fmt", "tensorrt"), "--fmt 'tensorrt' is unknown: choose from "),
        (("--precision", "int4"), "--precision 'int4' is unknown"),
        (("--resolution", "wide"), "'wide' is not a resolution"),
        (("--converter", "magic"), "--converter 'magic' is unknown"),
        (("--calib-method", "guess"), "--calib-method 'guess' is unknown"),
        (("--head", "bald"), "--head 'bald' is unknown"),
        (("--model", "alexnet", "--resolution", "16x16"), "16x16 is too small"),
        (("--weights", "missing.pth"), "missing.pth"),
        (("--weights", "text.pth"), "text.pth"),
        (("--weights", "cut.safetensors"), "cut.safetensors"),
        (("--calib", "missing"), "--calib missing is no folder: give one that holds images"),
        (("--calib", "empty"), "no images in empty"),
        (("--calib", "bad", "--fmt", "tflite"), "bad/text.jpg: it is not an image"),
        (("--out", "text.pth"), "text.pth is a file; choose another folder"),
        (("--out", "/proc/nothing"), "--out /proc/nothing: No such file or directory"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, argv: tuple[str, ...], line: str
) -> None:
    (tmp_path / "text.pth").write_text("these are not weights")
    (tmp_path / "cut.safetensors").write_bytes(bytes(20))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "text.jpg").write_text("not a picture")
    before = files_in(tmp_path)
    size = () if "--resolution" in argv else ("--resolution", "64x64")
    model = () if "--model" in argv else ("--model", "shufflenet-g3-0.25x")
    done = run("export", *model, *size, "--precision", "int8", *argv, cwd=tmp_path)
    assert done.returncode == 2
    errors = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert len(errors) == 1
    assert line in errors[0]
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == before


def test_one_bad_resolution_does_not_stop_the_others(tmp_path: Path) -> None:
    done = run(
        *("export", "--model", "squeezenet-1.1", "--resolution", "8x8,64x64"),
        *("--fmt", "tflite", "--precision", "fp32", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 2
    statuses = [file["status"] for file in json.loads(done.stdout)["files"]]
    assert statuses == ["failed", "exported"]


def test_pictures_of_any_kind_calibrate(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for mode, suffix in (("CMYK", "jpg"), ("L", "png"), ("RGBA", "webp"), ("P", "gif")):
        Image.linear_gradient("L").convert("RGB").convert(mode).save(folder / f"{mode}.{suffix}")
    done = run(
        *("export", *SMALL, "--fmt", "tflite", "--precision", "int8", "--calib", folder, "--json"),
        cwd=tmp_path,
    )
    artifact = json.loads(done.stdout)["files"][0]["artifact"]
    assert artifact["calibration"]["pictures"] == 4
    assert artifact["calibration"]["source"] == str(folder)


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "shufflenet_deploy",
            "export",
            "--model",
            "shufflenet-g3-0.25x",
            "--fmt",
            "onnx",
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    # The temporary file appears when the model is loaded and is being converted.
    while not list(tmp_path.rglob("*.onnx")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert files_in(tmp_path) == set()


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\x08\x12\x07pytorch"])
def test_inspect_refuses_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    done = run("inspect", "m.onnx", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: m.onnx is not an undamaged ONNX file")


def test_a_card_and_an_alias_have_one_name_in_every_file_and_line(tmp_path: Path):
    card = tmp_path / "typed.toml"
    mine = zoo.architecture("shufflenet-g3-0.25x").model_copy(update={"name": "mine"})
    card.write_text(card_text(mine))
    out = tmp_path / "out"
    models = f"{card},shufflenet-0.25x,shufflenet-g3-0.25x"
    options = ("--fmt", "tflite", "--precision", "fp32", "--resolution", "32x32", "--out", out)
    result = run("export", "--model", models, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    names = sorted(path.name for path in out.glob("*.tflite"))
    assert len(names) == 2
    # A network of the user's own carries its digest.
    assert re.fullmatch(r"mine-[0-9a-f]{8}-32x32-fp32\.tflite", names[0])
    assert names[1] == "shufflenet-g3-0.25x-32x32-fp32.tflite"
    assert [result.stdout.count(name) for name in names] == [1, 1]
    assert "typed" not in result.stdout
