"""TFLite files in LiteRT: what their tensors hold, and whether they compute what a graph does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from operator_graphs import numbers

from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.graph import FloatArray, Graph
from shufflenet_deploy.network.quantization import calibration

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)


def litert(content: bytes, resolver: OpResolverType) -> Interpreter:
    """A file in LiteRT, on one thread."""
    loaded = Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, num_threads=1
    )
    loaded.allocate_tensors()
    return loaded


def infer(loaded: Interpreter, image: FloatArray) -> list[FloatArray]:
    """The outputs for one float image (C, H, W), in their order; maps come back as (C, H, W)."""
    (source,) = loaded.get_input_details()
    value = image.transpose(1, 2, 0)[None]
    if source["dtype"] is np.int8:
        scale, zero_point = source["quantization"]
        value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
    loaded.set_tensor(source["index"], value)
    loaded.invoke()
    found = []
    for detail in loaded.get_output_details():
        output = loaded.get_tensor(detail["index"])
        if detail["dtype"] is np.int8:
            scale, zero_point = detail["quantization"]
            output = (output.astype(np.float32) - zero_point) * np.float32(scale)
        found.append(output[0].transpose(2, 0, 1) if output.ndim == 4 else output[0])
    return found


def operations(content: bytes) -> Counter[str]:
    """The number of each operation in a file."""
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


def moves(content: bytes) -> Iterator[tuple[str, FloatArray]]:
    """The name and shape of each tensor that a transpose writes."""
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    (main,) = model.subgraphs
    for operator in main.operators:
        if (
            model.operatorCodes[operator.opcodeIndex].builtinCode
            == schema.BuiltinOperator.TRANSPOSE
        ):
            tensor = main.tensors[operator.outputs[0]]
            yield tensor.name.decode(), tensor.shape


def sqnr_db(wanted: FloatArray, actual: FloatArray) -> float:
    """Signal to noise, in dB."""
    return 10 * np.log10((wanted**2).sum() / max(((wanted - actual) ** 2).sum(), 1e-30))


def exact(graph: Graph, tolerance: float = 1e-5) -> bytes:
    """The fp32 file, which computes what the reference computes, with and without XNNPACK."""
    image = numbers(*graph.shapes["input"], seed=7)
    values = interpreter.activations(graph, image)
    content = writer.to_bytes(graph)
    for resolver in RESOLVERS:
        found = infer(litert(content, resolver), image)
        assert len(found) == len(graph.outputs)
        for name, actual in zip(graph.outputs, found, strict=True):
            wanted = values[name]
            assert actual.shape == wanted.shape
            assert abs(actual - wanted).max() <= tolerance * max(1.0, abs(wanted).max()), resolver
    return content


def rounded(graph: Graph, least_db: float) -> bytes:
    """The int8 file, which stays near the reference, with and without XNNPACK."""
    images = [numbers(1, *graph.shapes["input"], seed=seed) for seed in range(7, 11)]
    ranges = calibration.calibrate(graph, images)
    content = writer.int8_to_bytes(graph, ranges)
    values = interpreter.activations(graph, images[0])
    for resolver in RESOLVERS:
        found = infer(litert(content, resolver), images[0][0])
        for name, actual in zip(graph.outputs, found, strict=True):
            assert actual.shape == values[name].shape
            assert sqnr_db(values[name], actual) >= least_db, (name, resolver)
    return content


def in_float(content: bytes) -> bool:
    """True if any of an int8 file's operations computes in float."""
    return "DEQUANTIZE" in operations(content)


def both(graph: Graph, *, least_db: float = 28, floats: bool = False) -> Counter[str]:
    """Both files; ``floats`` is whether the int8 one has a step in float."""
    content = exact(graph)
    assert in_float(rounded(graph, least_db)) == floats
    return operations(content)
