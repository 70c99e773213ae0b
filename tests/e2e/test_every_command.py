"""Properties of every command: ``--json`` is one document, mistakes are one line, help is instant.

Commands are found in the program itself: one that is added has to be called here too.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import json_page
import pytest
import sample_runs
import typer

from shufflenet_deploy import cli
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.journal import Journal

PICTURES = resource("export", "images")
TINY = "shufflenet-g3-0.25x-noshuffle"
SMALL = ("--model", TINY, "--resolution", "32x32")
#: Called with ``--json`` by the tests in tests/e2e/board, where there are boards.
ON_BOARDS = {"board up", "board status", "board ssh", "cost"}
#: What they say depends on this machine; called with ``--json`` by tests/contract.
ON_TARGETS = {"doctor", "tune governor"}

#: How to call every other command so that it succeeds; in this order, in one folder.
CALLS = {
    "models": (),
    "devices": ("local",),
    "export": (*SMALL, "--fmt", "onnx", "--precision", "fp32"),
    "inspect": ("EXPORTED", "--layers"),
    "classify": ("labelled/0/image.jpg", "--model", "EXPORTED"),
    "emit-c": (*SMALL, "--machine", "host", "--preprocess"),
    "import": ("theirs.safetensors",),
    "bench": (
        *(*SMALL, "--baseline", "none", "--processes", "1", "--retries", "0"),
        *("--warmup", "1", "--min-runs", "2", "--min-secs", "0", "--profile"),
    ),
    "profile": ("last",),
    "eval": (*SMALL, "--data", "labelled", "--labels", "numbers", "-f", "onnx", "-p", "fp32"),
    "tune lowering": (
        *(*SMALL, "--runtime", "litert", "--no-stages", "--file", "tuned.toml"),
        *("--processes", "1", "--min-secs", "0"),
    ),
    "restore": ("--host", "local"),
    "table": ("--suite", "new"),
    "report": ("--suite", "new", "--plots", "plots"),
    "compare": ("old", "new"),
    "history": ("--host", "pi", "--model", "alexnet", "--resolution", "224x224"),
    "runs list": (),
    "runs show": ("new",),
    "runs export": ("new",),
    "runs import": ("runs.jsonl",),
    "runs delete": ("old", "--yes"),
    "clean": ("--host", "local"),
    "predict": (*SMALL, "--core", "a53@1.2", "--profile"),
    "predict calibrate": ("--host", "local", "--core", "a72", "--secs", "0.01", "--cpus", "0"),
    "board list": (),
    "board down": ("--name", "nobody"),
}

#: Names and figures that a narrow screen must not break, by command.
WHOLE = {
    "models": ("shufflenet-g3-0.25x-noshuffle", "138.36M", "15470.3M", "56.3%"),
    "runs list": ("new",),
    "runs show": ("shufflenet-g3-0.5x", "720x1280", "onnxruntime"),
    "export": (f"{TINY}-32x32-fp32.onnx",),
    "eval": ("PyTorch", "(McNemar)."),
    "devices": ("local",),
}

#: A mistake per command, and what the line about it says.
MISTAKES = {
    "models": (("nonesuch",), "nonesuch"),
    "export": (("--model", "shuflenet"), "did you mean"),
    "inspect": (("nothing.onnx",), "nothing.onnx"),
    "classify": (("image.jpg", "--model", "nothing.onnx"), "nothing.onnx"),
    "emit-c": (("--machine", "z80"), "z80"),
    "import": (("nothing.pth",), "nothing.pth"),
    "bench": (("--model", "shuflenet"), "did you mean"),
    "profile": (("nonesuch",), "nonesuch"),
    "eval": (("--data", "nothing"), "nothing"),
    "doctor": (("--host", "board:nobody"), "board up"),
    "tune governor": (("--host", "board:nobody"), "board up"),
    "tune lowering": (("--model", "shuflenet"), "did you mean"),
    "restore": (("--host", "board:nobody"), "board up"),
    "table": (("--suite", "nonesuch"), "nonesuch"),
    "report": (("--suite", "nonesuch"), "nonesuch"),
    "compare": (("new", "nonesuch"), "nonesuch"),
    "history": (("--model", "alexnat"), "alexnet"),
    "runs list": (("--journal", "."), "folder"),
    "runs show": (("nonesuch",), "nonesuch"),
    "runs export": (("nonesuch",), "nonesuch"),
    "runs import": (("nothing.jsonl",), "nothing.jsonl"),
    "runs delete": (("new",), "--yes"),
    "clean": (("--host", "board:nobody"), "board up"),
    "board up": (("--cpu", "z80"), "cortex-a72"),
    "board status": (("--name", "nobody"), "board up"),
    "board ssh": (("--name", "nobody"), "board up"),
    "board down": (("--name", "../x"), "name"),
    "cost": (("--precision", "fp16", "--runtime", "native"), "cortex-a72 does not compute in fp16"),
    "predict": (("--board", "raspberry-pi-99"), "raspberry-pi-4"),
    "predict calibrate": (("--host", "board:nobody"), "board up"),
}


def commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command as it is typed, with what it takes."""

    def below(group, words):
        for name, command in group.commands.items():
            if getattr(command, "invoke_without_command", False):
                yield " ".join((*words, name)), command
            if hasattr(command, "commands"):
                yield from below(command, (*words, name))
            else:
                yield " ".join((*words, name)), command

    yield from below(typer.main.get_command(cli.command_line()), ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A journal with two suites, their export, and weights of another implementation."""
    place = tmp_path_factory.mktemp("commands")
    with Journal(place / "journal.sqlite") as journal:
        for name in ("older", "old", "new"):
            for run in sample_runs.table8(suite=name):
                journal.append(run)
        (place / "runs.jsonl").write_text("".join(journal.export_lines("new")))
    from pytorchcv.models.shufflenet import get_shufflenet  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    for number, picture in enumerate(sorted(PICTURES.glob("*.jpg"))[:4]):
        (place / "labelled" / str(number)).mkdir(parents=True)
        shutil.copy(picture, place / "labelled" / str(number) / "image.jpg")
    save_file(get_shufflenet(groups=3, width_scale=0.25).state_dict(), place / "theirs.safetensors")
    return place


@pytest.fixture
def typed(folder, monkeypatch, capfd):
    """Runs a command line in this process; its exit code, standard output and error."""
    monkeypatch.chdir(folder)
    for name, place in (
        ("SHUFFLENET_DEPLOY_JOURNAL", "journal.sqlite"),
        ("SHUFFLENET_DEPLOY_ROOT", "target"),
        ("SHUFFLENET_DEPLOY_STATE", "state"),
    ):
        monkeypatch.setenv(name, str(folder / place))
    monkeypatch.setenv("FORCE_COLOR", "")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["shufflenet-deploy", *words])
        monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
        capfd.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as left:
            status = int(left.code or 0)
        finally:
            sys.stdin.close()
        out, err = capfd.readouterr()
        return status, out, err

    return run


def test_every_command_has_json_and_is_called_here():
    found = dict(commands())
    without = [
        name
        for name, command in found.items()
        if not any("--json" in option.opts for option in command.params)
    ]
    assert without == []
    assert set(found) == set(CALLS) | ON_BOARDS | ON_TARGETS
    assert set(found) == set(json_page.COMMANDS)


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_help_shows_every_text_whole_and_defaults_once(typed, name):
    _, out, _ = typed(*name.split(), "--help")
    shown = re.sub(r"[\s│]+", "", out)
    command = dict(commands())[name]
    assert re.sub(r"[\s`]+", "", command.help) in shown
    for option in command.params:
        text = getattr(option, "help", None) or ""
        assert re.sub(r"\s+", "", text) in shown
        assert not ("[default:" in text and option.default)
        takes_a_value = not (getattr(option, "is_flag", False) or option.required)
        if takes_a_value:
            assert "[default:" in text or option.default not in (None, "")


def test_help_tells_the_defaults_that_the_code_has():
    from shufflenet_deploy.bench import Suite  # noqa: PLC0415

    usual = Suite(models=("alexnet",), resolutions=("224x224",)).model_dump(mode="json")
    usual |= usual["spec"]
    usual["warmup"] = f"{usual['warmup_runs']} and {usual['warmup_secs']}s"
    usual |= {"cooldown": usual["cooldown_secs"], "timeout": usual["timeout_secs"]}
    usual |= {"runtime": usual["runtimes"][0], "precision": usual["precisions"][0]}
    names = [
        *("warmup", "min_runs", "min_secs", "max_secs", "processes", "max_processes", "cooldown"),
        *("timeout", "retries", "metric", "payload", "baseline", "alexnet_head"),
        "head",
        *("runtime", "precision"),
    ]
    options = {option.name: option for option in dict(commands())["bench"].params}
    for name in names:
        assert f"[default: {usual[name]}]" in options[name].help


@pytest.mark.parametrize("words", [(), ("bench",), ("runs",), ("board", "down"), ("tune",)])
def test_h_is_help(typed, words):
    assert typed(*words, "-h")[1] == typed(*words, "--help")[1] != ""


def test_one_thing_may_be_named_as_a_bare_word_or_as_an_option(typed):
    for words in (("nobody",), ("--name", "nobody"), ("nobody", "-n", "nobody")):
        status, out, _ = typed("board", "down", *words)
        assert (status, out) == (0, "board nobody is not there: nothing to do\n")
        assert "no board nobody" in typed("board", "status", *words)[2]
    governor = ("tune", "governor", "--host", "board:nobody")
    for words in (("performance",), ("--governor", "performance"), ()):
        assert "board up" in typed(*governor, *words)[2]
    for words in (
        ("board", "down", "one", "--name", "two"),
        ("board", "down", "one", "--all"),
        (*governor, "performance", "--governor", "schedutil"),
    ):
        status, _, err = typed(*words)
        assert status == 2
        assert "contradict each other" in err


def test_the_tab_key_completes_in_a_real_shell(folder):
    """bash reads the script that --show-completion prints, and asks this program for words."""
    program = Path(sys.executable).with_name("shufflenet-deploy")
    asked = (
        f'PATH="{program.parent}:$PATH"; eval "$(shufflenet-deploy --show-completion)"\n'
        "complete_line() { COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1));"
        " _shufflenet_deploy_completion shufflenet-deploy; echo ${COMPREPLY[@]}; }\n"
        "complete_line 'shufflenet-deploy ben'\n"
        "complete_line 'shufflenet-deploy export --model alexnet,mobilenet-0.2'\n"
        "complete_line 'shufflenet-deploy table --suite n'\n"
    )
    environment = {**os.environ, "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite")}
    done = subprocess.run(
        ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["bench", "alexnet,mobilenet-0.25", "new"]


@pytest.mark.parametrize("name", list(CALLS))
def test_json_is_one_document(typed, folder, name):
    exported = [str(path) for path in folder.glob("artifacts/*.onnx")]
    words = [exported[0] if word == "EXPORTED" else word for word in CALLS[name]]
    status, out, err = typed(*name.split(), *words, "--json")
    assert status == 0, err
    document = json.loads(out)
    assert document["schema_version"] == 1
    assert json_page.undocumented(name, document) == []
    assert "Traceback" not in err


@pytest.mark.parametrize("name", list(MISTAKES))
def test_a_mistake_leaves_standard_output_empty_and_costs_one_line(typed, name):
    words, told = MISTAKES[name]
    status, out, err = typed(*name.split(), *words, "--json")
    assert (status, out) == (2, "")
    (line,) = [one for one in err.splitlines() if not one.startswith("warning:")]
    assert line.startswith("error: ")
    assert told in line


#: The same commands for people, on a screen. What would be measured again is only shown again.
SCREENS = {
    **CALLS,
    "bench": ("BENCHED", "--resume"),
    "profile": ("BENCHED",),
    "compare": ("older", "new"),
    "runs delete": ("new", "--yes"),
}
#: Written for machines to read or shells to run; or it would be measured again.
NO_SCREENS = {"runs export", "runs import", "emit-c", "tune lowering"}


@pytest.mark.parametrize("name", [name for name in SCREENS if name not in NO_SCREENS])
def test_80_columns_hold_every_screen(typed, folder, name, monkeypatch):
    exported = [str(path) for path in folder.glob("artifacts/*.onnx")]
    with Journal(folder / "journal.sqlite") as journal:
        benched = next((row.id for row in journal.suites() if row.name == "bench"), "")
    standing = {"EXPORTED": exported[0], "BENCHED": benched}
    words = [standing.get(word, word) for word in SCREENS[name]]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    outer, inner = pty.openpty()
    written: list[bytes] = []
    reader = threading.Thread(target=lambda: written.extend(_read(outer)))
    reader.start()
    with open(inner, "w") as screen:  # noqa: PTH123 - a file descriptor
        monkeypatch.setattr(sys, "stdout", screen)
        status, _, err = typed(*name.split(), *words)
    reader.join()
    os.close(outer)
    assert status == 0, err
    text = re.sub(r"\x1b\[[0-9;]*m", "", b"".join(written).decode()).replace("\r", "")
    # A path may be longer than any line.
    too_long = [line for line in text.splitlines() if len(line) > 80 and str(folder) not in line]
    assert too_long == []
    assert "…" not in text
    for word in WHOLE.get(name, ()):
        assert word in text.split()


def _read(descriptor: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # the other end is closed
        while chunk := os.read(descriptor, 65536):
            yield chunk


# --- terminals -----------------------------------------------------------------------------------


def on_a_terminal(folder: Path, *words: str, **env: str) -> str:
    """The output of a command on a terminal of 120 columns."""
    outer, inner = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shufflenet_deploy", *words],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        cwd=folder,
        env={
            **{key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI")},
            "TERM": "xterm-256color",
            "COLUMNS": "120",
            "LINES": "50",
            "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite"),
            "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
            **env,
        },
    )
    os.close(inner)
    written, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if select.select([outer], [], [], 0.5)[0]:
            try:
                chunk = os.read(outer, 65536)
            except OSError:  # the other end is closed
                break
            written += chunk
    os.close(outer)
    assert process.wait(10) == 0, written.decode()
    return written.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|38;|9[0-7])[0-9;]*m")


def test_no_color_is_honoured_on_a_terminal_and_there_is_none_in_a_pipe(folder):
    words = ("table", "--suite", "older")
    assert COLOUR.search(on_a_terminal(folder, *words))
    assert not COLOUR.search(on_a_terminal(folder, *words, NO_COLOR="1"))
    done = subprocess.run(
        [sys.executable, "-m", "shufflenet_deploy", *words],
        cwd=folder,
        env={**os.environ, "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr


def test_a_bench_shows_the_cell_and_the_time_that_is_left(folder):
    text = on_a_terminal(folder, "bench", *CALLS["bench"], "--processes", "3")
    assert f"{TINY} 32x32 fp32 onnxruntime" in text
    assert re.search(r"\d/3", text)
    assert re.search(r"\d:\d\d:\d\d", text)
    assert "left" in text
    assert COLOUR.search(text)


# --- speed ---------------------------------------------------------------------------------------

HEAVY = (
    "numpy",
    "onnx",
    "onnxruntime",
    "paramiko",
    "pydantic",
    "sqlalchemy",
    "tensorflow",
    "torch",
)


def test_help_is_instant():
    code = (
        "import sys; sys.argv = ['shufflenet-deploy', '--help']\n"
        "from shufflenet_deploy import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    secs, loaded = [], set()
    for _ in range(5):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        secs.append(time.monotonic() - started)
        loaded = set(done.stderr.split())
    assert "compare" in done.stdout
    assert loaded & set(HEAVY) == set()
    # 0.2 s on an idle machine; the best of several, as others may be at work here.
    assert min(secs) < 1.0
