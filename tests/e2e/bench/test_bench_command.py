"""``bench`` and ``runs`` as a user types them: real export, real runtimes, a real SSH server."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from command_line import typed
from fake_sysfs import Cpus

from shufflenet_deploy.journal import parse_lines
from shufflenet_deploy.records import Run

SMALL = "shufflenet-g3-0.25x"
SMALLER = "shufflenet-g3-0.25x-noshuffle"
QUICK = (
    *("--baseline", SMALLER, "--model", SMALL, "--resolution", "32x32"),
    *("--warmup", "2", "--min-runs", "5", "--min-secs", "0", "--retries", "0"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shared by the module, so that each file is exported once."""
    return tmp_path_factory.mktemp("bench")


@pytest.fixture
def command(folder):
    """Runs the command line; its result, with standard output and error as text."""

    def run(*words, check=0, env=None):
        result = typed(*words, cwd=folder, env=environment(folder, env))
        assert result.returncode == check, result.stderr
        assert "Traceback" not in result.stderr
        return result

    return run


def environment(folder, more=None):
    """Everything of ours in the module's folder, and plain output."""
    own = {
        "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite"),
        "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    return {**os.environ, **own, **(more or {})}


def test_measure_then_look_then_move(command, folder):
    options = ("--runtime", "onnxruntime,litert", "--processes", "2", "--out", "tables")
    result = command("bench", *QUICK, *options)
    assert "speedup" in result.stdout
    assert "8 processes measured" in result.stderr
    assert {path.name for path in (folder / "tables").iterdir()} == {
        "table.md",
        "table.csv",
        "table.json",
    }
    shown = json.loads(command("runs", "show", "--json").stdout)
    assert len(shown["cells"]) == 4
    for cell in shown["cells"]:
        assert cell["processes"] == 2
        assert cell["samples"] == 10
        assert 0 < cell["p10"] <= cell["median"] * 1.5
        assert len(cell["conditions"]) == 2
        assert cell["conditions"][0]["before"]["at"] <= cell["conditions"][0]["after"]["at"]
    listed = json.loads(command("runs", "list", "--json").stdout)
    assert [suite["suite"] for suite in listed["suites"]] == [shown["suite"]]
    lines = command("runs", "export", shown["suite"][:12]).stdout.splitlines()
    suite, *runs = parse_lines(lines, "runs export")
    assert suite.id == shown["suite"]
    assert [type(run) for run in runs] == [Run] * 8
    (folder / "runs.jsonl").write_text("\n".join(lines))
    moved = ("--journal", "other.sqlite")
    assert "9 records added" in command("runs", "import", "runs.jsonl", *moved).stdout
    assert command("runs", "show", *moved).stdout.count("32x32 fp32 onnxruntime") == 2
    command("runs", "delete", shown["suite"], *moved, check=2)
    assert "8 runs deleted" in command("runs", "delete", shown["suite"], "-y", *moved).stdout
    assert "no runs yet" in command("runs", "list", *moved).stdout


def test_json_says_what_was_pushed_and_the_second_time_nothing_is(command):
    command("bench", *QUICK, "--processes", "1", "--json")
    result = command("bench", *QUICK, "--processes", "1", "--json")
    told = json.loads(result.stdout)
    assert result.stderr == ""
    assert told["measured"] == 2
    assert told["failures"] == []
    assert told["pushed"]["files"] == 0
    assert told["pushed"]["already_there"] >= 3
    assert told["table"]["blocks"]


def test_over_ssh(command, sshd, folder):
    config = folder / "ssh_config"
    config.write_text(sshd.config.read_text().replace("Host board", "Host pi"))
    env = {"SHUFFLENET_DEPLOY_SSH_CONFIG": str(config)}
    options = ("--host", "pi", "--processes", "1", "--json")
    told = json.loads(command("bench", *QUICK, *options, env=env).stdout)
    assert (told["host"], told["measured"]) == ("pi", 2)


