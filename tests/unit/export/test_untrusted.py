"""Files from elsewhere in ``inspect``: one line for the hostile, figures for the unusual."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line
from shufflenet_deploy.cli.bench_suite import definition_of
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import inspect, manifest
from shufflenet_deploy.export.untrusted import product

DAMAGED = r"is not an undamaged (ONNX|TFLite|native|MNN|ncnn|ExecuTorch|OpenVINO) file"
DEEP = 100_000


def saved(
    path: Path,
    nodes: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    constants: Sequence[Any] = (),
) -> Path:
    graph = helper.make_graph(nodes, "network", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    return path


def tensor(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def chain(operator: str, length: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node(operator, [f"v{at}"], [f"v{at + 1}"], f"n{at}") for at in range(length)
    ]


def native(path: Path, metadata: bytes) -> Path:
    """The head of a 64-bit ELF file whose table of sections is empty, and metadata."""
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    path.write_bytes(bytes(head) + metadata + b"\0")
    return path


def metadata(**changes: Any) -> bytes:
    fields = {
        "made_by": "shufflenet-deploy 1", "name": "n", "machine": "m", "precision": "fp32",
        "input": [3, 8, 8], "output": [10], "layers": {"convolution": 1}, "multiply_adds": 5,
        "parameters": 5, **changes,
    }  # fmt: skip
    return json.dumps(fields).encode()


# --- what is unusual ------------------------------------------------------------------------------


def test_sequences_go_in_and_out_by_their_type(tmp_path: Path) -> None:
    several = helper.make_tensor_sequence_value_info("xs", TensorProto.FLOAT, [1, 4])
    node = helper.make_node("ConcatFromSequence", ["xs"], ["y"], axis=1)
    found = inspect(saved(tmp_path / "m.onnx", [node], [several], [tensor("y", 1, 8)]))
    assert (found.inputs[0].dtype, found.inputs[0].shape) == ("sequence(float32)", ())
    split = helper.make_node("SplitToSequence", ["x"], ["ys"], axis=1)
    out = helper.make_tensor_sequence_value_info("ys", TensorProto.FLOAT, None)
    found = inspect(saved(tmp_path / "m.onnx", [split], [tensor("x", 1, 8)], [out]))
    assert found.outputs[0].dtype == "sequence(float32)"


@pytest.mark.parametrize(
    ("left", "right", "answer", "multiply_adds"),
    [
        ((2, 4), (4,), (2,), 8),
        ((4,), (4, 3), (3,), 12),
        ((4,), (4,), (), 4),
        ((5, 2, 4), (4, 3), (5, 2, 3), 120),
    ],
)
@pytest.mark.parametrize("constant", ["left", "right"])
def test_products_with_vectors_are_counted(
    tmp_path: Path,
    left: tuple[int, ...],
    right: tuple[int, ...],
    answer: tuple[int, ...],
    multiply_adds: int,
    constant: str,
) -> None:
    node = helper.make_node("MatMul", ["left", "right"], ["y"])
    shapes = {"left": left, "right": right}
    weights = numpy_helper.from_array(np.ones(shapes.pop(constant), np.float32), constant)
    given = [tensor(name, *shape) for name, shape in shapes.items()]
    path = saved(tmp_path / "m.onnx", [node], given, [tensor("y", *answer)], [weights])
    assert inspect(path).multiply_adds == multiply_adds


def test_long_chains_are_followed(tmp_path: Path) -> None:
    length = 3000
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["v0"]),
        *chain("Relu", length),
        helper.make_node("Sqrt", [f"v{length}"], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.int8(0), "z")
    ]  # fmt: skip
    path = saved(tmp_path / "m.onnx", nodes, [tensor("x", 1, 8)], [tensor("y", 1, 8)], constants)
    assert inspect(path).operations["Relu"] == length


# --- what is hostile ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[1 << 40, 1 << 40], [1] * 40, [-5, 3]])
def test_shapes_that_no_tensor_has_are_refused(tmp_path: Path, shape: list[int]) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = saved(tmp_path / "m.onnx", [node], [tensor("x", *shape)], [tensor("y", *shape)])
    with pytest.raises(UsageError, match=DAMAGED):
        inspect(path)


def test_weights_that_claim_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10**11], raw_data=b"1234")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = saved(tmp_path / "m.onnx", [node], [tensor("x", 1, 8)], [tensor("y", 1)], [weights])
    with pytest.raises(UsageError, match=DAMAGED):
        inspect(path)


@pytest.mark.parametrize("where", ["/dev/zero", "../secret", "missing.bin", "pipe"])
def test_tensors_in_other_files_are_those_beside_the_model(tmp_path: Path, where: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4],
                          data_location=TensorProto.EXTERNAL)  # fmt: skip
    weights.external_data.add(key="location", value=where)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = saved(folder / "m.onnx", [node], [tensor("x", 1, 4)], [tensor("y", 1)], [weights])
    with pytest.raises(UsageError, match=r"cannot read|is not an undamaged"):
        inspect(path)


def test_tables_that_share_tables_are_refused(tmp_path: Path) -> None:
    """A file of 80 kB: ten thousand times one subgraph, of ten thousand times one operator."""
    many = 10_000
    builder = flatbuffers.Builder()

    def repeated(one: int) -> int:
        builder.StartVector(4, many, 4)
        for _ in range(many):
            builder.PrependUOffsetTRelative(one)
        return int(builder.EndVector())

    schema.OperatorStart(builder)
    operators = repeated(schema.OperatorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddOperators(builder, operators)
    graphs = repeated(schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    path = tmp_path / "m.tflite"
    path.write_bytes(builder.Output())
    with pytest.raises(UsageError, match=DAMAGED):
        inspect(path)


@pytest.mark.parametrize(
    "record",
    [
        metadata()[:-1] + b', "more": ' + b"[" * DEEP + b"]" * DEEP + b"}",
        metadata()[:-1] + b', "more": ' + b"9" * 10_000 + b"}",
        metadata(name="x" * (2 << 20)),
        metadata(layers=[1]),
        metadata(layers={"convolution": -1}),
        metadata(multiply_adds=10**30),
        metadata(multiply_adds=None),
        metadata(input=[1 << 40, 1 << 40]),
        metadata(input="wide"),
        metadata(precision=3),
        metadata()[:-9],
        b'{"made_by": "shufflenet-deploy ',
        b'{"made_by": "shufflenet-deploy \xff\xfe"}',
    ],
    ids=range(13),
)
def test_records_that_no_program_has_are_refused(tmp_path: Path, record: bytes) -> None:
    with pytest.raises(UsageError, match=DAMAGED):
        inspect(native(tmp_path / "m.native", record))


def test_texts_of_a_file_are_printed_without_control_characters(tmp_path: Path) -> None:
    record = metadata(machine="\x1b]0;owned\x07", layers={"[red]\ud800": 1})
    result = CliRunner().invoke(
        command_line(), ["inspect", str(native(tmp_path / "m.native", record))]
    )
    assert result.exit_code == 0, result.exception
    assert "\x1b" not in result.stdout
    assert "?]0;owned?" in result.stdout
    assert "[red]?" in result.stdout


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge.onnx").open("wb") as stream:
        stream.truncate(3 << 30)
    for path, reason in (
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "huge.onnx", "3072 MB, more than 2048 MB"),
        (tmp_path / ("x" * 300), "File name too long"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UsageError, match=reason):
            inspect(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        '{"key": ' * DEEP,
        '{"key": "0", "artifact": {"multiply_adds": ' + "9" * 5000 + "}}",
        '{"key": "0", "artifact": {"created_at": "0000-99-99"}}',
        '"\ud800"'.encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_hostile_manifest_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"")
    manifest.path_for(path).write_text(text, encoding="latin-1")
    assert manifest.read(path) is None


def test_an_endless_manifest_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    manifest.path_for(path).symlink_to("/dev/zero")
    assert manifest.read(path) is None
    manifest.path_for(path).unlink()
    with manifest.path_for(path).open("wb") as stream:
        stream.truncate(1 << 40)
    assert manifest.read(path) is None


@pytest.mark.parametrize(
    "text",
    ["{", "[" * DEEP, "[]", "null", '"suite"', '{"models": 3}', '{"spec": []}', '{"x": 1}',
     '{"models": ["m"], "resolutions": ["224x224"], "weights": {"m": []}}',
     '{"models": ["m"], "resolutions": ["224x224"], "weights": [1]}',
     '{"models": ["m"], "resolutions": ["224x224"], "threads": [' + "9" * 5000 + "]}"],
    ids=range(11),
)  # fmt: skip
def test_a_suite_of_the_journal_that_is_none_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the suite brisk-heron in the journal") as error:
        definition_of(text, "brisk-heron")
    assert "\n" not in str(error.value)


def test_sizes() -> None:
    assert product(()) == 1
    assert product((3, 0, 5)) == 0
