"""The tables of ``benchmarks/peers.py``: who is compared with whom, and where they are written."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from peers_page import counts, goals, times, write
from peers_results import HERE, PEAK, Outcome, PeerError, Result, judged, keep, kept

from shufflenet_deploy.codegen import cpu_target_named as named
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution

MILLION = 1_000_000


def outcome(name: str, *turns_ms: float, engine: str = "native", **fields: object) -> Outcome:
    turns = tuple((round(ms * MILLION),) * 3 for ms in turns_ms)
    known = {"precision": "fp32", "sqnr_db": 100.0, "agreement": 1.0, "version": "1", **fields}
    return Outcome.model_validate({"name": name, "engine": engine, "turns": turns, **known})


def result(*outcomes: Outcome, machine: str = HERE, model: str = "shufflenet-g3-0.5x") -> Result:
    return Result(
        model=model,
        title="ShuffleNet",
        resolution=Resolution(height=224, width=224),
        machine=machine,
        platform="a machine",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        multiply_adds=40 * MILLION,
        outcomes=outcomes,
    )


def row_of(table: str, name: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_fastest_runtime_is_one_that_computes_the_same_network_in_the_same_precision() -> None:
    table = goals(
        [
            result(
                outcome("ours-native", 1.0, 1.0, 1.0),
                outcome("wrong", 0.1, engine="ncnn", sqnr_db=20.0),
                outcome("halves", 0.2, engine="ncnn", precision="16-bit"),
                outcome("slow", 4.0, engine="mnn"),
                outcome("fast", 3.0, 3.0, 3.0, engine="litert"),
            )
        ]
    )
    assert row_of(table, "ShuffleNet")[3:] == ["litert 1 (fast)", "2", "3.00 (3.00 to 3.00)", "yes"]


@pytest.mark.parametrize(
    ("rival_ms", "verdict"),
    [((2.1, 2.1, 2.1), "yes"), ((1.9, 1.9, 1.9), "no"), ((1.8, 2.0, 2.2), "too close to tell")],
)
def test_a_goal_is_reached_when_the_whole_interval_is_beyond_it(
    rival_ms: tuple[float, ...], verdict: str
) -> None:
    rival = outcome("fast", *rival_ms, engine="litert")
    table = goals([result(outcome("ours-native", 1.0, 1.0, 1.0), rival)])
    assert row_of(table, "ShuffleNet")[-1] == verdict


def test_goals_leave_boards_and_what_was_not_measured_out() -> None:
    rival = outcome("fast", 3.0, engine="litert")
    on_board = result(outcome("ours-native", 1.0), rival, machine="cortex-a72")
    assert goals([on_board, result(rival)]).count("\n") == 2


def test_the_share_of_the_peak_is_that_of_the_same_run() -> None:
    peak = outcome(PEAK, 1.0, engine=PEAK, precision=PEAK, version=str(80 * MILLION))
    found = times(result(outcome("ours-native", 1.0), outcome("slow", 2.0, engine="mnn"), peak))
    assert [row_of(found, name)[6] for name in ("ours-native", "slow")] == ["50%", "25%"]
    assert "peak 80 GMAC/s" in found


def test_what_was_not_measured_is_listed_with_the_reason() -> None:
    absent = outcome("absent", engine="ncnn", problem="no wheel")
    assert row_of(times(result(absent)), "absent")[3] == "no wheel"
    assert row_of(counts(result(absent, machine="cortex-a72")), "absent")[3] == "no wheel"


def test_counts_are_compared_with_our_program_of_the_same_precision() -> None:
    found = counts(
        result(
            outcome("ours-native", 20.0),
            outcome("ours-native-int8", 5.0, precision="int8"),
            outcome("other", 15.0, engine="litert", precision="int8"),
            machine="cortex-a72",
        )
    )
    assert row_of(found, "other")[3:5] == ["15.00", "3.00"]
    assert row_of(found, "ours-native")[5] == "50%"


@pytest.mark.parametrize("scores", [[np.nan, 1.0], [1.0, 2.0, 3.0]])
def test_scores_that_are_none_are_a_problem(scores: list[float]) -> None:
    with pytest.raises(PeerError):
        judged(outcome("one"), "1", [np.array([1.0, 2.0])], [np.array(scores)])


def test_a_page_gets_the_tables_of_what_was_kept_and_keeps_its_words(tmp_path: Path) -> None:
    found = result(outcome("ours-native", 1.0))
    keep(tmp_path, found)
    keep(tmp_path, result(outcome("ours-native", 1.0), machine="cortex-a72"))
    page = tmp_path / "page.md"
    marks = [
        f"<!-- peers: {name} -->\nold\n<!-- peers: end -->" for name in ("goals", "times", "counts")
    ]
    page.write_text("before\n" + "\nbetween\n".join(marks) + "\nafter\n")
    for _ in range(2):
        write(page, kept(tmp_path))
        text = page.read_text()
        assert text.startswith("before\n")
        assert text.endswith("\nafter\n")
        assert text.count("between") == 2
        assert "old" not in text
        assert text.count(times(found)) == 1
        assert "224x224, cortex-a72" in text


def test_a_page_without_marks_and_a_folder_without_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="measure first"):
        kept(tmp_path)
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    with pytest.raises(UsageError, match="no place for goals"):
        write(page, [])


def test_a_row_says_why_a_core_runs_no_halves_but_not_what_to_choose() -> None:
    with pytest.raises(UsageError, match=": choose fp32, or cortex-a55") as refused:
        named("cortex-a72").with_fp16()
    failed = outcome("ours-native-fp16").failed(refused.value)
    assert failed.problem == "cortex-a72 does not compute in fp16"
    assert outcome("mnn").failed(PeerError("mnn: no\nTraceback")).problem == "mnn: no"
