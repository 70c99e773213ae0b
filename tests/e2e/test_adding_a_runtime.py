"""``docs/adding-a-runtime.md`` followed literally: its files written, its commands run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "adding-a-runtime.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w/.]+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with the page's files in it."""
    folder = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("shufflenet_deploy", "device_scripts", "models"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
    files = dict(FILE.findall(PAGE))
    assert len(files) == 5
    for name, content in files.items():
        path = folder / name
        assert not path.exists()
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(tree),
        "SHUFFLENET_DEPLOY_JOURNAL": str(tree / "journal.sqlite"),
        "SHUFFLENET_DEPLOY_ROOT": str(tree / "target"),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    argv = [sys.executable, "-m", "shufflenet_deploy", *words]
    return subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True, check=False)


@pytest.mark.timeout(900)
def test_the_page_adds_a_runtime(tree: Path) -> None:
    block = PAGE.partition("## Seeing it")[2].partition("```\n")[2].partition("```")[0]
    export, inspect, bench, profile, predict, cost = (
        shlex.split(line.removeprefix("shufflenet-deploy ")) for line in block.splitlines()
    )
    exported = run(tree, *export)
    assert exported.returncode == 1, exported.stderr
    assert "failed validation" in exported.stdout
    assert "Product" in run(tree, *inspect).stdout
    quick = ("--processes", "1", "--min-runs", "5", "--min-secs", "0", "--warmup", "1", "--json")
    measured = run(tree, *bench, *quick)
    told = json.loads(measured.stdout)
    assert told["measured"] == 1, measured.stderr
    assert "toy" in measured.stdout
    (taken_apart,) = json.loads(run(tree, *profile, "--json").stdout)["breakdowns"]
    assert [(one["name"], one["operators"]) for one in taken_apart["kinds"]][-2:] == [
        ("fully connected", 1),
        ("outside operators", 0),
    ]
    predicted = run(tree, *predict, "--json")
    (figure,) = json.loads(predicted.stdout)["predictions"]
    assert (figure["runtime"], figure["version"]) == ("toy", "2.4.6"), predicted.stderr
    assert 0 < figure["predicted_ns"] < 1e6
    refused = run(tree, *predict, "--threads", "2")
    assert refused.returncode == 2
    assert "choose native, ncnn, or one thread" in refused.stderr
    # Counted on a virtual board, which tests of their own start: here its options are read.
    assert "unknown CPU 'a99'" in run(tree, *cost[:-1], "a99").stderr
    unknown = run(tree, "bench", "--runtime", "tay").stderr
    assert "did you mean toy?" in unknown


def test_a_runtime_that_overwrites_its_input_has_no_figure_to_trust(tree: Path) -> None:
    engine = tree / "device_scripts/agent/engines/toy.py"
    told = engine.read_text(encoding="utf-8")
    careless = told.replace(
        "            self._logits", "            self._image += 1\n            self._logits"
    )
    assert careless != told
    engine.write_text(careless, encoding="utf-8")
    words = "--model shufflenet-g3-0.25x --baseline none --resolution 32x32 --runtime toy"
    quick = "--processes 1 --min-runs 5 --min-secs 0 --warmup 1"
    measured = run(tree, "bench", *words.split(), *quick.split())
    assert measured.returncode == 0, measured.stderr
    assert re.search(r"tainted: .*outputs change", measured.stdout)
    assert "the first and the last inference of one input gave different outputs" in measured.stderr
    shown = run(tree, "runs", "show", "last")
    assert re.search(r"tainted: .*outputs change", shown.stdout), shown.stdout + shown.stderr
