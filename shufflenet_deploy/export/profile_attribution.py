"""Attribution of a runtime's profile: the layer of the network that each operator computes.

Exporters name what they write by layers, and runtimes keep the names of what they merge:

- ONNX: a node is called by its module (``stage2.0.compress_bn/Conv``), in a lowered file by the
  value it writes (``stage2.0.expand:relu/QLinearConv``); onnxruntime adds suffixes,
  and nodes of its own for other memory layouts (``ReorderOutput_token_80``).
- TFLite: LiteRT's profiler reports only kinds of XNNPACK's operators, but in the order of the file.
  Both sequences are aligned; what XNNPACK merged into a neighbour or added next to it falls into
  place. Should a single convolution be left over, nothing is attributed rather than guessed.
- native: a program names its layers itself; a shuffle takes no time of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import DeployError, UsageError
from shufflenet_deploy.records import (
    Artifact,
    Format,
    LayerKind,
    LayerWork,
    OperatorTiming,
    Profile,
    Resolution,
)

_NODE = re.compile(r"#(\d+)")


@dataclass(frozen=True, kw_only=True)
class Network:
    """The layers of a network, and the layer that each folded module was merged into.

    ``owners`` maps every layer to itself, and a normalisation or an activation to the layer it is
    merged into. ``shuffled`` maps a layer to the shuffle whose value it reads, ``feeding`` a
    shuffle to the layer whose value it reads.
    """

    layers: tuple[LayerWork, ...]
    owners: Mapping[str, str]
    shuffled: Mapping[str, str]
    feeding: Mapping[str, str]


def attributed(profile: Profile, artifact: Artifact, model: str | None = None) -> Profile:
    """A profile whose operators name their layers; none where the file's names identify none.

    ``model`` is the reference of a network that the zoo does not have by its name.

    Raises:
        UsageError: the file is gone or damaged, or its model is not known any more.
    """
    net = network(artifact, model)
    operators: Sequence[OperatorTiming]
    if artifact.format is Format.NATIVE:
        operators = [
            one.model_copy(update={"layer": net.owners.get(one.name)}) for one in profile.operators
        ]
    elif artifact.format is Format.ONNX:
        operators = [
            one.model_copy(update={"layer": onnx_layer(one, net)}) for one in profile.operators
        ]
    else:
        operators = aligned(profile.operators, _file_operators(artifact.path, net))
    known = any(one.layer is not None for one in operators)
    return profile.model_copy(
        update={"operators": tuple(operators), "layers": net.layers if known else ()}
    )


def with_layers(profile: Profile, artifact: Artifact, model: str | None = None) -> Profile:
    """A profile with the layers of its operators, where they can be identified."""
    try:
        return attributed(profile, artifact, model)
    except DeployError:
        # Without the model's description the operators still stand by themselves.
        return profile


def network(artifact: Artifact, model: str | None = None) -> Network:
    """The layers of the network a file was made of.

    Raises:
        UsageError: its model is not known any more.
    """
    path = artifact.weights.path
    return _network(
        zoo.sized(model or zoo.plain_name(artifact.model), artifact.resolution),
        artifact.resolution,
        artifact.options.get("head", "fixed"),
        Path(path) if path is not None and Path(path).is_file() else None,
    )


@lru_cache(maxsize=8)
def _network(model: str, resolution: Resolution, head: str, weights: Path | None) -> Network:
    from shufflenet_deploy.network import graph  # noqa: PLC0415 - torch
    from shufflenet_deploy.network.frontends import torch as frontend  # noqa: PLC0415
    from shufflenet_deploy.network.passes.affine import ChannelAffine  # noqa: PLC0415

    loaded = zoo.load(model, weights=weights, head=head)
    name = loaded.architecture.name
    read = frontend.read(loaded.module, resolution, name, channels=loaded.channels)
    producers = {layer.output: layer for layer in read.layers}
    owners: dict[str, str] = {}
    layers: list[LayerWork] = []
    for layer in read.layers:
        producer = producers.get(layer.inputs[0])
        folded = isinstance(layer, ChannelAffine) and isinstance(producer, graph.Conv)
        if producer is not None and (folded or isinstance(layer, graph.Elementwise)):
            owners[layer.name] = owners[producer.name]
            continue
        owners[layer.name] = layer.name
        kind = _kind(layer)
        layers.append(
            LayerWork(name=layer.name, kind=kind, multiply_adds=_multiply_adds(layer, read.shapes))
        )
    shuffles = {
        layer.output: layer.name for layer in read.layers if isinstance(layer, graph.Shuffle)
    }
    shuffled = {
        layer.name: shuffles[value]
        for layer in read.layers
        for value in layer.inputs
        if value in shuffles
    }
    feeding = {
        layer.name: owners[producers[layer.inputs[0]].name]
        for layer in read.layers
        if isinstance(layer, graph.Shuffle) and layer.inputs[0] in producers
    }
    return Network(layers=tuple(layers), owners=owners, shuffled=shuffled, feeding=feeding)


def _kind(layer: object) -> LayerKind:
    from shufflenet_deploy.network import graph  # noqa: PLC0415

    if isinstance(layer, graph.Conv):
        if layer.depthwise:
            return LayerKind.DEPTHWISE
        pointwise = layer.weight.shape[2:] == (1, 1)
        return LayerKind.POINTWISE if pointwise else LayerKind.CONVOLUTION
    kinds: dict[type, LayerKind] = {
        graph.Dense: LayerKind.DENSE,
        graph.Shuffle: LayerKind.SHUFFLE,
        graph.Pool: LayerKind.POOL,
        graph.AdaptiveAveragePool: LayerKind.POOL,
        graph.Add: LayerKind.JOIN,
        graph.Concat: LayerKind.JOIN,
        graph.Multiply: LayerKind.JOIN,
    }
    return kinds.get(type(layer), LayerKind.OTHER)


def _multiply_adds(layer: object, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """As the paper counts: convolutions and fully connected layers."""
    from shufflenet_deploy.network import graph  # noqa: PLC0415

    match layer:
        case graph.Conv():
            _, height, width = shapes[layer.output]
            return int(layer.weight.size) * height * width
        case graph.ConvTranspose():
            _, height, width = shapes[layer.inputs[0]]
            return int(layer.weight.size) * height * width
        case graph.Dense():
            return int(layer.weight.size)
        case _:
            return 0


# --- ONNX ----------------------------------------------------------------------------------------

#: What onnxruntime adds for another number format or memory layout, whatever it is named.
_CONVERSIONS = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ReorderInput", "ReorderOutput",
}  # fmt: skip

_CALL = re.compile(r"(?:fused )?(?:(?P<module>[^/]+)/)?(?P<call>[A-Za-z]+)")


def onnx_layer(operator: OperatorTiming, net: Network) -> str | None:
    """The layer of one node of onnxruntime's; None for one between layers."""
    found = _CALL.match(operator.name)
    if operator.operator in _CONVERSIONS or found is None:
        return None
    module, call = found["module"] or "", found["call"].lower()
    # What a module does by itself, such as adding, is a layer below it: stage2.1/Add.
    inside = f"{module}.{_WORDS.get(call, call)}".lstrip(".")
    if module not in net.owners and inside in net.owners:
        return net.owners[inside]
    return _layer_of_value(module.partition(":")[0], call, net)


