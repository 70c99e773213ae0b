"""The search for a lowering: what the samples say decides, and a tie goes to the plain network."""

import pytest
import sample_runs

from shufflenet_deploy.bench.tuning import TuningRequest, tune
from shufflenet_deploy.errors import TargetError
from shufflenet_deploy.records import BenchmarkSpec, Precision

FP32, INT8 = Precision.FP32, Precision.INT8


def question(runtime="onnxruntime", **fields):
    return TuningRequest(
        model="shufflenet-g3-0.5x", runtime=runtime, resolution="224x224", core="cortex-a72",
        host="pi", spec=BenchmarkSpec(), **fields,
    )  # fmt: skip


class Board:
    """Measures whatever it is asked for; medians in ms by (precision, lowering)."""

    def __init__(self, medians, usual=10.0):
        self.medians, self.usual = medians, usual
        self.asked = []

    def __call__(self, name, suite):
        self.asked.append(name)
        return [
            sample_runs.run(
                process=process,
                median=1e6
                * self.medians.get((cell.precision, cell.options["lowering"]), self.usual),
                precision=cell.precision,
                runtime=cell.runtime,
                options=cell.options,
            )
            for process in range(3)
            for cell in suite.cells()
        ]


def test_the_fastest_is_chosen_and_keeps_its_evidence():
    board = Board({(INT8, "channels-last"): 6.0, (INT8, "gather"): 8.0})
    plain, small = tune(question(by_stage=False), board)
    assert (plain.lowering, small.lowering) == ("paper", "channels-last")
    best = small.figures[0]
    assert best.lowering == "channels-last"
    assert best.low < best.ratio < best.high < 0.7
    assert small.worth_it
    assert "0.6" in small.note
    assert (small.core, small.host, small.version) == ("cortex-a72", "pi", "1.32.0")
    assert board.asked == ["onnxruntime-all", "onnxruntime-winners"]


def test_ties_go_to_the_plain_network_and_int8_without_gain_to_fp32():
    plain, small = tune(question(by_stage=False), Board({}))
    assert (plain.lowering, small.lowering) == ("paper", "paper")
    assert small.worth_it is False
    assert small.note.endswith("use fp32")


def test_other_forms_are_tried_stage_by_stage_and_kept_where_they_gain():
    gains = {
        (INT8, "blocks"): 8.0,
        (INT8, "blocks:stage2=dense"): 7.0,
        (INT8, "blocks:stage2=dense+stage4=transpose"): 6.0,
    }
    board = Board(gains)
    entries = tune(question("litert", precisions=(INT8,)), board)
    assert [one.lowering for one in entries] == ["blocks:stage2=dense+stage4=transpose"]
    assert board.asked == ["litert-all", *(f"litert-int8-stage{n}" for n in (2, 3, 4))]


def test_files_that_compute_something_else_are_never_chosen(monkeypatch):
    board = Board({(INT8, "channels-last"): 1.0})

    def measure(name, suite):
        for run in board(name, suite):
            wrong = run.cell.options["lowering"] == "channels-last"
            parity = run.artifact.parity.model_copy(update={"passed": not wrong})
            yield run.model_copy(
                update={"artifact": run.artifact.model_copy(update={"parity": parity})}
            )

    small = tune(question(by_stage=False), measure)[1]
    assert small.lowering == "paper"


def test_without_the_plain_network_there_is_nothing_to_compare_with():
    with pytest.raises(TargetError, match="as the paper draws it could not be measured"):
        tune(question(), lambda *_: [])
