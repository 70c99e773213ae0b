"""Merging, comparison and footnotes of a table."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sample_runs

from shufflenet_deploy import stats
from shufflenet_deploy.records import (
    Attempt,
    Delegation,
    Failure,
    FailureKind,
    Precision,
    Recipe,
    Run,
)
from shufflenet_deploy.report import render
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.report.table_model import Block, TableCell

PAIR = ("shufflenet-g3-0.5x", "alexnet")


def runs(*models: str, processes: int = 3, **changes) -> list[Run]:
    return [
        sample_runs.run(model, process=process, **changes)
        for process in range(processes)
        for model in models
    ]


def block(all_runs: list[Run], **options) -> Block:
    (only,) = Table.from_runs(all_runs, **options).blocks
    return only


def entry(in_block: Block, model: str, column: int = 0) -> TableCell:
    (row,) = [row for row in in_block.rows if row.model == model]
    found = row.entries[column]
    assert found is not None
    return found


def notes(in_block: Block, of: TableCell) -> list[str]:
    return [in_block.notes[mark - 1] for mark in of.marks]


def test_it_has_the_shape_of_table_8():
    table8 = block(sample_runs.table8())
    assert [str(at) for at in table8.columns] == ["224x224", "480x640", "720x1280"]
    assert [row.model for row in table8.rows] == [
        "shufflenet-g3-0.5x",
        "shufflenet-g3-1x",
        "shufflenet-g3-2x",
        "alexnet",
        "mobilenet-1.0",
    ]
    assert table8.baseline == "alexnet"
    assert [row.is_baseline for row in table8.rows] == [False, False, False, True, False]
    assert all(row.entries[2] is not None for row in table8.rows)


def test_figures_are_those_of_stats():
    made = runs(*PAIR)
    samples = {
        model: stats.samples_of([run for run in made if run.cell.model == model]) for model in PAIR
    }
    found = entry(block(made), PAIR[0])
    assert found.estimate is not None
    assert found.speedup is not None
    assert found.estimate.median == stats.center(samples[PAIR[0]])
    assert found.estimate.samples == 3 * 40
    expected = stats.speedup_interval(samples["alexnet"], samples[PAIR[0]])
    assert (found.speedup.ratio, found.speedup.low, found.speedup.high) == (
        expected.estimate,
        expected.low,
        expected.high,
    )
    assert found.speedup.ratio == pytest.approx(131.0 / 12.4, rel=0.02)
    assert found.theoretical_speedup == pytest.approx(714.2 / 37.59, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "column", "latency_ms", "speedup"),
    [
        ("shufflenet-g3-0.5x", 0, 15.2, 12.1),
        ("shufflenet-g3-1x", 1, 222.2, 5.2),
        ("shufflenet-g3-2x", 2, 1857.6, 1.96),
        ("mobilenet-1.0", 0, 110.0, 1.67),
    ],
)
def test_the_papers_figures_stand_next_to(model, column, latency_ms, speedup):
    found = entry(block(sample_runs.table8()), model, column)
    assert found.paper_latency_ms == latency_ms
    assert found.paper_speedup == pytest.approx(speedup, rel=0.01)


@pytest.mark.parametrize(
    ("model", "column", "percent"),
    [
        ("shufflenet-g3-2x", 0, 18.7),
        ("shufflenet-g3-2x", 1, 25.0),
        ("shufflenet-g3-1x", 0, 14.5),
        ("mobilenet-1.0", 1, 19.3),
    ],
)
def test_the_papers_map_stands_next_to_backbones_alone(model, column, percent):
    sizes, options = ("300x400", "600x800"), {"head": "none"}
    backbones = [
        made
        for at in sizes
        for name in ("shufflenet-g3-2x", "shufflenet-g3-1x", "mobilenet-1.0")
        for made in runs(name, resolution=at, options=options)
    ]
    found = block(backbones, baseline="mobilenet-1.0")
    cell = entry(found, model, column)
    assert cell.paper_map_percent == percent
    assert cell.paper_latency_ms is None
    text = render.markdown(Table.from_runs(backbones, baseline="mobilenet-1.0"))
    assert f"mAP {percent:.1f}" in text
    assert "mAP: the paper's" in text
    whole = runs(model, resolution=sizes[column])
    assert entry(block(whole, baseline=""), model).paper_map_percent is None


def test_a_baseline_is_not_compared_with_itself():
    baseline = entry(block(runs(*PAIR)), "alexnet")
    assert baseline.speedup is None
    assert baseline.theoretical_speedup is None
    assert baseline.paper_speedup is None


def test_an_interval_that_holds_1_is_not_distinguishable():
    made = runs("alexnet", noise=0.05) + runs("shufflenet-g3-2x", median=131.5e6, noise=0.05)
    found = entry(block(made), "shufflenet-g3-2x").speedup
    assert found is not None
    assert found.low < 1 < found.high
    assert not found.distinguishable
    assert entry(block(runs(*PAIR)), PAIR[0]).speedup.distinguishable


def test_any_model_can_be_the_baseline():
    found = block(runs(*PAIR), baseline="shufflenet-g3-0.5x")
    assert entry(found, "alexnet").speedup.ratio == pytest.approx(12.4 / 131.0, rel=0.02)


def test_without_a_baseline_there_are_figures_and_a_note():
    found = block(runs("shufflenet-g3-0.5x"))
    assert found.baseline is None
    assert entry(found, "shufflenet-g3-0.5x").speedup is None
    assert found.notes == ("alexnet was not measured in this setting: no speedups",)
    assert block(runs("shufflenet-g3-0.5x"), baseline="").notes == ()


def test_no_runs_no_blocks():
    assert Table.from_runs([]).blocks == ()


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "another-suite"},
        {"runtime": "litert"},
        {"runtime_version": "1.31.0"},
        {"precision": Precision.INT8},
        {"target": sample_runs.PI.model_copy(update={"host": "pi-2"})},
        {"target": sample_runs.PI.model_copy(update={"kernel": "6.12.1"})},
        {"spec": sample_runs.SPEC.model_copy(update={"threads": 4})},
        {"spec": sample_runs.SPEC.model_copy(update={"cpus": (3,)})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_differs_is_never_merged_or_compared(change):
    blocks = Table.from_runs(runs(*PAIR) + runs("shufflenet-g3-0.5x", **change)).blocks
    if "runtime_version" in change:  # the newer attempt stands for the same processes
        assert [len(block.rows) for block in blocks] == [1, 1]
    else:
        assert len(blocks) == 2
    (lone,) = [block for block in blocks if all(row.model != "alexnet" for row in block.rows)]
    assert entry(lone, "shufflenet-g3-0.5x").speedup is None


def test_minstr_and_ms_are_never_mixed():
    counted = [run for model in PAIR for run in sample_runs.counted(model, suite="cost")]
    latency, cost = Table.from_runs(runs(*PAIR) + counted).blocks
    assert latency.setting.metric == "latency"
    assert cost.setting.metric == "instructions"
    found = entry(cost, PAIR[0])
    assert found.instruction_efficiency == pytest.approx(0.34, rel=1e-3)
    assert found.estimate.median == pytest.approx(37.59e6 / 4 / 0.34, rel=1e-3)
    assert entry(latency, PAIR[0]).instruction_efficiency is None


@pytest.mark.parametrize(
    ("precision", "efficiency"),
    [(Precision.FP32, 0.34), (Precision.FP16, 0.17), (Precision.INT8, None)],
)
def test_efficiency_is_of_the_lanes_of_a_vector_and_not_of_int8(precision, efficiency):
    counted = sample_runs.counted("alexnet", precision=precision)
    found = entry(block(counted), "alexnet").instruction_efficiency
    assert found == (efficiency and pytest.approx(efficiency, rel=1e-3))


def test_another_file_under_the_same_name_is_left_out_and_named():
    older = sample_runs.run("alexnet", process=0, sha256="a" * 64, median=500e6)
    found_block = block([older, *runs("alexnet", processes=3)[1:]])
    found = entry(found_block, "alexnet")
    assert len(found.processes) == 2
    assert notes(found_block, found) == ["left out: 1 process of another file or protocol"]


def test_another_protocol_than_the_baselines_is_said():
    spec = sample_runs.SPEC.model_copy(update={"min_runs": 5})
    found_block = block(runs("alexnet") + runs(PAIR[0], spec=spec))
    assert "measured with another protocol than the baseline (see the conditions)" in notes(
        found_block, entry(found_block, PAIR[0])
    )


def test_rounds_that_do_not_overlap_are_said():
    late = [
        run.model_copy(update={"started_at": run.started_at + timedelta(hours=1)})
        for run in runs(PAIR[0])
    ]
    found_block = block(runs("alexnet") + late)
    assert "not measured in the same rounds as the baseline" in notes(
        found_block, entry(found_block, PAIR[0])
    )
    together = block(runs(*PAIR))
    assert notes(together, entry(together, PAIR[0])) == []


def test_a_failed_cell_is_a_row_with_its_reason():
    failure = Failure(kind=FailureKind.OUT_OF_MEMORY, message="killed at 900 MB")
    failed = runs("vgg16", outcome=failure, runtime_version=None)
    found_block = block(runs(*PAIR) + failed)
    found = entry(found_block, "vgg16")
    assert found.stability == "failed"
    assert found.estimate is None
    assert found.speedup is None
    assert notes(found_block, found) == ["out-of-memory: killed at 900 MB"]


def test_a_suite_of_failures_alone_is_a_table():
    failure = Failure(kind=FailureKind.RUNTIME_MISSING, message="no wheel for riscv64")
    found = block(runs(*PAIR, outcome=failure, runtime_version=None))
    assert [entry(found, model).stability for model in PAIR] == ["failed", "failed"]
    assert found.setting.runtime_version is None


def test_a_footnote_tells_what_a_delegate_left():
    def delegated(**left: int) -> list[Run]:
        told = Delegation(name="XNNPACK", parts=4, taken=176, left=left)
        return [
            sample_runs.run(
                PAIR[0],
                process=process,
                outcome=sample_runs.measurement(9e6, seed=process).model_copy(
                    update={"delegation": told}
                ),
            )
            for process in range(3)
        ]

    partly = block([*delegated(avg_pool2d=3), *runs(PAIR[1])])
    told = "XNNPACK took 176 operators in 4 parts and left 3 (3 avg_pool2d)"
    assert told in notes(partly, entry(partly, PAIR[0]))
    whole = block([*delegated(), *runs(PAIR[1])])
    assert not any("XNNPACK" in note for note in whole.notes)


def test_one_failed_process_of_three_is_footnoted():
    failure = Failure(kind=FailureKind.TIMEOUT, message="300 s are over", transient=True)
    made = [*runs("alexnet", processes=2), sample_runs.run("alexnet", process=2, outcome=failure)]
    found_block = block(made)
    found = entry(found_block, "alexnet")
    assert len(found.processes) == 2
    assert notes(found_block, found) == ["1 process failed: timeout: 300 s are over"]


def test_a_throttled_cell_is_tainted_with_its_cause_and_what_to_do():
    hot = sample_runs.conditions(sample_runs.START, throttled=0x50005)
    found_block = block(runs("alexnet", after=hot))
    found = entry(found_block, "alexnet")
    assert found.stability == "tainted"
    assert found.flaws[0].cause == "throttled"
    assert found.flaws[0].remedy
    assert any(note.startswith("tainted: throttled") for note in notes(found_block, found))


def test_alexnets_head_policy_is_stated():
    fixed = block(runs("alexnet"))
    assert "head=fixed" in fixed.notes[fixed.rows[0].marks[0] - 1]
    dense = block(runs("alexnet", options={"head": "dense"}))
    assert "head=dense" in dense.notes[dense.rows[0].marks[0] - 1]


def test_options_make_rows_of_their_own_and_the_first_baseline_counts():
    made = runs(PAIR[0]) + runs("alexnet", options={"head": "dense"}, median=200e6)
    made += runs("alexnet", options={"head": "fixed"})
    found = block(made)
    assert [row.title for row in found.rows[1:]] == ["AlexNet [head=dense]", "AlexNet [head=fixed]"]
    assert [row.is_baseline for row in found.rows] == [False, True, False]
    assert entry(found, PAIR[0]).speedup.ratio == pytest.approx(200 / 12.4, rel=0.02)
    assert "AlexNet [head=dense], the baseline measured first" in found.notes[0]


def test_untrained_weights_are_marked():
    found = block(runs(*PAIR, trained=False))
    assert all(
        "untrained weights: latency only" in [found.notes[mark - 1] for mark in row.marks]
        for row in found.rows
    )


def test_a_file_that_failed_validation_is_marked():
    made = []
    for run in runs(*PAIR):
        parity = run.artifact.parity.model_copy(update={"passed": False, "reason": "3 dB"})
        artifact = run.artifact.model_copy(update={"parity": parity})
        made.append(run.model_copy(update={"artifact": artifact}))
    found = block(made)
    assert any(
        "failed validation" in note and "3 dB" in note
        for note in notes(found, entry(found, PAIR[0]))
    )


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.INT8])
def test_another_precision_next_to_the_papers_fp32_is_marked(precision):
    found = block(runs(*PAIR, precision=precision))
    assert "the paper's figures are fp32" in found.notes


def test_a_model_the_paper_does_not_know_has_no_figures_of_it():
    found_block = block(runs("alexnet", "my-net"))
    found = entry(found_block, "my-net")
    assert found.paper_latency_ms is None
    assert found.paper_speedup is None
    assert found.speedup is not None


def test_a_retried_process_counts_once():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    disturbed = sample_runs.run("alexnet", process=1, median=340e6, after=hot)
    again = sample_runs.run("alexnet", process=1, median=140e6).model_copy(
        update={"started_at": sample_runs.START + timedelta(minutes=9)}
    )
    first, last = runs("alexnet", processes=1), sample_runs.run("alexnet", process=2)
    found = entry(block([*first, disturbed, last, again]), "alexnet")
    assert [process.process for process in found.processes] == [0, 2, 1]
    assert 139e6 < found.estimate.maximum < 300e6


def test_the_error_of_the_very_file_stands_next_to_the_papers():
    made = runs(*PAIR)
    mine = made[0].artifact
    older, newer = (sample_runs.evaluation(mine, top1=top1) for top1 in (10, 56))
    found = block(made, evaluations=[older, newer])
    row, other = found.rows
    assert row.measured_top1_error is not None
    assert row.measured_top1_error.percent == pytest.approx(44)
    assert row.measured_top1_error.low == pytest.approx(34.67, abs=0.01)
    assert row.paper_top1_error_percent == 43.2
    assert [found.notes[mark - 1] for mark in row.marks] == [
        (
            "top-1 error of this very file at 224x224: 44.0 % (34.7–53.8) on 100 images of 1000 "
            "classes in val (fingerprint ffffffffffff)"
        )
    ]
    assert other.measured_top1_error is None


def test_fewer_images_never_replace_more():
    made = runs(*PAIR)
    mine = made[0].artifact
    large = sample_runs.evaluation(mine, top1=560, pictures=1000)
    small = sample_runs.evaluation(mine, top1=9, pictures=10)
    later = sample_runs.evaluation(mine, top1=570, pictures=1000)
    for given, percent in (((large, small), 44.0), ((small, large), 44.0), ((large, later), 43.0)):
        row = block(made, evaluations=given).rows[0]
        assert row.measured_top1_error.percent == pytest.approx(percent)


def with_classes(run: Run, classes: int) -> Run:
    outputs = (run.artifact.outputs[0].model_copy(update={"shape": (1, classes)}),)
    artifact = run.artifact.model_copy(update={"outputs": outputs})
    return run.model_copy(update={"artifact": artifact})


def paper_figures(of: Block, model: str) -> list[object]:
    (row,) = [row for row in of.rows if row.model == model]
    return [
        row.paper_top1_error_percent,
        row.paper_mega_multiply_adds,
        *(value for one in row.entries for value in (one.paper_latency_ms, one.paper_speedup)),
    ]


def test_the_papers_figures_stand_next_to_its_own_networks_only():
    own = runs(*PAIR)
    assert None not in paper_figures(block(own), PAIR[0])
    ten = [with_classes(run, 10) for run in own]
    assert set(paper_figures(block(ten), PAIR[0])) == {None}
    # The name is the paper's, what it computes is not: for example a network for small images.
    other = [
        run.model_copy(update={"multiply_adds": 3 * run.multiply_adds})
        if run.cell.model == PAIR[0]
        else run
        for run in own
    ]
    assert set(paper_figures(block(other), PAIR[0])) == {None}
    assert paper_figures(block(other), "alexnet")[0] == 42.8
    mixed = [with_classes(run, 10) if run.cell.model == "alexnet" else run for run in own]
    assert paper_figures(block(mixed), PAIR[0]) == [43.2, 38, 15.2, None]


def test_the_papers_error_is_of_its_size():
    found = block(runs(*PAIR, resolution="480x640"))
    assert paper_figures(found, PAIR[0])[:3] == [None, None, 87.4]
    small = block(runs(*PAIR, resolution="32x32"))
    assert set(paper_figures(small, PAIR[0])) == {None}
    assert "the paper's figures are fp32" not in small.notes


def test_a_resumed_suite_shows_all_of_its_processes():
    grown = sample_runs.SPEC.model_copy(update={"processes": 5, "cooldown_secs": 2.0})
    more = [sample_runs.run(model, process=n, spec=grown) for n in (3, 4) for model in PAIR]
    found = block([*runs(*PAIR), *more])
    for model in PAIR:
        assert len(entry(found, model).processes) == 5
        assert not [note for note in notes(found, entry(found, model)) if "protocol" in note]


def test_a_worse_retry_is_named_and_not_used():
    hot = sample_runs.conditions(sample_runs.START, throttled=4)
    again = [sample_runs.run("alexnet", process=1, median=900e6, after=hot) for _ in range(2)]
    found = block([*runs("alexnet"), *again])
    alexnet = entry(found, "alexnet")
    assert (len(alexnet.processes), alexnet.stability) == (3, "stable")
    assert alexnet.estimate.maximum < 400e6
    assert "1 process measured several times: the least disturbed attempt of each counts" in notes(
        found, alexnet
    )


def test_the_error_of_another_file_does_not():
    other = sample_runs.run(PAIR[0], sha256="a" * 64).artifact
    found = block(runs(*PAIR), evaluations=[sample_runs.evaluation(other)])
    assert [row.measured_top1_error for row in found.rows] == [None, None]


def test_a_file_with_a_quantization_fallback_is_marked():
    made = runs(*PAIR, precision=Precision.INT8)
    recipe = Recipe(method="entropy", float_layers=("stem",))
    tried = Attempt(recipe=recipe, parity=made[0].artifact.parity)
    runs_with_fallback = [
        run.model_copy(
            update={
                "artifact": run.artifact.model_copy(
                    update={"recipe": recipe, "attempts": (tried, tried)}
                )
            }
        )
        for run in made
    ]
    found = block(runs_with_fallback)
    assert notes(found, entry(found, PAIR[0])) == [
        "int8 needed a quantization fallback: entropy calibration, 1 layer in float"
    ]
