"""Identity of cells: equal cells are one key, however their options were written."""

from __future__ import annotations

import sample_runs

from shufflenet_deploy.records import Cell, Precision, Resolution
from shufflenet_deploy.stats import attempts
from shufflenet_deploy.stats.attempts import CellRuns


def cell(**changes) -> Cell:
    fields = {
        "model": "alexnet",
        "options": {"head": "pooled", "lowering": "paper"},
        "runtime": "onnxruntime==1.30",
        "format": "onnx",
        "precision": Precision.FP32,
        "resolution": Resolution(height=64, width=64),
    }
    return Cell.model_validate(fields | changes)


def test_the_order_of_options_is_no_part_of_a_cell():
    reordered = cell(options={"lowering": "paper", "head": "pooled"})
    assert len({cell(), reordered}) == 1
    assert {cell(): "found"}[reordered] == "found"


def test_a_stored_cell_is_the_same_key():
    assert Cell.model_validate_json(cell().model_dump_json()) in {cell()}


def test_every_field_distinguishes_cells():
    others = [
        cell(model="squeezenet"),
        cell(options={"head": "pooled"}),
        cell(runtime="onnxruntime"),
        cell(format="tflite"),
        cell(precision=Precision.INT8),
        cell(resolution="64x65"),
        cell(threads=2),
    ]
    assert len({cell(), *others}) == len(others) + 1


def test_attempts_at_one_process_are_grouped_by_cell():
    made = sample_runs.run("alexnet", process=1)
    written = [{"head": "pooled", "lowering": "paper"}, {"lowering": "paper", "head": "pooled"}]
    runs = [
        made.model_copy(
            update={"id": str(index), "cell": made.cell.model_copy(update={"options": options})}
        )
        for index, options in enumerate(written)
    ]
    assert len(attempts.counted(runs)) == 1
    assert len(CellRuns.of(runs).replaced) == 1
