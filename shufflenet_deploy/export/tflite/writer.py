"""TFLite files written directly from a graph: no TensorFlow, no intermediate format, no network.

A graph is lowered to NHWC operations (``lowering``), quantised on request (``tflite_int8``) and
packed with the flatbuffer schema that comes with LiteRT. The same graph gives the same bytes.

In the file the input is ``(1, H, W, C)``, maps are NHWC, and a tensor that holds a value of the
graph has that value's name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.atomic_files import replacing
from shufflenet_deploy.export.lowering_names import AUTO, parse
from shufflenet_deploy.export.tflite.int8 import computed_in_float, quantised
from shufflenet_deploy.export.tflite.lowering import lower
from shufflenet_deploy.export.tflite.lowering_plans import Plan, plan
from shufflenet_deploy.export.tflite.operator_versions import (
    ENUMERATIONS,
    OPTIONS,
    least_runtime,
    version,
)
from shufflenet_deploy.export.tflite.program import (
    TfliteOperation,
    TfliteProgram,
    TfliteTensor,
)
from shufflenet_deploy.export.tuning_table import resolved
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.quantization.ranges import Ranges, corrected
from shufflenet_deploy.records import Precision

#: The converter's name in manifests.
CONVERTER = "direct"

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_ALIGNMENT_BYTES = 16
_SHARED_BYTES = 1 << 16


def write(
    graph: Graph,
    path: Path,
    *,
    lowering: str = AUTO,
    metadata: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Write an fp32 TFLite file, whole or not at all; ``metadata`` are entries by name.

    Raises:
        UnsupportedError: a layer has no exact counterpart in TFLite.
        UsageError: no lowering of that name, or the folder cannot be written.
    """
    _write(path, lower(graph, _plan(graph, lowering, Precision.FP32)), metadata)


def to_bytes(graph: Graph, *, lowering: str = AUTO) -> bytes:
    """The content of an fp32 TFLite file.

    Raises:
        UnsupportedError: a layer has no exact counterpart in TFLite.
        UsageError: no lowering of that name.
    """
    return bytes(pack(lower(graph, _plan(graph, lowering, Precision.FP32))))


