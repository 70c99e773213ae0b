"""The layers of LiteRT's operators.

LiteRT's profiler reports only kinds of XNNPACK's operators, but in the order of the file. Both
sequences are aligned; what XNNPACK merged into a neighbour or added next to it falls into place.
Should a single convolution be left over, nothing is attributed rather than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.profile_attribution import Network
from shufflenet_deploy.records import OperatorTiming

_NODE = re.compile(r"#(\d+)")


def of_file(
    operators: Sequence[OperatorTiming], path: Path, net: Network
) -> Sequence[OperatorTiming]:
    """The operators of a profile of the file at ``path``, with their layers.

    Raises:
        UsageError: the file is gone.
    """
    return aligned(operators, _file_operators(path, net))


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
