"""int8 files in LiteRT: nothing left in float, nothing requantised, accurate; whole networks."""

from collections import Counter

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image
from torch import nn

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.image_set import load_image_set
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.network.quantization.ranges import Ranges
from shufflenet_deploy.records import Resolution

torch.set_num_threads(1)

RESOLVERS = (OpResolverType.AUTO, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
LOWERINGS = {"paper": 16, "transpose": 15, "blocks": 15, "dense": 0, "auto": None}
SMALL = Resolution(height=96, width=128)

#: What an int8 file of ours may hold: no QUANTIZE between, no DEQUANTIZE, nothing in float.
INT8_OPERATIONS = {
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MEAN",
    "MUL",
    "PAD",
    "RESHAPE",
    "TRANSPOSE",
}


def photographs(paths, resolution):
    """Real images, normalised as ImageNet networks are fed."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for path in paths:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((resolution.width, resolution.height))
        scaled = (np.asarray(small) / 255 - mean) / std
        yield scaled.transpose(2, 0, 1).astype(np.float32)


def litert(content, resolver=OpResolverType.AUTO):
    loaded = Interpreter(
        model_content=content, experimental_op_resolver_type=resolver, num_threads=1
    )
    loaded.allocate_tensors()
    return loaded


def infer(loaded, image):
    (source,), (result,) = loaded.get_input_details(), loaded.get_output_details()
    value = image.transpose(1, 2, 0)[None]
    if source["dtype"] is np.int8:
        scale, zero_point = source["quantization"]
        value = np.clip(np.round(value / scale) + zero_point, -128, 127).astype(np.int8)
    loaded.set_tensor(source["index"], value)
    loaded.invoke()
    output = loaded.get_tensor(result["index"])
    if result["dtype"] is np.int8:
        scale, zero_point = result["quantization"]
        output = (output.astype(np.float32) - zero_point) * np.float32(scale)
    return output[0].transpose(2, 0, 1) if output.ndim == 4 else output[0]


def sqnr_db(wanted, actual):
    return 10 * np.log10((wanted**2).sum() / max(((wanted - actual) ** 2).sum(), 1e-30))


def operations(content):
    model = schema.ModelT.InitFromPackedBuf(bytes(content))
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    codes = [names[code.builtinCode] for code in model.operatorCodes]
    return Counter(codes[operator.opcodeIndex] for operator in model.subgraphs[0].operators)


@pytest.fixture(scope="module")
def shufflenet():
    """The graph of the 0.5x network, ranges from real images, and images it has not seen."""
    graph = trace(zoo.load("shufflenet-g3-0.5x").module, SMALL, "shufflenet-g3-0.5x")
    shipped = load_image_set(None)
    ranges = calibration.calibrate(graph, photographs(shipped.calibration, SMALL))
    return graph, ranges, list(photographs(shipped.held_out, SMALL))


@pytest.mark.parametrize(
    ("name", "head", "least_db"),
    [
        ("shufflenet-g1-0.25x", "fixed", 10),
        ("shufflenet-g3-0.5x", "fixed", 10),
        ("shufflenet-g8-1x", "fixed", 10),
        ("shufflenet-g3-0.5x-noshuffle", "fixed", 10),
        ("shufflenet-g3-2x-se", "fixed", 4),
        ("mobilenet-0.25", "fixed", 4),
        ("squeezenet-1.0", "fixed", 25),
        ("squeezenet-1.1", "fixed", 25),
        ("googlenet", "fixed", 7),
        ("resnext-13m", "fixed", 7),
    ],
)
def test_whole_networks(name, head, least_db):
    """fp32 to 1e-4 of the largest logit under both engines; int8 all in int8, above a minimum SQNR.

    Untrained networks amplify noise with depth, so the minimum only separates right from wrong.
    """
    graph = trace(zoo.load(name, head=head).module, SMALL, name)
    shipped = load_image_set(None)
    ranges = calibration.calibrate(graph, photographs(shipped.calibration[::4], SMALL))
    validation = list(photographs(shipped.held_out[:3], SMALL))
    wanted = [interpreter.outputs(graph, image[None])[0] for image in validation]
    exact = writer.to_bytes(graph)
    whole = writer.int8_to_bytes(graph, ranges)
    assert set(operations(whole)) <= INT8_OPERATIONS
    for resolver in RESOLVERS:
        for content, few, limit in ((exact, 1, 70), (whole, 3, least_db)):
            loaded = litert(content, resolver)
            for image, logits in zip(validation[:few], wanted, strict=False):
                actual = infer(loaded, image)
                assert actual.shape == logits.shape
                assert sqnr_db(logits, actual) >= limit
                if content is exact:
                    assert abs(actual - logits).max() <= 1e-4 * abs(logits).max()


@pytest.mark.parametrize(("name", "head"), [("alexnet", "fixed"), ("alexnet", "dense")])
def test_alexnet_at_a_size_that_needs_uneven_windows(name, head):
    resolution = Resolution(height=224, width=288)
    graph = trace(zoo.load(name, head=head).module, resolution, name)
    shipped = load_image_set(None)
    ranges = calibration.calibrate(graph, photographs(shipped.calibration[:2], resolution))
    (image,) = photographs(shipped.held_out[:1], resolution)
    wanted = interpreter.outputs(graph, image[None])[0]
    actual = infer(litert(writer.to_bytes(graph)), image)
    assert abs(actual - wanted).max() <= 1e-4 * abs(wanted).max()
    content = writer.int8_to_bytes(graph, ranges)
    assert set(operations(content)) <= INT8_OPERATIONS
    assert sqnr_db(wanted, infer(litert(content), image)) >= 20


def test_response_norm_alone_stays_in_float(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.LocalResponseNorm(5, 1e-2),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(16, 8, 1),
    ).eval()
    graph = trace(net, SMALL, "normed")
    shipped = load_image_set(None)
    ranges = calibration.calibrate(graph, photographs(shipped.calibration[:4], SMALL))
    content = writer.int8_to_bytes(graph, ranges)
    found = operations(content)
    assert found == {
        "PAD": 1,
        "CONCATENATION": 2,
        "CONV_2D": 2,
        "DEQUANTIZE": 1,
        "LOCAL_RESPONSE_NORMALIZATION": 1,
        "QUANTIZE": 1,
        "MAX_POOL_2D": 1,
    }
    assert writer.write_int8(graph, ranges, tmp_path / "net.tflite") == ("2",)
    asked = writer.write_int8(graph, ranges, tmp_path / "net.tflite", float_values=[graph.output])
    assert asked == ("2", "4")
    (image,) = photographs(shipped.held_out[:1], SMALL)
    wanted = interpreter.outputs(graph, image[None])[0]
    for resolver in RESOLVERS:
        assert sqnr_db(wanted, infer(litert(content, resolver), image)) >= 30


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_shuffle_and_concat_share_scales(shufflenet, lowering):
    graph, ranges, validation = shufflenet
    content = writer.int8_to_bytes(graph, ranges, lowering=lowering)
    found = operations(content)
    assert set(found) <= INT8_OPERATIONS
    transposes = LOWERINGS[lowering]
    assert transposes is None or found.get("TRANSPOSE", 0) == transposes
    model = schema.ModelT.InitFromPackedBuf(content)
    (subgraph,) = model.subgraphs
    for operator in subgraph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code in {schema.BuiltinOperator.TRANSPOSE, schema.BuiltinOperator.CONCATENATION}:
            tensors = [subgraph.tensors[index] for index in (*operator.inputs, *operator.outputs)]
            scales = {
                (float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
                for tensor in tensors
                if tensor.type == schema.TensorType.INT8
            }
            assert len(scales) == 1
    engines = [litert(content, resolver) for resolver in RESOLVERS]
    for image in validation[:3]:
        wanted = interpreter.outputs(graph, image[None])[0]
        assert min(sqnr_db(wanted, infer(engine, image)) for engine in engines) >= 10


def test_every_tensor_of_an_int8_file_is_an_integer(shufflenet):
    graph, ranges, _ = shufflenet
    model = schema.ModelT.InitFromPackedBuf(writer.int8_to_bytes(graph, ranges))
    integers = {schema.TensorType.INT8, schema.TensorType.INT32}
    assert {tensor.type for tensor in model.subgraphs[0].tensors} == integers
    loaded = litert(writer.int8_to_bytes(graph, ranges))
    for details in (loaded.get_input_details()[0], loaded.get_output_details()[0]):
        assert details["dtype"] is np.int8
        assert details["quantization"][0] > 0


def test_float_at_the_ends_on_request(shufflenet):
    graph, ranges, validation = shufflenet
    whole = litert(writer.int8_to_bytes(graph, ranges))
    content = writer.int8_to_bytes(graph, ranges, float_io=True)
    found = operations(content)
    assert (found["QUANTIZE"], found["DEQUANTIZE"]) == (1, 1)
    ends = litert(content)
    (source,), (result,) = ends.get_input_details(), ends.get_output_details()
    assert (source["dtype"], result["dtype"]) == (np.float32, np.float32)
    step = whole.get_output_details()[0]["quantization"][0]
    difference = abs(infer(ends, validation[0]) - infer(whole, validation[0])).max()
    assert difference <= 3 * step  # The input is rounded half up here and half to even there.


def test_layers_that_a_remedy_wants_in_float(shufflenet):
    graph, ranges, validation = shufflenet
    everything = [layer.output for layer in graph.layers]
    wanted = interpreter.outputs(graph, validation[0][None])[0]
    last = writer.int8_to_bytes(graph, ranges, float_values=[graph.output])
    assert operations(last)["DEQUANTIZE"] == 1
    assert sqnr_db(wanted, infer(litert(last), validation[0])) >= 10
    content = writer.int8_to_bytes(graph, ranges, float_values=everything)
    # Only the input and the output are left in int8.
    found = operations(content)
    assert (found["QUANTIZE"], found["DEQUANTIZE"]) == (1, 1)
    assert sqnr_db(wanted, infer(litert(content), validation[0])) >= 20


def test_the_same_images_give_the_same_bytes(shufflenet, tmp_path):
    graph, ranges, _ = shufflenet
    shipped = load_image_set(None)
    again = calibration.calibrate(graph, photographs(shipped.calibration, SMALL))
    content = writer.int8_to_bytes(graph, ranges)
    writer.write_int8(graph, again, tmp_path / "net.tflite")
    assert (tmp_path / "net.tflite").read_bytes() == content


def test_ranges_of_another_graph_are_refused(shufflenet):
    graph, ranges, _ = shufflenet
    spans = {name: span for name, span in ranges.spans.items() if name != graph.output}
    less = Ranges(method="minmax", pictures=1, spans=spans, means=ranges.means)
    with pytest.raises(ExportError, match=f"'{graph.output}' has no calibrated range"):
        writer.int8_to_bytes(graph, less)