def write_int8(
    graph: Graph,
    ranges: Ranges,
    path: Path,
    *,
    lowering: str = AUTO,
    float_io: bool = False,
    float_values: Collection[str] = (),
    metadata: Mapping[str, bytes] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Write a full-integer int8 TFLite file, whole or not at all; see ``int8_to_bytes``.

    Returns the names of the layers that compute in float, in order: those that make
    ``float_values``, and those that have no integer kernel.

    Raises:
        UnsupportedError: a layer has no exact counterpart in TFLite.
        ExportError: a value has no calibrated range.
        UsageError: no lowering of that name, or the folder cannot be written.
    """
    program = _int8_program(graph, ranges, lowering, float_values)
    made = quantised(program, ranges, float_io=float_io, float_values=float_values)
    _write(path, made, metadata)
    computed = {value.partition(":")[0] for value in computed_in_float(made)}
    return tuple(layer.name for layer in graph.layers if layer.output in computed)


def int8_to_bytes(
    graph: Graph,
    ranges: Ranges,
    *,
    lowering: str = AUTO,
    float_io: bool = False,
    float_values: Collection[str] = (),
) -> bytes:
    """The content of a full-integer int8 TFLite file.

    Input and output are int8, or float32 with ``float_io``. ``float_values`` names values (outputs
    of layers) that are better computed in float.

    Raises:
        UnsupportedError: a layer has no exact counterpart in TFLite.
        ExportError: a value has no calibrated range.
        UsageError: no lowering of that name.
    """
    program = _int8_program(graph, ranges, lowering, float_values)
    return bytes(pack(quantised(program, ranges, float_io=float_io, float_values=float_values)))


def _int8_program(
    graph: Graph, ranges: Ranges, lowering: str, float_values: Collection[str]
) -> TfliteProgram:
    """The float program that is quantised next, its biases corrected for that."""
    choices = _plan(graph, lowering, Precision.INT8)
    return lower(corrected(graph, ranges, float_values), choices)


def _plan(graph: Graph, lowering: str, precision: Precision) -> Plan:
    name = resolved(lowering, "tflite", precision, graph.name)
    return plan(parse(name, "tflite", precision))


def _write(path: Path, program: TfliteProgram, metadata: Mapping[str, bytes]) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(pack(program, metadata))


def pack(
    program: TfliteProgram, metadata: Mapping[str, bytes] = MappingProxyType({})
) -> memoryview:
    """Serialise a program; the same program and metadata give the same bytes."""
    import flatbuffers  # noqa: PLC0415 - the schema costs a quarter of a second to import
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    packer = _Packer(schema, program, metadata)
    model = packer.model()
    constant_bytes = sum(len(buffer) for buffer in packer.contents)
    builder = flatbuffers.Builder(constant_bytes + (1 << 20))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return memoryview(builder.Bytes)[builder.Head() :]


class _Packer:
    """Numbers tensors, buffers and operator codes in order of first use."""

    def __init__(self, schema: Any, program: TfliteProgram, metadata: Mapping[str, bytes]) -> None:
        self._schema = schema
        self._entries = metadata
        self._program = program
        self.contents: list[memoryview] = [memoryview(b"")]  # Buffer 0 is empty by convention.
        self._buffer_of: dict[bytes, int] = {}
        self._tensors: list[Any] = []
        self._index_of: dict[Any, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def model(self) -> Any:
        schema, program = self._schema, self._program
        model = schema.ModelT()
        model.version = _SCHEMA_VERSION
        model.description = f"{program.name}, written by shufflenet-deploy"
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.inputs = [self._tensor(program.tensors[program.input])]
        subgraph.operators = [self._operator(operation) for operation in program.operations]
        subgraph.outputs = [self._tensor(program.tensors[name]) for name in program.outputs]
        subgraph.tensors = self._tensors
        model.subgraphs = [subgraph]
        model.operatorCodes = [self._operator_code(*key) for key in self._codes]
        model.signatureDefs = [self._signature(subgraph)]
        least = least_runtime(program).encode().ljust(16, b"\0")
        entries = {"min_runtime_version": least, **self._entries}
        model.metadata = [self._metadata(name, content) for name, content in entries.items()]
        model.buffers = [_buffer(schema, content) for content in self.contents]
        return model

    def _tensor(self, tensor: TfliteTensor) -> int:
        buffer = 0 if tensor.data is None else self._content(tensor.data)
        # Equal constants are one tensor; a value is known by its name.
        same = (tensor.name if tensor.data is None else buffer, tensor.shape, tensor.dtype)
        key = (*same, tensor.quantization)
        if key in self._index_of:
            return self._index_of[key]
        schema = self._schema
        packed = schema.TensorT()
        packed.name = tensor.name
        packed.shape = np.array(tensor.shape, np.int32)
        packed.hasRank = True
        packed.type = getattr(schema.TensorType, tensor.dtype.upper())
        packed.buffer = buffer
        if tensor.quantization is not None:
            packed.quantization = schema.QuantizationParametersT()
            packed.quantization.scale = np.array(tensor.quantization.scale, np.float32)
            packed.quantization.zeroPoint = np.array(tensor.quantization.zero_point, np.int64)
            packed.quantization.quantizedDimension = tensor.quantization.axis
        self._index_of[key] = len(self._tensors)
        self._tensors.append(packed)
        return self._index_of[key]

    def _content(self, data: NDArray[Any]) -> int:
        """The buffer of a constant; equal ones share it. Weights differ, so those are not read."""
        content = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        if len(content) > _SHARED_BYTES:
            self.contents.append(content)
            return len(self.contents) - 1
        known = self._buffer_of.setdefault(content.tobytes(), len(self.contents))
        if known == len(self.contents):
            self.contents.append(content)
        return known

    def _operator(self, operation: TfliteOperation) -> Any:
        schema, tensors = self._schema, self._program.tensors
        operator = schema.OperatorT()
        key = (operation.code, version(operation, self._program))
        operator.opcodeIndex = self._codes.setdefault(key, len(self._codes))
        operator.inputs = [self._tensor(tensors[name]) for name in operation.inputs]
        operator.outputs = [self._tensor(tensors[operation.output])]
        kind = OPTIONS.get(operation.code)
        if kind is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = getattr(schema, f"{kind}T")()
            if hasattr(operator.builtinOptions, "dilationHFactor"):
                operator.builtinOptions.dilationHFactor = 1
                operator.builtinOptions.dilationWFactor = 1
            for name, value in operation.options.items():
                enumeration = ENUMERATIONS.get(name)
                coded = getattr(getattr(schema, enumeration), value) if enumeration else value
                setattr(operator.builtinOptions, name, coded)
        return operator

    def _operator_code(self, name: str, version: int) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = version
        return code

    def _signature(self, subgraph: Any) -> Any:
        signature = self._schema.SignatureDefT()
        signature.signatureKey = "serving_default"
        signature.subgraphIndex = 0
        signature.inputs = [self._named(self._program.input, subgraph.inputs[0])]
        signature.outputs = [
            self._named(name, index)
            for name, index in zip(self._program.outputs, subgraph.outputs, strict=True)
        ]
        return signature

    def _named(self, name: str, index: int) -> Any:
        entry = self._schema.TensorMapT()
        entry.name, entry.tensorIndex = name, index
        return entry

    def _metadata(self, name: str, content: bytes) -> Any:
        entry = self._schema.MetadataT()
        entry.name = name
        entry.buffer = self._content(np.frombuffer(content, np.uint8))
        return entry


def _buffer(schema: Any, content: memoryview) -> Any:
    """A buffer whose bytes are aligned as the schema demands and its Python code forgets."""

    class Aligned(schema.BufferT):  # type: ignore[misc]
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the name the schema's code calls
            position = None
            if content:
                builder.StartVector(1, len(content), _ALIGNMENT_BYTES)
                start = builder.head - len(content)
                builder.head = start
                builder.Bytes[start : start + len(content)] = content
                position = builder.EndVector()
            schema.BufferStart(builder)
            if position is not None:
                schema.BufferAddData(builder, position)
            return schema.BufferEnd(builder)

    return Aligned()