def _layer_of_value(value: str, call: str, net: Network) -> str | None:
    """The layer of a node that is called by the value it writes: a lowered file's."""
    last = net.layers[-1].name
    ends = {INPUT: net.layers[0].name, OUTPUT: last, FEATURE_MAP: last}
    layer = net.owners.get(value) or ends.get(value)
    if layer is None:
        return None
    if call in _MOVING:
        # A shuffle that moved behind the layer that read it.
        return net.shuffled.get(layer, layer)
    if call in _MULTIPLYING:
        # A convolution that absorbed a shuffle writes the shuffle's value.
        return net.feeding.get(layer, layer)
    return layer


#: The values at both ends of an ONNX file.
INPUT, OUTPUT, FEATURE_MAP = "input", "logits", "feature_map"

_MOVING = ("reshape", "transpose")
_MULTIPLYING = ("conv", "qlinearconv", "gemm", "qgemm")

#: ONNX's words for functions where they are not those of torch.
_WORDS = {"reshape": "flatten"}


# --- TFLite --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FileOperator:
    """One operator of a TFLite file: its code, the tensor it writes, the layer it belongs to."""

    code: str
    output: str
    layer: str | None


_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_PADS = ("PAD", "PADV2")
_MOVES = ("RESHAPE", "TRANSPOSE")
_ROUNDINGS = ("QUANTIZE", "DEQUANTIZE")