def test_profile_says_where_the_time_goes(command, folder):
    options = (*QUICK, "--runtime", "onnxruntime,litert", "--processes", "1")
    assert "Kind of layer" not in command("bench", *options).stdout
    missing = command("profile", check=2).stderr
    assert "bench --resume" in missing
    # A suite that was measured before is profiled without measuring it again.
    result = command("bench", "--resume", "--profile")
    assert "4 processes were measured before" in result.stderr
    assert "Where the time goes" in result.stdout
    tables = command("profile").stdout
    assert tables.count("Kind of layer") == 4 + 2
    assert f"{SMALL} 32x32 fp32 against {SMALLER}" in tables
    told = json.loads(command("profile", "--json").stdout)
    assert told["failures"] == []
    assert {(one["cell"]["model"], one["cell"]["runtime"]) for one in told["breakdowns"]} == {
        (model, name) for model in (SMALL, SMALLER) for name in ("onnxruntime", "litert")
    }
    for one in told["breakdowns"]:
        assert sum(part["value"] for part in one["kinds"]) == pytest.approx(one["whole"])
        shuffles = [part for part in one["kinds"] if part["name"] == "shuffle"]
        assert bool(shuffles) == (one["cell"]["model"] == SMALL)
    every = command("profile", "--layers", "--operators").stdout
    assert "stage3.1.depthwise" in every
    assert "Convolution (NHWC, F32)" in every
    assert "cannot be the baseline" not in command("report", "--out", "profiled.html").stderr
    assert "layer by layer" in (folder / "profiled.html").read_text()
    # Profiles are no measurements: they are in no table, and travel with the suite.
    shown = json.loads(command("runs", "show", "--json").stdout)
    assert [cell["processes"] for cell in shown["cells"]] == [1, 1, 1, 1]
    assert all(cell["model_rss_bytes"] > 1e6 for cell in shown["cells"])
    lines = command("runs", "export", shown["suite"]).stdout.splitlines()
    runs = [one for one in parse_lines(lines, "runs export") if isinstance(one, Run)]
    assert sorted(run.purpose for run in runs) == ["measure"] * 4 + ["profile"] * 4
    (folder / "profiled.jsonl").write_text("\n".join(lines))
    moved = ("--journal", "moved.sqlite")
    command("runs", "import", "profiled.jsonl", *moved)
    assert len(json.loads(command("profile", "--json", *moved).stdout)["breakdowns"]) == 4
    assert "was not profiled" in command("profile", "--against", "vgg16", check=2).stderr


def test_profile_over_ssh(command, sshd, folder):
    config = folder / "ssh_config"
    config.write_text(sshd.config.read_text())
    env = {"SHUFFLENET_DEPLOY_SSH_CONFIG": str(config)}
    options = ("--host", "pi", "--processes", "1", "--runtime", "litert", "--profile", "--json")
    told = json.loads(command("bench", *QUICK, *options, env=env).stdout)
    assert told["measured"] == 2
    assert [one["host"] for one in told["profile"]["breakdowns"]] == ["pi", "pi"]
    assert all(one["layers"] for one in told["profile"]["breakdowns"])


def test_ctrl_c_keeps_what_is_done_and_resume_goes_on(command, folder):
    options = (*QUICK, "--processes", "6", "--cooldown", "0.5")
    with subprocess.Popen(
        [sys.executable, "-m", "shufflenet_deploy", "bench", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder),
        start_new_session=True,
    ) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("[3/12]"):
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "bench --resume" in rest
    suite = rest.split("--resume ")[1].split()[0]
    shown = json.loads(command("runs", "show", suite, "--json").stdout)
    assert 3 <= sum(cell["processes"] for cell in shown["cells"]) <= 4
    resumed = command("bench", "--resume", suite)
    assert "were measured before and are kept" in resumed.stderr
    assert "12 processes measured" in resumed.stderr
    again = json.loads(command("bench", "--resume", "--json").stdout)
    assert (again["suite"], again["measured"]) == (suite, 12)


