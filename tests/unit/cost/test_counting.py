"""Selection of one figure from the instruction counts of several inferences."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from shufflenet_deploy import board, zoo
from shufflenet_deploy.board import manager
from shufflenet_deploy.cost.counting import Plan, _LazyBoard, _requests, count
from shufflenet_deploy.cost.protocol import MOST_SPREAD, agreement, settled
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.card import card_text

#: Output of a loaded host: the first inference after the conditions were read is 1 % high, and
#: the sshd of the board answers something in two of the others.
DISTURBED = [5_905_000, 5_843_952, 5_840_752, 5_846_000, 5_843_984, 5_884_000, 5_841_000, 5_844_000]


def test_the_first_quarter_is_not_counted():
    assert settled(range(8)) == range(2, 8)
    assert settled([9, 1, 1, 1]) == [1, 1, 1]
    assert settled([9, 1, 1, 1, 1]) == [1, 1, 1]


def test_the_count_is_the_median_and_the_spread_is_of_it():
    middle, spread = agreement([2000, 2000, 2000, 1000, 1004, 1002, 1001, 1003, 1002, 1002])
    assert middle == 1002
    assert spread == pytest.approx(2 / 1002)


@pytest.mark.parametrize("place", range(len(DISTURBED)))
def test_single_interrupted_inferences_are_no_disagreement(place):
    samples = [*DISTURBED]
    samples[place] = int(samples[place] * 1.03)
    middle, spread = agreement(samples)
    assert middle == pytest.approx(5_843_984, rel=0.0005)
    assert spread <= MOST_SPREAD


def test_interruptions_of_most_inferences_are():
    """Of 0.7 %, as when something else runs on the board."""
    _, spread = agreement([2_500_000, 2_500_000] + [2_517_500] * 6 + [2_500_000] * 2)
    assert spread > MOST_SPREAD


def test_a_single_inference_agrees_with_itself():
    assert agreement([7]) == (7, 0)


def test_what_is_counted_is_what_there_is_in_a_runtime_on_a_cpu():
    plan = Plan(runtimes=("native", "onnxruntime==1.32.0"))
    assert plan.precisions_in("native", "cortex-a76") == ("fp32", "fp16", "int8")
    assert plan.precisions_in("native", "cortex-a72") == ("fp32", "int8")
    assert plan.precisions_in("onnxruntime==1.32.0", "cortex-a76") == ("fp32", "int8")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"runtimes": ("native",)}, "cortex-a72 does not compute in fp16"),
        ({"runtimes": ("litert", "native"), "cpus": ("cortex-a76",)}, "litert has none"),
    ],
)
def test_a_precision_by_its_name_must_be_had_everywhere(fields, told):
    with pytest.raises(UsageError, match=told):
        Plan(precisions=("fp32", "fp16"), **fields)


def test_a_mistake_in_the_plan_starts_no_board(monkeypatch, tmp_path):
    monkeypatch.setenv(manager.STATE_VARIABLE, str(tmp_path / "state"))
    told = []
    with pytest.raises(UsageError, match="did you mean"):
        count(Plan(models=("shuflenet",)), out=tmp_path, keep_boards=False, on_stage=told.append)
    assert told == []
    assert not board.names()


def test_a_card_is_counted_under_its_own_name(tmp_path):
    card = tmp_path / "mine.toml"
    card.write_text(card_text(zoo.architecture("alexnet").model_copy(update={"name": "mine"})))
    plan = Plan(models=(str(card), "shufflenet-v1-x0_5"), precisions=("fp32",))
    wanted = list(_requests(plan, tmp_path))
    assert {one.model for one in wanted} == {"mine", "shufflenet-g3-0.5x"}
    assert {one.request.model for one in wanted} == {str(card), "shufflenet-g3-0.5x"}
    assert wanted[0].title == "mine fp32 for onnxruntime"


def test_what_decides_a_count_is_known_before_the_board_is_started(monkeypatch):
    """The same runtime, whether its version was typed or is the newest."""
    image = board.ImageInfo(
        id="0123", recipe="r", kernel="k", packages={"libc6": "2.36-9", "python3": "3.11.2-1+b1"}
    )
    monkeypatch.setattr(board, "image_for", lambda _: image)
    monkeypatch.setattr(board, "find", lambda _: None)
    monkeypatch.setattr(board, "qemu_version", lambda: "7.2.22")
    settings = board.BoardSettings.choose(name="cost-cortex-a72", cpu="a72", deterministic=True)
    file = SimpleNamespace(sha256="ab" * 32)
    with _LazyBoard(settings, print) as there:
        newest = there.circumstances("onnxruntime", file)
        version = next(pin for pin in newest.runtime if pin.startswith("onnxruntime=="))
        assert there.circumstances(version, file) == newest
        assert there.circumstances("onnxruntime==1.30.0", file) != newest
        assert there.circumstances("native", file).runtime == ("native",)
    assert newest.image == "0123"
    assert newest.agent != ""


def test_without_an_image_nothing_was_counted(monkeypatch):
    monkeypatch.setattr(board, "image_for", lambda _: None)
    settings = board.BoardSettings.choose(name="cost-cortex-a72", cpu="a72", deterministic=True)
    with _LazyBoard(settings, print) as there:
        assert there.circumstances("native", SimpleNamespace(sha256="ab" * 32)) is None