def _file_operators(path: Path, net: Network) -> list[FileOperator]:
    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    try:
        model = schema.Model.GetRootAs(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; export it again") from error
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    graph = model.Subgraphs(0)
    names = [graph.Tensors(index).Name().decode() for index in range(graph.TensorsLength())]
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    parts = []
    for operator in operators:
        code = model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = [names[index] for index in operator.InputsAsNumpy() if index >= 0]
        parts.append((codes.get(number, "CUSTOM"), inputs, names[operator.Outputs(0)]))
    return file_operators(parts, net)


def file_operators(parts: Sequence[tuple[str, list[str], str]], net: Network) -> list[FileOperator]:
    """Each operator (code, names of inputs, name of output) with its layer. Pure."""
    weights = [inputs[1] for code, inputs, _ in parts if code in _PRODUCTS]
    found: list[FileOperator] = []
    for code, inputs, output in parts:
        layer = net.owners.get(output.partition(":")[0])
        if code in _PRODUCTS and weights.count(inputs[1]) == 1:
            # A convolution that absorbed a shuffle writes the shuffle's value.
            layer = net.owners.get(inputs[1].removesuffix(":weight"), layer)
        elif code in _MOVES and layer is not None and layer in net.shuffled:
            # A shuffle that moved behind the layer that read it.
            layer = net.shuffled[layer]
        elif code in _ROUNDINGS:
            layer = None
        found.append(FileOperator(code=code, output=output, layer=layer))
    # A border is there for the layer that reads the padded map, last to first: it stands before.
    for index in range(len(found) - 1, -1, -1):
        if found[index].code in _PADS:
            readers = [at for at, part in enumerate(parts) if found[index].output in part[1]]
            layer = found[readers[0]].layer if readers else found[index].layer
            found[index] = FileOperator(
                code=found[index].code, output=found[index].output, layer=layer
            )
    return found


#: For each beginning of a kind of XNNPACK's operators, the codes it may stand for, and how much
#: such a pair is worth to the alignment.
_FAMILIES: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("Convolution", _PRODUCTS, 8),
    ("Fully Connected", _PRODUCTS, 8),
    ("Max Pooling", ("MAX_POOL_2D",), 4),
    ("Average Pooling", ("AVERAGE_POOL_2D", "MEAN"), 4),
    ("Global Average Pooling", ("AVERAGE_POOL_2D", "MEAN"), 4),
    ("Mean", ("MEAN", "AVERAGE_POOL_2D"), 4),
    ("Add", ("ADD",), 4),
    ("Multiply", ("MUL",), 4),
    ("Transpose", ("TRANSPOSE",), 4),
    ("Constant Pad", _PADS, 2),
    ("Sigmoid", ("LOGISTIC",), 2),
    ("Convert", _ROUNDINGS, 2),
    ("Copy", ("CONCATENATION", "RESHAPE"), 2),
    ("Static Reshape", ("RESHAPE",), 1),
    ("Clamp", ("RELU", "RELU6"), 1),
)
_OF_NODE = 16


def _worth(operator: OperatorTiming, place: int, code: str) -> int:
    """Alignment score of an operator of the runtime and one of the file; 0 is no match."""
    node = _NODE.fullmatch(operator.name)
    if node is not None:
        return _OF_NODE if int(node[1]) == place else 0
    return next(
        (
            worth
            for beginning, fitting, worth in _FAMILIES
            if operator.operator.startswith(beginning) and code in fitting
        ),
        0,
    )


def aligned(
    operators: Sequence[OperatorTiming], file: Sequence[FileOperator]
) -> list[OperatorTiming]:
    """The operators with the names and layers of those of the file they stand for. Pure."""
    pairs = align(operators, file)
    theirs = [
        index
        for index, one in enumerate(operators)
        if one.operator.startswith(("Convolution", "Fully Connected", *_PRODUCTS))
    ]
    ours = sum(one.code in _PRODUCTS for one in file)
    paired = sum(file[place].code in _PRODUCTS for place in pairs.values())
    if ours != paired or any(index not in pairs for index in theirs):
        return list(operators)
    named: list[OperatorTiming] = []
    for index, one in enumerate(operators):
        if index in pairs:
            place = pairs[index]
        else:
            # A reshape prepares what comes next, a clamp ends what came before.
            nearby = [at for at in pairs if at < index]
            after = [at for at in pairs if at > index]
            ahead = one.operator.startswith("Static Reshape") and after
            nearest = min(after) if ahead or not nearby else max(nearby)
            place = pairs[nearest]
        named.append(
            one.model_copy(update={"name": file[place].output, "layer": file[place].layer})
        )
    return named


def align(operators: Sequence[OperatorTiming], file: Sequence[FileOperator]) -> dict[int, int]:
    """The best pairing of two sequences that keeps the order of both: index -> place in the file.

    Whatever earns nothing stays unpaired. Pure; the time is the product of both lengths.
    """
    rows, columns = len(operators), len(file)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    worth = [
        [_worth(one, place, other.code) for place, other in enumerate(file)] for one in operators
    ]
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            best[row][column] = max(best[row + 1][column], best[row][column + 1])
            if worth[row][column]:
                paired = worth[row][column] + best[row + 1][column + 1]
                best[row][column] = max(best[row][column], paired)
    pairs: dict[int, int] = {}
    row = column = 0
    while row < rows and column < columns:
        if worth[row][column] and (
            best[row][column] == worth[row][column] + best[row + 1][column + 1]
        ):
            pairs[row] = column
            row, column = row + 1, column + 1
        elif best[row][column] == best[row + 1][column]:
            row += 1
        else:
            column += 1
    return pairs
