"""Many trials of hostile input: ``python tests/fuzz --trials 10000``.

Prints one line per kind: how many trials were accepted and refused, and the faults. Exits with 1
when there is one; ``--only N`` repeats that trial alone, here, with its traceback.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import kinds
import runner

_FAULTS = ("traceback", "hang", "memory", "killed")


def main() -> int:
    """Run the trials and print what became of them."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="in all (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--kind", choices=sorted(kinds.KINDS), help="one kind (default: all)")
    parser.add_argument("--only", type=int, help="repeat this trial of --kind")
    chosen = parser.parse_args()
    names = [chosen.kind] if chosen.kind else list(kinds.KINDS)
    if chosen.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            kinds.isolate(Path(folder))
            random = Random(f"{names[0]} {chosen.seed} {chosen.only}")
            print(*runner.one(names[0], random, Path(folder)), sep="\n")
        return 0
    started = time.monotonic()
    found = runner.run(names, chosen.trials, chosen.seed)
    print(
        f"{'kind':14}{'trials':>8}{'accepted':>10}{'refused':>9}"
        + "".join(f"{fault:>11}" for fault in _FAULTS)
    )
    faults = 0
    for name, outcome in found.items():
        counts = outcome.counts
        faults += len(outcome.faults)
        print(
            f"{name:14}{counts.total():8}{counts['accepted']:10}{counts['refused']:9}"
            + "".join(f"{counts[fault]:11}" for fault in _FAULTS)
        )
    total = sum(outcome.counts.total() for outcome in found.values())
    print(f"{total} trials, {faults} faults, {time.monotonic() - started:.0f} s")
    for outcome in found.values():
        for fault in outcome.faults[:5]:
            print(f"\n--kind {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
