"""Full-integer ONNX: onnxruntime's static quantiser (QDQ, per-channel weights), tuned by measuring.

For models that ``onnx_channels_last`` cannot write, and to compare with. What was measured on
ShuffleNet 0.5x g=3 at 224x224 with onnxruntime 1.32, one thread, decides the choices here. Millions
of AArch64 instructions per inference on a Cortex-A72 / A76 (fp32: 31.8):

- 59.9 / 47.1 with every operation quantised as it stands. That is one unbroken chain of integer
  kernels; quantising convolutions only leaves a Q/DQ pair at every add, pool and concatenation,
  which is noisier too.
- 40.7 / 30.5 with each shuffle as one ``Gather`` of channels. Integer convolutions want channels
  last, so a shuffle written as reshape, transpose, reshape is wrapped into two more transposes and
  becomes a five-dimensional transpose of bytes; the gather copies rows, with identical results.
- 38.0 / 27.7 with the padded average pools of the shortcuts as depthwise convolutions, for which
  there is an integer kernel; an integer average pool computes in float.
- 44.4 / 29.4 if also the first pointwise convolutions were dense with the shuffle folded into them
  (second ones: 42.6 / 29.2): no transpose is left, but three times their multiply-adds. So grouped
  convolutions stay grouped.
- Signed activations keep onnxruntime's channels-last kernels away on x86-64; unsigned ones do not.

In fp32 gathers save 0.8%, and the convolutions cost 9%: fp32 files keep what torch wrote.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from shufflenet_deploy.errors import ExportError
from shufflenet_deploy.export.layer_sqnr import kinship
from shufflenet_deploy.export.onnx.fp32 import INPUT, constants, finish, quiet
from shufflenet_deploy.network.graph import Conv, Graph
from shufflenet_deploy.records import CalibrationMethod

#: Histograms are merged after this many pixels of images, whose activations are in memory. The
#: first of them decide how wide a bin is: if later ones reach a thousand times further, so many
#: bins are added that the search for the least entropy takes hours.
_PIXELS_AT_ONCE = 400_000


def quantize(
    model: onnx.ModelProto,
    images: Sequence[NDArray[np.float32]],
    method: CalibrationMethod,
    *,
    float_layers: Collection[str] = (),
    rewritten: bool = True,
) -> onnx.ModelProto:
    """An fp32 ``model`` as QDQ int8: per-channel int8 weights, uint8 activations, float in and out.

    ``images`` are inputs ``(1, 3, H, W)``; they set the activation ranges by ``method``.
    ``float_layers`` (of the graph) are left as they are. What is ``rewritten`` has gathers for
    shuffles and convolutions for padded averages.

    Raises:
        ExportError: onnxruntime cannot quantise the model.
    """
    from onnxruntime.quantization import (  # noqa: PLC0415
        CalibrationMethod as Method,
    )
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415

    methods = {
        "minmax": Method.MinMax,
        "percentile": Method.Percentile,
        "entropy": Method.Entropy,
    }
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder, quiet():
        source, prepared, written = (Path(folder, f"{name}.onnx") for name in "abc")
        onnx.save(model, source)
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            plain = onnx.load(prepared)
            if rewritten:
                plain = convolved_averages(gathered_shuffles(plain))
                onnx.save(plain, prepared)
            quantize_static(
                str(prepared),
                str(written),
                _Reader(images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[method],
                nodes_to_exclude=[*_nodes_of(plain, float_layers), *_grouped_transposed(plain)],
                extra_options={"CalibStridedMinMax": _batch_size(images, method)},
            )
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise ExportError(f"onnxruntime cannot quantise this model: {error}") from error
        quantised = onnx.load(written)
    return finish(_float_outputs(quantised))


def _batch_size(images: Sequence[NDArray[np.float32]], method: CalibrationMethod) -> int:
    """Batch size of calibration, a divisor of the number of images; min and max ignore it."""
    if method == "minmax":
        return 1
    height, width = images[0].shape[-2:]
    most = max(1, min(len(images), _PIXELS_AT_ONCE // (height * width)))
    return next(count for count in range(most, 0, -1) if len(images) % count == 0)


def _nodes_of(model: onnx.ModelProto, layers: Collection[str]) -> list[str]:
    """The nodes that compute these layers."""
    return [
        node.name
        for node in model.graph.node
        for layer in layers
        if kinship(layer, node.name) is not None
    ]


def _grouped_transposed(model: onnx.ModelProto) -> list[str]:
    """Transposed convolutions of groups, which stay in float.

    onnxruntime's quantiser takes a scale for each output of a group, not of all groups, which the
    biases do not fit; and it has no integer kernel for any transposed convolution.
    """
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "ConvTranspose"
        and any(each.name == "group" and each.i > 1 for each in node.attribute)
    ]


def reweighted(model: onnx.ModelProto, before: Graph, after: Graph) -> onnx.ModelProto:
    """``model`` with the weights and biases of ``after`` where it has those of ``before``.

    The two graphs are of one network and differ in the numbers of some convolutions only.

    Raises:
        ExportError: a convolution that differs is not found in the model.
    """
    values = constants(model)
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    changed: dict[str, NDArray[np.float32]] = {}
    for old, new in zip(before.layers, after.layers, strict=True):
        if old is new or not isinstance(old, Conv) or not isinstance(new, Conv):
            continue
        node = next((each for each in nodes if _computes(each, old, values)), None)
        if node is None:
            raise ExportError(f"the ONNX model holds no convolution with the weights of {old.name}")
        nodes.remove(node)
        changed |= {node.input[1]: new.weight, node.input[2]: new.bias}
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed[tensor.name], tensor.name))
    return model


def _computes(node: onnx.NodeProto, layer: Conv, values: dict[str, NDArray[np.float32]]) -> bool:
    if len(node.input) != 3 or any(name not in values for name in node.input[1:]):
        return False
    return all(
        values[name].shape == wanted.shape
        and np.allclose(values[name], wanted, rtol=1e-3, atol=1e-5)
        for name, wanted in zip(node.input[1:], (layer.weight, layer.bias), strict=True)
    )


def gathered(model: onnx.ModelProto) -> onnx.ModelProto:
    """An fp32 model with each shuffle as one gather of channels, checked."""
    return finish(gathered_shuffles(model))


class _Reader:
    """``CalibrationDataReader`` from which onnxruntime draws its inputs, one range at a time."""

    def __init__(self, images: Sequence[NDArray[np.float32]]) -> None:
        self._images = images
        self._next = iter(range(len(images)))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Go on with these images only."""
        self._next = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, None at the end of the range."""
        index = next(self._next, None)
        return None if index is None else {INPUT: self._images[index]}


def gathered_shuffles(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every channel shuffle (reshape, transpose, reshape) as one Gather of channels."""
    values = constants(model)
    producers = {output: node for node in model.graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for transpose in [node for node in model.graph.node if node.op_type == "Transpose"]:
        before = producers.get(transpose.input[0])
        after = readers.get(transpose.output[0], [])
        if before is None or len(after) != 1 or len(readers[before.output[0]]) != 1:
            continue
        order = _shuffle_order(before, transpose, after[0], values)
        if order is None:
            continue
        indices = onnx.numpy_helper.from_array(order, f"{transpose.name}/channels")
        model.graph.initializer.append(indices)
        gather = onnx.helper.make_node(
            "Gather",
            [before.input[0], indices.name],
            [after[0].output[0]],
            name=transpose.name.replace("Transpose", "Gather"),
            axis=1,
        )
        position = list(model.graph.node).index(after[0])
        model.graph.node.insert(position, gather)
        for node in (before, transpose, after[0]):
            model.graph.node.remove(node)
        gone = {before.output[0], transpose.output[0]}
        for info in [info for info in model.graph.value_info if info.name in gone]:
            model.graph.value_info.remove(info)
    return model


def _shuffle_order(
    before: onnx.NodeProto,
    transpose: onnx.NodeProto,
    after: onnx.NodeProto,
    values: dict[str, NDArray[np.float32]],
) -> NDArray[np.int64] | None:
    """Permutation of channels, if the three nodes are a channel shuffle."""
    if (before.op_type, after.op_type) != ("Reshape", "Reshape"):
        return None
    split, joined = values.get(before.input[1]), values.get(after.input[1])
    permutation = next(list(a.ints) for a in transpose.attribute if a.name == "perm")
    if split is None or joined is None or (len(split), len(joined)) != (5, 4):
        return None
    if permutation != [0, 2, 1, 3, 4]:
        return None
    first, second = int(split[1]), int(split[2])
    wanted = (split[0], first * second, *split[3:])
    same = (size in (-1, known) for size, known in zip(joined, wanted, strict=True))
    if min(first, second) < 1 or not all(same):
        return None
    return np.arange(first * second).reshape(first, second).T.reshape(-1).astype(np.int64)


def convolved_averages(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every average pool over a padded window as a depthwise convolution by 1 / window."""
    channels = {
        value.name: value.type.tensor_type.shape.dim[1].dim_value
        for value in (*model.graph.value_info, *model.graph.input)
        if len(value.type.tensor_type.shape.dim) == 4
    }
    for pool in [node for node in model.graph.node if node.op_type == "AveragePool"]:
        options = {a.name: onnx.helper.get_attribute_value(a) for a in pool.attribute}
        exact = options.get("count_include_pad") and not options.get("ceil_mode")
        if not any(options.get("pads", ())) or not exact or not channels.get(pool.input[0]):
            continue
        count, window = channels[pool.input[0]], options["kernel_shape"]
        weight = np.full((count, 1, *window), 1 / np.prod(window), np.float32)
        bias = np.zeros(count, np.float32)
        names = [f"{pool.name}/weight", f"{pool.name}/bias"]
        for name, value in zip(names, (weight, bias), strict=True):
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        convolution = onnx.helper.make_node(
            "Conv",
            [pool.input[0], *names],
            list(pool.output),
            name=pool.name,
            group=count,
            **{key: options[key] for key in ("kernel_shape", "strides", "pads")},
        )
        position = list(model.graph.node).index(pool)
        model.graph.node.remove(pool)
        model.graph.node.insert(position, convolution)
    return model


def _float_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let last layers write float outputs themselves: rounding them to 256 levels gains nothing."""
    for output in [value.name for value in model.graph.output]:
        _write_in_float(model, output)
    return model


def _write_in_float(model: onnx.ModelProto, output: str) -> None:
    """Leave out the rounding of an output that no other node reads before it."""
    producers = {made: node for node in model.graph.node for made in node.output}
    last = producers.get(output)
    if last is None or last.op_type != "DequantizeLinear":
        return
    rounding = producers.get(last.input[0])
    if rounding is None or rounding.op_type != "QuantizeLinear":
        return
    source = producers.get(rounding.input[0])
    readers = [node for node in model.graph.node for name in node.input if name == output]
    if source is None or len(source.output) != 1 or readers:
        return
    replaced = source.output[0]
    if sum(replaced in node.input for node in model.graph.node) != 1:
        return
    source.output[0] = output
    for node in (last, rounding):
        model.graph.node.remove(node)
    for info in [info for info in model.graph.value_info if info.name in (replaced, output)]:
        model.graph.value_info.remove(info)
