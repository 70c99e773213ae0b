"""The agent's figure next to that of a runtime's own tool, on the same file, in one run.

    PYTHONPATH=benchmarks .venv/bin/python -m own_tools --model shufflenet-g3-1x

Agent and tool take turns, each pinned to one core with one thread (a tool that cannot be told so
uses a thread per core, and the agent as many), and the order changes from round to round. A round
is a pair, of which the ratio is taken: what slows the machine for a while slows both. Printed are
the medians over the rounds, the median of the ratios and an interval that holds the true median
with at least 95 %. A tool that prints a mean is compared with our mean.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

from own_tools.tools import NOT_TO_BE_HAD, TOOLS, Tool, run
from shufflenet_deploy.runtime.agent_file import write_agent

#: Fewer pairs have no interval of 95 %.
LEAST_ROUNDS = 6
#: The chance that an interval misses.
OUTSIDE = 0.05
#: A tool's figure is right where ours differs by no more.
WITHIN = 0.02


def own_figures(agent: Path, tool: Tool, model: Path, secs: float) -> dict[str, float]:
    """Mean, median and least of one process of the agent, in ms."""
    words = [str(tool.python()), str(agent), "--runtime", tool.runtime, "--model", str(model)]
    words += ["--threads", str(tool.threads), "--min-secs", f"{secs:g}"]
    told = json.loads(run(words, tool.threads))
    if "samples_ns" not in told:
        raise SystemExit(f"{tool.runtime} failed: {json.dumps(told)[:300]}")
    samples = [sample / 1e6 for sample in told["samples_ns"]]
    return {"mean": fmean(samples), "median": median(samples), "least": min(samples)}


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Two of the values with the true median between them in 95 % or more, by the sign test."""
    ordered, count = sorted(values), len(values)
    rank, outside = 0, 1  # Of 2 ** count equally likely cases those beyond ordered[rank].
    while 2 * (outside + math.comb(count, rank + 1)) <= OUTSIDE * 2**count:
        rank += 1
        outside += math.comb(count, rank)
    return ordered[rank], ordered[count - 1 - rank]


def exported(model: str, resolution: str, kind: str, folder: Path) -> Path:
    """An fp32 file of a model, made where it is not there yet."""
    program = Path(sys.executable).with_name("shufflenet-deploy")
    words = ["export", "--model", model, "--resolution", resolution, "--fmt", kind]
    done = subprocess.run(
        [str(program), *words, "--precision", "fp32", "--out", str(folder), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(json.loads(done.stdout)["files"][0]["path"])


def pairs(
    agent: Path, tool: Tool, file: Path, rounds: int, secs: float
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Our figures and the tool's, round by round."""
    runs = max(50, int(secs * 1e3 / own_figures(agent, tool, file, 0.5)["median"]))
    found = []
    for index in range(rounds):
        if index % 2:
            theirs = tool.ask(file, secs, runs)
            ours = own_figures(agent, tool, file, secs)
        else:
            ours = own_figures(agent, tool, file, secs)
            theirs = tool.ask(file, secs, runs)
        found.append((ours, theirs))
    return found


def line(tool: Tool, name: str, found: Sequence[tuple[dict[str, float], dict[str, float]]]) -> str:
    """One figure of one tool, as it is printed."""
    ratios = [ours[name] / theirs[name] for ours, theirs in found]
    low, high = median_interval(ratios)
    if low >= 1 - WITHIN and high <= 1 + WITHIN:
        verdict = "yes"
    else:
        verdict = "no" if low > 1 + WITHIN or high < 1 - WITHIN else "too close to tell"
    ours = median(one[name] for one, _ in found)
    theirs = median(one[name] for _, one in found)
    return (
        f"{tool.runtime:<12} {name:<7} threads {tool.threads}: ours {ours:.3f} ms, "
        f"{tool.name} {theirs:.3f} ms, "
        f"ratio {median(ratios):.3f} ({low:.3f} to {high:.3f}); within 2 %: {verdict}"
    )


def main() -> None:
    """Compare, and print one line per runtime and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="shufflenet-g3-1x")
    parser.add_argument("--resolution", default="224x224")
    parser.add_argument("--rounds", type=int, default=11, help=f"at least {LEAST_ROUNDS}")
    parser.add_argument("--secs", type=float, default=2.0, help="of each process")
    parser.add_argument("--runtime", action="append", choices=[one.runtime for one in TOOLS])
    options = parser.parse_args()
    if options.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds {options.rounds}: fewer than {LEAST_ROUNDS} have no interval")
    if shutil.which("taskset") is None:
        raise SystemExit("taskset is missing: apt-get install util-linux")
    with tempfile.TemporaryDirectory() as place:
        agent = write_agent(Path(place))
        for tool in TOOLS:
            if options.runtime and tool.runtime not in options.runtime:
                continue
            file = exported(options.model, options.resolution, tool.format, Path("artifacts"))
            found = pairs(agent, tool, file, options.rounds, options.secs)
            for name in found[0][1]:
                print(line(tool, name, found), flush=True)
    for name, reason in NOT_TO_BE_HAD.items():
        print(f"{name}: not to be had: {reason}")


if __name__ == "__main__":
    main()
