"""Lowerings as a user writes them, and which of them is known to be best where."""

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import ExportRequest, formats, tuning_table
from shufflenet_deploy.export.lowering_names import parse
from shufflenet_deploy.export.request import options
from shufflenet_deploy.export.tflite.lowering_plans import ShuffleForm, plan
from shufflenet_deploy.export.tuning_table import ANY, TunedLowering, TuningFigure, TuningTable
from shufflenet_deploy.records import Precision

INT8 = ("tflite", Precision.INT8)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(tuning_table.DATA_VARIABLE, str(tmp_path))
    return tmp_path


def entry(lowering, *, core="cortex-a76", runtime="litert", model="shufflenet-g3-0.5x"):
    figure = TuningFigure(lowering=lowering, value=1000, ratio=0.5, low=0.4, high=0.6)
    return TunedLowering(
        runtime=runtime, core=core, format=INT8[0], precision=INT8[1], model=model,
        lowering=lowering, worth_it=True, metric="latency", figures=(figure,),
    )  # fmt: skip


def test_every_kind_of_file_can_be_plain_and_has_a_shipped_choice():
    kinds = {
        (one.name, precision): names
        for one in formats.every()
        for precision, names in one.lowerings.items()
    }
    assert len(kinds) == 4
    for kind, names in kinds.items():
        assert names[0] == "paper"
        assert parse(tuning_table.shipped(*kind), *kind).name in names


def test_forms_of_stages_are_read_and_written():
    choice = parse("blocks:stage4=dense+stage2.1=transpose", *INT8)
    assert str(choice) == "blocks:stage2.1=transpose+stage4=dense"
    assert parse(str(choice), *INT8) == choice
    assert plan(choice).shuffle is ShuffleForm.BLOCKS
    assert plan(choice).shuffles["stage4"] is ShuffleForm.DENSE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("magic", "choose one of auto, paper, transpose"),
        ("channels-last", "not a lowering of int8 tflite"),
        ("blocks:stage2", "write STAGE=FORM"),
        ("blocks:stage2=magic", "forms are transpose"),
        ("paper:stage2=dense", "leaves no choice"),
    ],
)
def test_mistakes_are_named(text, message):
    with pytest.raises(UsageError, match=message):
        parse(text, *INT8)


def test_what_was_tuned_for_a_core_goes_before_what_was_shipped(own_folder):
    of = {"runtime": "litert", "core": "cortex-a76"}
    shipped = tuning_table.shipped(*INT8)
    assert tuning_table.best(*INT8, "shufflenet-g3-0.5x").lowering == shipped
    TuningTable(lowering=(entry("dense"), entry("blocks", model=ANY))).write(
        tuning_table.user_file()
    )
    assert tuning_table.best(*INT8, "shufflenet-g3-0.5x", **of).lowering == "dense"
    assert tuning_table.best(*INT8, "shufflenet-g3-1x", **of).lowering == "blocks"
    assert (
        tuning_table.best(*INT8, "shufflenet-g3-0.5x", runtime="litert", core="elsewhere").lowering
        == shipped
    )
    assert (
        tuning_table.best(*INT8, "shufflenet-g3-0.5x", runtime="other", core="cortex-a76").lowering
        == shipped
    )


def test_shipped_choices_of_a_core_carry_their_evidence():
    small = tuning_table.best(*INT8, "shufflenet-g3-0.5x", core="cortex-a72")
    assert small.worth_it is False
    assert "use fp32" in small.note
    best = min(small.figures, key=lambda one: one.value)
    assert best.lowering == small.lowering
    assert best.high < 1


def test_a_newer_entry_takes_the_place_of_an_older(own_folder):
    file = TuningTable(lowering=(entry("dense"), entry("blocks", core="x")))
    file = file.with_entries((entry("paper"),))
    assert [one.lowering for one in file.lowering] == ["paper", "blocks"]
    file.write(tuning_table.user_file())
    assert TuningTable.read(tuning_table.user_file()) == file


def test_a_damaged_file_is_named(own_folder):
    tuning_table.user_file().write_text("[[lowering]]\ncore = 1\n")
    with pytest.raises(UsageError, match=r"lowerings\.toml is not a tuning file"):
        tuning_table.best(*INT8, "alexnet")


def test_what_differs_from_the_defaults_is_in_the_name_and_the_options(own_folder):
    def request(**fields):
        return ExportRequest(
            model="shufflenet-g3-0.5x",
            format=INT8[0],
            precision=INT8[1],
            resolution="224x224",
            **fields,
        )

    assert request().path.name == "shufflenet-g3-0.5x-224x224-int8.tflite"
    assert options(request()) == {}
    plain = request(lowering="paper")
    assert plain.path.name == "shufflenet-g3-0.5x-paper-224x224-int8.tflite"
    assert options(plain) == {"lowering": "paper"}
    TuningTable(lowering=(entry("blocks:stage2=dense"),)).write(tuning_table.user_file())
    there = request(core="cortex-a76")
    assert request(core="cortex-a76", runtime="litert").path == there.path
    assert there.path.name == "shufflenet-g3-0.5x-blocks-stage2-dense-224x224-int8.tflite"
    assert options(there) == {}
