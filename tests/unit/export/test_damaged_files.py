"""Files of every format that are cut, empty, or no networks: one line that names the format."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import onnx
import pytest
from mobile_files import DESCRIBED, LAYERS, mnn_file, ncnn_file
from onnx import TensorProto, helper

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.classification import classify
from shufflenet_deploy.export.inspection.contents import inspect
from shufflenet_deploy.export.measured_file import MeasuredFiles
from shufflenet_deploy.export.mnn import flat_buffer

ENDINGS = [one.ending for one in formats.every()]
TITLES = {one.ending: one.title for one in formats.every()}
DELEGATES = Path(__file__).parents[2] / "data" / "delegates"


def onnx_bytes() -> bytes:
    """One activation."""
    (x, y) = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "network", [x], [y])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        inspect(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"hello, world\n" * 9, random.Random(1).randbytes(999)],
    ids=("empty", "zero", "text", "garbage"),
)
def test_what_is_no_network_is_refused_as_its_name_says(
    tmp_path: Path, ending: str, content: bytes
) -> None:
    path = tmp_path / f"net.{ending}"
    path.write_bytes(content)
    wanted = f"{path} is not an undamaged {TITLES[ending]} file"
    assert refusal(path).startswith(wanted)
    with pytest.raises(UsageError, match=r"export it again$"):
        classify(path, tmp_path / "no.jpg")


@pytest.mark.parametrize("lost", [1, 2, 22, 40, 300])
def test_a_cut_ncnn_file_is_called_one(tmp_path: Path, lost: int) -> None:
    whole = ncnn_file(tmp_path / "whole.ncnn", described=DESCRIBED).read_bytes()
    path = tmp_path / "cut.ncnn"
    path.write_bytes(whole[:-lost])
    assert refusal(path) == f"{path} is not an undamaged ncnn file; export it again"


@pytest.mark.parametrize("name", ["tiny.pte", "tiny.openvino"])
def test_a_cut_file_of_a_delegate_is_called_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((DELEGATES / name).read_bytes()[:-100])
    assert f"is not an undamaged {TITLES[path.suffix[1:]]} file" in refusal(path)


def test_a_cut_program_is_refused_by_whatever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "net.native"
    path.write_bytes(b"\x7fELF\x02" + bytes(60))
    path.write_bytes(path.read_bytes()[:40])
    wanted = f"{path} is not an undamaged native file; export it again"
    assert refusal(path) == wanted
    with pytest.raises(UsageError, match=re.escape(wanted)):
        classify(path, tmp_path / "no.jpg")


@pytest.mark.parametrize("name", ["net.tflite", "net.ncnn", "net", "net.json", "net.bin"])
def test_the_bytes_count_and_not_the_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(onnx_bytes())
    assert inspect(path).format == "onnx"


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("net.param", LAYERS, "part of a file of ncnn: zip net.zip net.param; cat net.bin net.zip"),
        ("model.xml", "<net/>", "part of a file of OpenVINO: zip -0 net.openvino model.xml"),
        ("net.json", json.dumps({"a": [1]}), "no exported file by its content or its name"),
        ("net.c", "int main(void);", "no exported file by its content or its name"),
        ("net", "text", "those end in .mnn, .native, .ncnn, .onnx, .openvino, .pte, .tflite"),
    ],
)
def test_what_lies_beside_files_is_told_for_what_it_is(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert told in refusal(path)
    if name in ("net.param", "model.xml"):
        with pytest.raises(UsageError, match=re.escape(told)):
            MeasuredFiles().describe(path, {})


def test_the_pieces_of_an_ncnn_file_make_one_again(tmp_path: Path) -> None:
    """As the refusal of a part tells: an archive without our comment behind the weights."""
    whole = ncnn_file(tmp_path / "a.ncnn").read_bytes()
    path = tmp_path / "net.ncnn"
    path.write_bytes(whole.removesuffix(b"ncnn")[:-2] + b"\0\0")
    found = inspect(path)
    assert (found.format, found.inputs[0].shape) == ("ncnn", (1, 0, 0, 0))
    assert found.warnings == ("the shape of in0 is open: not all multiply-adds are counted",)


def test_a_file_of_mnn_tells_no_version_where_it_has_none() -> None:
    assert flat_buffer.version(mnn_file("maker")) == ""