def test_ctrl_c_while_exporting_leaves_no_suite_and_says_how_to_go_on(command, folder):
    journal = str(folder / "none.sqlite")
    options = (*QUICK, "--processes", "1", "--artifacts", "interrupted", "--journal", journal)
    options += ("--runtime", "litert")
    with subprocess.Popen(
        [sys.executable, "-m", "shufflenet_deploy", "bench", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder),
        start_new_session=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("exporting"):
                os.killpg(process.pid, signal.SIGINT)
                break
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert (
        json.loads(command("runs", "list", "--json", "--journal", journal).stdout)["suites"] == []
    )
    told = rest.split("go on with: shufflenet-deploy ")[1].strip()
    assert told == shlex.join(["bench", *options])
    assert "2 processes measured" in command(*shlex.split(told)).stderr


def test_a_suite_resumed_with_more_processes_is_one_table(command):
    first = json.loads(command("bench", *QUICK, "--processes", "1", "--json").stdout)
    assert "--warmup 9: the suite" in (
        command("bench", "--resume", "--warmup", "9", check=2).stderr
    )
    told = json.loads(command("bench", "--resume", "--processes", "2", "--json").stdout)
    assert (told["suite"], told["measured"]) == (first["suite"], 4)
    (block,) = told["table"]["blocks"]
    entries = [row["entries"][0] for row in block["rows"]]
    assert [[one["process"] for one in entry["processes"]] for entry in entries] == [[1, 2]] * 2
    assert not any("protocol" in note for note in block["notes"])
    shown = json.loads(command("runs", "show", "--json").stdout)
    assert [(cell["processes"], cell["other_protocol"]) for cell in shown["cells"]] == [(2, 0)] * 2
    bare = command("table", "--baseline", "none", "--format", "md").stdout
    assert "speedup" not in bare
    assert "no speedups" not in bare
    # Without being asked, a table is over what its suite was measured against.
    assert "speedup" in command("table", "--format", "md").stdout


def test_a_cell_that_fails_is_a_row_and_the_exit_code_says_so(command):
    options = ("--timeout", "0.05", "--processes", "2", "--json")
    told = json.loads(command("bench", *QUICK, *options, check=1).stdout)
    assert told["measured"] == 0
    assert {failure["kind"] for failure in told["failures"]} == {"timeout"}
    assert len(told["failures"]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model", "shuflenet"), "did you mean"),
        (("--runtime", "tensorrt"), "choose one of executorch, litert"),
        (("--resolution", "12by12"), "HEIGHTxWIDTH"),
        (("--suite", "nothing"), "table8"),
        (("--suite", "typo.toml"), "typo.toml: unknown key 'modles'"),
        (("--metric", "instructions"), "--host board"),
        (("--metric", "fun"), "metric"),
        (("--cpus", "4000"), "no core 4000"),
        (("--out", "journal.sqlite/x"), "--out"),
        (("--artifacts", "journal.sqlite"), "--artifacts"),
        (("--calib", "journal.sqlite"), "--calib"),
        (("--resolution", "32x32"), "too small for alexnet, the baseline"),
        (("--resume", "--suite", "demo"), "keep one"),
        (("--resume", "nothing"), "runs list"),
        (("nothing",), "--resume"),
        (("--journal", "typo.toml"), "not a journal"),
    ],
)
def test_a_mistake_costs_one_line(command, folder, words, told):
    (folder / "typo.toml").write_text('modles = ["alexnet"]\n')
    result = command("bench", *words, check=2)
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


# --- besides the rounds --------------------------------------------------------------------------


def test_models_take_turns_and_that_is_told_and_kept(command):
    words = ("bench", *QUICK, "--runtime", "litert", "--processes", 1, "--sustained", "2s")
    told = json.loads(command(*words, "--json").stdout)
    (found,) = told["observations"]
    assert {one["model"] for one in found["models"]} == {SMALL, SMALLER}
    assert found["speedups"][0]["first"]["low"] <= found["speedups"][0]["first"]["estimate"]
    assert set(found["ranking_first"]) == {SMALL, SMALLER}
    shown = command("runs", "show").stdout
    assert "sustained for 2 s: litert" in shown
    assert "ranking: " in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sustained", "soon"), "--sustained soon: write a time such as 10m"),
        (("--benchmark-model", "missing"), "--benchmark-model: missing is not a file"),
        (("--benchmark-model", sys.executable), "add --runtime litert"),
        (("--governor", "Turbo!"), "governor"),
    ],
)
def test_wrong_options_of_these_are_one_line(command, words, told):
    done = command("bench", *QUICK, *words, check=2)
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_command_the_governor_is_put_back(folder, tmp_path, number):
    cpus = Cpus.make(tmp_path / "cpu", 1_800_000, 1_800_000)
    words = ("bench", *QUICK, "--processes", "40", "--governor", "performance")
    with subprocess.Popen(
        [*cpus.inside(), sys.executable, "-m", "shufflenet_deploy", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(folder),
    ) as running:
        for line in running.stderr:
            if line.startswith("[1/"):
                break
        assert cpus.governors == ["performance", "performance"]
        running.send_signal(number)
        running.communicate(timeout=60)
    for _ in range(150):
        if cpus.governors == ["ondemand", "ondemand"]:
            break
        time.sleep(0.1)
    assert cpus.governors == ["ondemand", "ondemand"]
    assert running.returncode == (130 if number == signal.SIGINT else -number)
