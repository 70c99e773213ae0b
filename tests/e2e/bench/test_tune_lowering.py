"""``tune lowering`` and ``--lowering`` as a user types them: real files, real runtimes."""

from __future__ import annotations

import json
import tomllib

import pytest
from command_line import typed

MODEL = ("--model", "shufflenet-g3-0.25x", "--resolution", "32x32")
QUICK = ("--processes", "1", "--min-secs", "0.02", "--no-stages", "--runtime", "onnxruntime")


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    own = {
        "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "journal.sqlite"),
        "SHUFFLENET_DEPLOY_ROOT": str(folder / "target"),
        "SHUFFLENET_DEPLOY_DATA": str(folder / "data"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }

    def run(*words, check=0):
        result = typed(*words, cwd=folder, env=own)
        assert result.returncode == check, result.stderr
        assert "Traceback" not in result.stderr
        return result

    run.folder = folder
    return run


def test_a_search_keeps_its_winners_and_bench_uses_them(command):
    found = json.loads(command("tune", "lowering", *MODEL, *QUICK, "--json").stdout)
    plain, small = found["lowerings"]
    assert (plain["precision"], small["precision"]) == ("fp32", "int8")
    assert {one["lowering"] for one in small["figures"]} == {
        "paper", "gather", "channels-last", "channels-last-signed",
    }  # fmt: skip
    assert small["worth_it"] in {True, False}
    kept = tomllib.loads((command.folder / "data" / "lowerings.toml").read_text())["lowering"]
    assert [one["lowering"] for one in kept] == [plain["lowering"], small["lowering"]]
    again = command("tune", "lowering", *MODEL, *QUICK, "--resume", found["search"], "--json")
    figures = [one["figures"] for one in json.loads(again.stdout)["lowerings"]]
    assert figures == [plain["figures"], small["figures"]]  # Nothing was measured anew.
    shown = command(
        *("bench", *MODEL, "--baseline", "none", "--precision", "int8", "--lowering", "auto,paper"),
        *("--processes", "1", "--min-runs", "3", "--min-secs", "0", "--warmup", "1", "--json"),
    )
    text = json.dumps(json.loads(shown.stdout)["table"])
    assert '"lowering": "paper"' in text or "lowering=paper" in text
    assert json.loads(shown.stdout)["measured"] == 2


def test_mistakes_are_the_users(command):
    for words, message in (
        (("tune", "lowering", "--metric", "beauty"), "write latency or instructions"),
        (("tune", "lowering", "--metric", "instructions"), "virtual board only"),
        (("tune", "lowering", "--runtime", "native"), "no choice of lowering"),
        (("bench", *MODEL, "--runtime", "native", "--lowering", "paper"), "leave no choice"),
        (("bench", *MODEL, "--lowering", "magic"), "'magic' is not a lowering"),
        (
            ("export", *MODEL, "--lowering", "blocks", "--fmt", "onnx"),
            "not a lowering of fp32 onnx",
        ),
    ):
        assert message in command(*words, check=2).stderr
