"""Suites: strict reading, expansion into cells, and the order of a round."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shufflenet_deploy import runtime
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bench import Suite, find_suite, new_suite_id, parse_share
from shufflenet_deploy.bench.schedule import cells_above_target, group_of, round_order
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import (
    BenchmarkSpec,
    Core,
    Measurement,
    Precision,
    Run,
    TargetFacts,
)
from shufflenet_deploy.report import paper

MINIMAL = {"models": ["shufflenet-g3-0.5x"], "resolutions": ["224x224"]}


SHIPPED = [
    path
    for path in sorted(resource("benchmarks").glob("*.toml"))
    if not path.stem.endswith(".lock")
]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_suites_are_valid(path):
    suite = Suite.read(path)
    assert suite.cells()
    assert suite.baseline == ("mobilenet-1.0" if suite.head == "none" else "alexnet")


def test_table8_is_the_papers():
    cells = Suite.read(find_suite("table8")).cells()
    assert len(cells) == 15
    assert {str(cell.resolution) for cell in cells} == {"224x224", "480x640", "720x1280"}
    assert {cell.precision for cell in cells} == {Precision.FP32}


def test_the_baseline_is_added_once():
    models = [cell.model for cell in Suite.of(MINIMAL, source="t").cells()]
    assert models == ["shufflenet-g3-0.5x", "alexnet"]
    twice = {**MINIMAL, "models": ["alexnet", "shufflenet-g3-0.5x", "alexnet"]}
    assert [cell.model for cell in Suite.of(twice, source="t").cells()] == [
        "alexnet",
        "shufflenet-g3-0.5x",
    ]
    alone = Suite.of({**MINIMAL, "baseline": None}, source="t").cells()
    assert [cell.model for cell in alone] == ["shufflenet-g3-0.5x"]


def test_formats_follow_the_runtime_and_the_head_only_models_with_one():
    suite = Suite.of(
        {**MINIMAL, "runtimes": ["onnxruntime", "litert"], "alexnet-head": "dense"}, source="t"
    )
    for cell in suite.cells():
        assert cell.format == ("onnx" if cell.runtime == "onnxruntime" else "tflite")
        assert cell.options == ({"head": "dense"} if cell.model == "alexnet" else {})


def test_without_a_head_every_cell_is_a_backbone():
    suite = Suite.of({**MINIMAL, "head": "none", "alexnet-head": "dense"}, source="t")
    assert [cell.options for cell in suite.cells()] == [{"head": "none"}] * 2


def test_table_7_is_of_backbones_at_the_papers_sizes():
    suite = Suite.read(find_suite("table7"))
    assert {(cell.model, str(cell.resolution)) for cell in suite.cells()} == {
        (model, size)
        for model in ("shufflenet-g3-2x", "shufflenet-g3-1x", "mobilenet-1.0")
        for size in ("300x400", "600x800")
    }
    assert all(cell.options == {"head": "none"} for cell in suite.cells())
    assert all(paper.figures(cell.model).map_at(cell.resolution) for cell in suite.cells())


def precisions_of(asked, machine=None, runtimes=("native", "litert")):
    fields = {**MINIMAL, "baseline": None, "runtimes": runtimes, "precisions": asked}
    cells = Suite.of(fields, source="t").cells(machine)
    return [(cell.runtime, cell.precision.value) for cell in cells]


def test_all_precisions_are_those_of_each_runtime_and_of_the_target():
    litert = [("litert", "fp32"), ("litert", "int8")]
    native = [("native", "fp32"), ("native", "fp16"), ("native", "int8")]
    assert precisions_of(["all"], "cortex-a76") == [*native, *litert]
    assert precisions_of(["all"], "cortex-a72") == [native[0], native[2], *litert]


def test_a_precision_by_its_name_must_be_had_everywhere():
    assert precisions_of(["fp16"], "cortex-a76", ["native"]) == [("native", "fp16")]
    with pytest.raises(UsageError, match=r"t: fp16 is for --runtime .*native.*: litert has none"):
        precisions_of(["fp32", "fp16"])
    with pytest.raises(UsageError, match="cortex-a72 does not compute in fp16"):
        precisions_of(["fp16"], "cortex-a72", ["native"])


def test_all_runtimes_are_cells_whatever_precisions_they_have():
    suite = Suite.of({**MINIMAL, "baseline": None, "runtimes": ["all"]}, source="t")
    assert suite.runtimes == ("all",)
    assert {cell.runtime for cell in suite.cells()} == set(runtime.names())
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    assert ("native", "fp16") in precisions_of(["fp16"], "cortex-a76", ["all"])
    assert ("native", "fp16") not in precisions_of(["all"], "cortex-a72", ["all"])


def test_threads_are_an_axis_and_reach_the_spec():
    suite = Suite.of({**MINIMAL, "threads": [1, 4]}, source="t")
    assert Counter(cell.threads for cell in suite.cells()) == {1: 2, 4: 2}
    assert {suite.spec_of(cell).threads for cell in suite.cells()} == {1, 4}


def test_a_suite_survives_its_json():
    suite = Suite.of({**MINIMAL, "precision-target": "2%", "spec": {"cpus": [0]}}, source="t")
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    wide = suite.model_copy(update={"precisions": ("all",)})
    assert Suite.model_validate_json(wide.model_dump_json()) == wide
    assert suite.precision_target == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"modles": []}, "unknown key 'modles' .did you mean models"),
        ({"xyzzy": 1}, "unknown key 'xyzzy' .known are"),
        ({"spec": {"min-rnus": 1}}, r"\[spec\]: unknown key 'min-rnus' .did you mean min-runs"),
        ({"spec": {"min-runs": 0}}, "spec.min-runs"),
        ({"spec": 3}, "spec"),
        (
            {"spec": {"max-secs": 0.5}},
            "spec.max-secs: less than the 1 s of min-secs: raise",
        ),
        ({"governor": "x; reboot"}, "governor: a governor is one lower-case word"),
        ({"resolutions": ["12by12"]}, "'12by12' is not a resolution"),
        ({"models": []}, "models"),
        ({"models": "one"}, "models"),
        ({"precisions": ["int4"]}, "precisions.0: 'int4' .* fp32, fp16, int8, all"),
        ({"precisions": []}, "precisions"),
        ({"runtimes": ["onxruntime"]}, "did you mean onnxruntime"),
        ({"threads": [0]}, "threads"),
        ({"precision-target": "200%"}, "200%"),
        ({"alexnet-head": "round"}, "alexnet-head"),
    ],
)
def test_a_wrong_suite_names_file_and_key(tmp_path, change, told):
    with pytest.raises(UsageError, match=told) as raised:
        Suite.of({**MINIMAL, **change}, source="suite my.toml")
    assert str(raised.value).startswith("suite my.toml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"models = [", b"\xff\xfe\x00", b"models = 1\nmodels = 2"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    path = tmp_path / "s.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"is not (TOML|text)"):
        Suite.read(path)
    with pytest.raises(UsageError, match="cannot read"):
        Suite.read(tmp_path)


def test_suites_are_found_by_name_and_by_path(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('models = ["alexnet"]\nresolutions = ["32x32"]\n')
    assert find_suite(str(mine)) == mine
    assert Suite.read(mine).name == "mine"
    assert find_suite("demo").name == "demo.toml"
    with pytest.raises(UsageError, match="table8"):
        find_suite("nothing")


def test_suite_ids_sort_by_time_and_differ():
    early, late = datetime(2026, 1, 2, 3, 4, tzinfo=UTC), datetime(2026, 1, 2, 13, 4, tzinfo=UTC)
    assert new_suite_id(early) < new_suite_id(late)
    assert len({new_suite_id(early) for _ in range(50)}) > 40


@pytest.mark.parametrize(("text", "share"), [("2%", 0.02), ("0.02", 0.02), (" 1.5 % ", 0.015)])
def test_shares(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "2", "0", "-1%", "100%", "two"])
def test_what_is_no_share(text):
    with pytest.raises(UsageError):
        parse_share(text)


# --- the order of a round ------------------------------------------------------------------------

WIDE = Suite.of(
    {
        "models": ["a", "b", "c"],
        "resolutions": ["32x32", "64x64"],
        "runtimes": ["onnxruntime", "litert"],
        "precisions": ["fp32", "int8"],
    },
    source="t",
)


@settings(max_examples=50, deadline=None)
@given(process=st.integers(1, 50), seed=st.integers(0, 1000))
def test_every_round_visits_every_cell_once_and_keeps_groups_together(process, seed):
    cells = WIDE.cells()
    order = round_order(cells, baseline="alexnet", process=process, seed=seed)
    assert Counter(map(repr, order)) == Counter(map(repr, cells))
    groups = [group_of(cell) for cell in order]
    changes = sum(one != other for one, other in itertools.pairwise(groups))
    assert changes == len(set(groups)) - 1
    place = 0 if process % 2 else 3
    assert all(order[start + place].model == "alexnet" for start in range(0, len(order), 4))


def test_the_order_is_seeded_and_differs_between_rounds():
    def order(process, seed=0):
        return round_order(WIDE.cells(), baseline="alexnet", process=process, seed=seed)

    assert order(1) == order(1)
    assert order(1) != order(3)
    assert order(1) != order(1, seed=1)


# --- precision -----------------------------------------------------------------------------------


def run(cell, process, samples):
    return Run(
        id=f"{cell.model}{process}",
        suite="s",
        started_at=datetime.now(UTC),
        process=process,
        cell=cell,
        artifact=None,
        target=TargetFacts(
            host="h",
            transport="local",
            arch="x",
            os="o",
            kernel="k",
            cpu="c",
            cores=(Core(index=0),),
        ),
        spec=BenchmarkSpec(),
        outcome=Measurement(samples=samples, first=1, load=1),
    )


def test_only_imprecise_candidates_ask_for_another_round_with_their_baseline():
    suite = Suite.of({"models": ["sharp", "blurred"], "resolutions": ["32"]}, source="t")
    sharp, blurred, alexnet = suite.cells()
    runs = [
        *(run(alexnet, process, (1000, 1001, 1002)) for process in (1, 2, 3)),
        *(run(sharp, process, (100, 100, 101)) for process in (1, 2, 3)),
        *(run(blurred, process, (100 * process,) * 3) for process in (1, 2, 3)),
    ]
    wanted = cells_above_target(suite.cells(), runs, baseline="alexnet", target=0.05)
    assert [cell.model for cell in wanted] == ["blurred", "alexnet"]
    assert cells_above_target(suite.cells(), runs, baseline="alexnet", target=0.9) == []
    assert cells_above_target(suite.cells(), [], baseline="alexnet", target=0.01) == []


def test_without_a_baseline_a_cell_is_judged_by_itself():
    suite = Suite.of({"models": ["a"], "resolutions": ["32"], "baseline": None}, source="t")
    (cell,) = suite.cells()
    runs = [run(cell, process, (100 * process,)) for process in (1, 2, 3)]
    assert cells_above_target([cell], runs, baseline=None, target=0.05) == [cell]
