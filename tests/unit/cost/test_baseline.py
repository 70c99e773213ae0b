"""The regression gate: what counts as moved, and the file it is compared with."""

import pytest

from shufflenet_deploy.cost import CostBaseline, Count, CountStatus, compare
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Precision, Resolution


def counted(instructions, **changes):
    fields = {
        "cpu": "cortex-a72",
        "model": "shufflenet-g3-0.5x",
        "runtime": "onnxruntime",
        "version": "1.32.0",
        "precision": Precision.FP32,
        "resolution": Resolution(height=224, width=224),
        "instructions": instructions,
        "spread": 0.0001,
        "multiply_adds": 38_000_000,
        "artifact": "a" * 64,
    }
    return Count(**{**fields, **changes})


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1_000_000, CountStatus.SAME),
        (1_005_000, CountStatus.SAME),
        (995_000, CountStatus.SAME),
        (1_005_100, CountStatus.REGRESSED),
        (994_900, CountStatus.IMPROVED),
    ],
)
def test_half_a_percent_is_the_limit_both_ways(now, verdict):
    comparison = compare([counted(1_000_000)], [counted(now)])
    assert [change.verdict for change in comparison.changes] == [verdict]
    assert comparison.passed == (verdict is not CountStatus.REGRESSED)


def test_a_regression_says_what_moved_by_how_much_and_what_else_changed():
    old = counted(30_000_000)
    new = counted(33_000_000, version="1.33.0", artifact="b" * 64)
    line = compare([old], [new]).changes[0].line
    assert line == (
        "shufflenet-g3-0.5x fp32 onnxruntime 224x224 on cortex-a72: 30.00 -> 33.00 Minstr,"
        " +10.00% (onnxruntime 1.32.0 -> 1.33.0; file aaaaaaaaaaaa -> bbbbbbbbbbbb)"
    )


def test_what_can_no_longer_be_counted_fails_and_what_is_new_does_not():
    gone = compare([counted(1), counted(1, model="alexnet")], [counted(1)])
    assert not gone.passed
    assert [change.counted for change in gone.with_verdict(CountStatus.GONE)] == [None]
    new = compare([counted(1)], [counted(1), counted(1, model="alexnet")])
    assert new.passed
    assert len(new.with_verdict(CountStatus.NEW)) == 1


def test_different_cpus_are_different_cells():
    comparison = compare([counted(10)], [counted(20, cpu="cortex-a76")])
    assert {change.verdict for change in comparison.changes} == {CountStatus.GONE, CountStatus.NEW}


def test_a_lock_comes_back_as_it_was_written_in_a_stable_order(tmp_path):
    one, two = counted(2), counted(1, model="alexnet")
    path = tmp_path / "cost.lock.toml"
    CostBaseline(tools={"qemu": "7.2", "onnx": '1"'}, count=(one, two)).write(path)
    first = path.read_bytes()
    assert CostBaseline.read(path).count == (two, one)
    CostBaseline(tools={"onnx": '1"', "qemu": "7.2"}, count=(two, one)).write(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("count = 3", "is not a lock of counts: count"),
        ("[[count]]\ncpu = 'x'", "is not a lock of counts: count.0"),
        ("not toml", "is not TOML"),
        ("\x00", "is not TOML"),
    ],
)
def test_a_bad_lock_is_one_line(tmp_path, text, message):
    path = tmp_path / "lock"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        CostBaseline.read(path)
    assert "\n" not in str(caught.value)


def test_a_missing_lock_says_how_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="cost --update"):
        CostBaseline.read(tmp_path / "none.toml")


def test_precisions_stand_in_one_order_in_a_lock_and_in_what_has_moved(tmp_path):
    counts = [counted(1, precision=precision) for precision in reversed(Precision)]
    path = tmp_path / "cost.lock.toml"
    CostBaseline(count=tuple(counts)).write(path)
    assert [one.precision.value for one in CostBaseline.read(path).count] == [
        "fp32",
        "fp16",
        "int8",
    ]
    changes = compare(counts, []).changes
    assert [change.locked.precision.value for change in changes] == ["fp32", "fp16", "int8"]


def test_efficiency_is_of_the_lanes_of_a_vector_and_not_of_int8():
    assert counted(19_000_000).efficiency == pytest.approx(0.5)
    assert counted(19_000_000, precision=Precision.FP16).efficiency == pytest.approx(0.25)
    assert counted(19_000_000, precision=Precision.INT8).efficiency is None
