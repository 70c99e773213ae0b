"""Tiny real models in both formats: one convolution in ONNX, one dense layer in TFLite."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from shufflenet_deploy.records import (
    Artifact,
    Cell,
    Parity,
    TensorSpec,
    WeightsInfo,
)

INPUTS, OUTPUTS = 64, 8


@pytest.fixture(scope="session")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv, ReLU, global pool: 1x3x32x32 -> 1x8."""
    return write_onnx(tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="session")
def tiny_tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dense layer in fp32: 1x64 -> 1x8."""
    return write_tflite(tmp_path_factory.mktemp("tflite") / "tiny.tflite", int8=False)


@pytest.fixture(scope="session")
def tiny_tflite_int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dense layer in full-integer int8."""
    return write_tflite(tmp_path_factory.mktemp("tflite") / "tiny-int8.tflite", int8=True)


def write_onnx(path: Path, *, op: str = "Relu", seed: int = 0, size: int = 32) -> Path:
    """A small ONNX file; ``op`` names its activation, known to onnxruntime or not."""
    weight = np.random.RandomState(seed).randn(8, 3, 3, 3).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node(op, ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(
        nodes, "tiny", [picture], [logits], [numpy_helper.from_array(weight, "w")]
    )
    opset = helper.make_opsetid("", 13)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def dense_weights() -> tuple[np.ndarray, np.ndarray]:
    """Weight (8, 64) and bias (8,) of the TFLite models, in fp32."""
    generator = np.random.RandomState(1)
    return (
        generator.uniform(-1, 1, (OUTPUTS, INPUTS)).astype(np.float32),
        generator.uniform(-1, 1, OUTPUTS).astype(np.float32),
    )


def write_tflite(path: Path, *, int8: bool) -> Path:
    """One FULLY_CONNECTED operator, written with the schema that comes with LiteRT."""
    weight, bias = dense_weights()
    scales = {"x": 1 / 127, "w": 1 / 127, "y": 0.25}
    if int8:
        weight = np.round(weight / scales["w"]).astype(np.int8)
        bias = np.round(bias / (scales["x"] * scales["w"])).astype(np.int32)
    kind = schema.TensorType.INT8 if int8 else schema.TensorType.FLOAT32
    bias_kind = schema.TensorType.INT32 if int8 else schema.TensorType.FLOAT32
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT() for _ in range(5)]
    model.buffers[2].data = np.frombuffer(weight.tobytes(), np.uint8)
    model.buffers[3].data = np.frombuffer(bias.tobytes(), np.uint8)
    tensors = []
    for index, (name, shape, tensor_kind, scale) in enumerate(
        [
            ("x", [1, INPUTS], kind, scales["x"]),
            ("w", [OUTPUTS, INPUTS], kind, scales["w"]),
            ("b", [OUTPUTS], bias_kind, scales["x"] * scales["w"]),
            ("y", [1, OUTPUTS], kind, scales["y"]),
        ]
    ):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, tensor_kind, index + 1
        if int8:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        tensors.append(tensor)
    dense = schema.OperatorT()
    dense.inputs, dense.outputs = [0, 1, 2], [3]
    dense.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    dense.builtinOptions = schema.FullyConnectedOptionsT()
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4 if int8 else 1
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [3], [dense]
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


@pytest.fixture(scope="session")
def onnx_writer() -> Callable[..., Path]:
    """``write_onnx``, for tests that need their own file."""
    return write_onnx


@pytest.fixture(scope="session")
def reference_logits() -> Callable[[np.ndarray], np.ndarray]:
    """Reference logits of the fp32 dense layer for inputs of shape (1, 64)."""
    weight, bias = dense_weights()
    return lambda values: values @ weight.T + bias


@pytest.fixture(scope="session")
def record_of() -> Callable[[Path, Cell], Artifact]:
    """Makes the artifact record of a file that stands for a cell."""
    return artifact_for


def artifact_for(path: Path, cell: Cell) -> Artifact:
    """A record of one of the tiny files, as an export of ``cell`` would return it."""
    return Artifact(
        path=path,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
        model=cell.model,
        format=cell.format,
        precision=cell.precision,
        resolution=cell.resolution,
        inputs=(TensorSpec(name="x", shape=(1, 3, 32, 32), dtype="float32"),),
        outputs=(TensorSpec(name="y", shape=(1, 8), dtype="float32"),),
        multiply_adds=1000,
        parameters=100,
        weights=WeightsInfo.seeded(0, sha256="0" * 64),
        converter="test",
        parity=Parity(
            inputs=1, max_abs_diff=0, sqnr_db=100, cosine=1, top1_agreement=1, passed=True
        ),
        created_at=datetime.now(UTC),
    )
