"""Files that are measured as they are: what is read of them, and what their record claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shufflenet_deploy.bench.suite import Suite
from shufflenet_deploy.bench.suite_checks import check_extras, check_models
from shufflenet_deploy.cli.named_files import NamedFiles
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.measured_file import MeasuredFiles
from shufflenet_deploy.records import Precision, Resolution


def two_inputs(path: Path, height: int | str = 8) -> Path:
    """``conv(image) * scale``, and an index that is passed through."""
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, height, 10)),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, (1, 4, 1, 1)),
        helper.make_tensor_value_info("index", TensorProto.INT64, (2,)),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["map"]),
        helper.make_node("Mul", ["map", "scale"], ["out"]),
        helper.make_node("Identity", ["index"], ["same"]),
    ]
    outputs = [
        helper.make_tensor_value_info("out", TensorProto.FLOAT, (1, 4, "h", "w")),
        helper.make_tensor_value_info("same", TensorProto.INT64, (2,)),
    ]
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weight")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def test_what_a_cell_states_is_read_from_the_file(tmp_path: Path) -> None:
    file = MeasuredFiles().describe(two_inputs(tmp_path / "two.onnx"), {})
    assert (file.format, file.precision) == ("onnx", Precision.FP32)
    assert file.resolution == Resolution(height=8, width=10)
    made = MeasuredFiles().artifact(file, "two.onnx")
    assert made.multiply_adds == 6 * 8 * 4 * 3 * 9
    assert [spec.name for spec in made.inputs] == ["image", "scale", "index"]
    assert (made.parity.claimed, made.parity.passed) == (False, True)
    assert "compared with nothing" in made.parity.reason


def test_an_open_shape_has_to_be_stated(tmp_path: Path) -> None:
    path = two_inputs(tmp_path / "open.onnx", "height")
    with pytest.raises(UsageError, match=r"is 1x3x\?x10: state its shape, such as --shape image="):
        MeasuredFiles().describe(path, {})
    file = MeasuredFiles().describe(path, {"image": (1, 3, 12, 10)})
    assert file.resolution == Resolution(height=12, width=10)
    assert MeasuredFiles().artifact(file, "open.onnx").multiply_adds == 10 * 8 * 4 * 3 * 9
    with pytest.raises(UsageError, match=r"--shape image: in .*open.onnx it is 1x3x\?x10"):
        MeasuredFiles().describe(path, {"image": (1, 1, 12, 10)})
    with pytest.raises(UsageError, match=r"--shape other: the inputs of .* are image, scale"):
        MeasuredFiles().describe(path, {"other": (1,)})


def test_what_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    (tmp_path / "junk.bin").write_bytes(b"junk")
    two_inputs(tmp_path / "two.onnx").rename(tmp_path / "two.tflite")
    for name, what in (
        ("junk.onnx", "not an undamaged ONNX file"),
        ("junk.bin", "files end in .mnn, .ncnn, .onnx, .openvino, .pte, .tflite"),
        ("two.tflite", "holds onnx, whatever its name ends in"),
        ("none.onnx", "No such file"),
    ):
        with pytest.raises(UsageError, match=what):
            MeasuredFiles().describe(tmp_path / name, {})


def test_a_changed_file_is_not_measured(tmp_path: Path) -> None:
    path = two_inputs(tmp_path / "two.onnx")
    file = MeasuredFiles().describe(path, {})
    two_inputs(path, 9)
    with pytest.raises(UsageError, match="has changed since it was chosen"):
        MeasuredFiles().artifact(file, "two.onnx")


def test_a_suite_measures_each_file_in_runtimes_of_its_format(tmp_path: Path) -> None:
    first = two_inputs(tmp_path / "one.onnx")
    (tmp_path / "other").mkdir()
    second = two_inputs(tmp_path / "other" / "one.onnx", 12)
    named = NamedFiles.of([str(first)], [], str(second))
    assert named.models == (f"{tmp_path.name}-one.onnx",)
    assert named.baseline == "other-one.onnx"
    fields = {
        "models": [*named.models],
        "baseline": named.baseline,
        "resolutions": ["224x224"],
        "files": {name: file.model_dump(mode="json") for name, file in named.files.items()},
    }
    suite = check_models(Suite.of({**fields, "runtimes": ["onnxruntime", "litert"]}, source="s"))
    cells = suite.cells()
    assert {(cell.runtime, str(cell.resolution)) for cell in cells} == {
        ("onnxruntime", "8x10"),
        ("onnxruntime", "12x10"),
    }
    with pytest.raises(UsageError, match="is onnx, which litert cannot run: add --runtime onnx"):
        check_extras(Suite.of({**fields, "runtimes": ["litert"]}, source="s"))


@pytest.mark.parametrize("text", ["x", "x=", "=1x3", "x=1x0x3", "x=1x-3", "x=ax3"])
def test_shapes_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        NamedFiles.of([str(two_inputs(tmp_path / "two.onnx"))], [text], None)
