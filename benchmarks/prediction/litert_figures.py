"""Holds `predict --runtime litert` to latencies that XNNPACK's authors published of two phones.

    python benchmarks/prediction/litert_figures.py

LiteRT runs its convolutions by XNNPACK. The published figures are of XNNPACK alone, in 2020; what
is predicted is today's wheel. A network takes a minute or two where it was not counted before. The
exit code is 1 when the median error is above ``--median`` or an error above ``--largest``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FIGURES = Path(__file__).with_name("xnnpack_figures.json")


def predicted_ms(target: list[str], models: list[str], journal: Path) -> dict[str, float]:
    """What ``predict`` says of some models on one target, by their names."""
    program = Path(sys.executable).with_name("shufflenet-deploy")
    words = [*target, "--runtime", "litert", "--resolution", "224x224", "--model", ",".join(models)]
    done = subprocess.run(
        [str(program), "predict", *words, "--journal", str(journal), "--json"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.returncode)
    found = json.loads(done.stdout)["predictions"]
    return {one["model"]: one["predicted_ns"] / 1e6 for one in found}


def main() -> None:
    """Predict, and print one line per figure and the errors of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--median", type=float, default=0.08, help="greatest median error")
    parser.add_argument("--largest", type=float, default=0.25, help="greatest error")
    options = parser.parse_args()
    errors: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for row in json.loads(FIGURES.read_text())["rows"]:
            found = predicted_ms(row["target"], [*row["ms"]], Path(folder, "journal.sqlite"))
            for model, published in row["ms"].items():
                errors.append(found[model] / published - 1)
                print(
                    f"{row['phone']:<50} {model:<20} published {published} ms, "
                    f"predicted {found[model]:.1f} ms, {errors[-1]:+.0%}",
                    flush=True,
                )
    sizes = [abs(one) for one in errors]
    middle, largest = statistics.median(sizes), max(sizes)
    print(f"{len(errors)} figures: median error {middle:.1%}, largest {largest:.0%}")
    sys.exit(1 if middle > options.median or largest > options.largest else 0)


if __name__ == "__main__":
    main()
