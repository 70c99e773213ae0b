"""Lowering of convolutions: grouped, depthwise, and width-to-depth of the first one."""

from __future__ import annotations

from shufflenet_deploy.export.tflite.activations import FUSED_ACTIVATIONS
from shufflenet_deploy.export.tflite.graph_lowering import GraphLowering
from shufflenet_deploy.network.graph import Conv
from shufflenet_deploy.network.passes.width_to_depth import fold_columns


def lower_conv(lowering: GraphLowering, layer: Conv) -> None:
    """Write a convolution; the first one by width-to-depth where the plan folds columns."""
    if _can_fold_columns(lowering, layer):
        _lower_folded_conv(lowering, layer)
        return
    grouped = layer.groups > 1
    depthwise = grouped and layer.weight.shape[1] == 1
    source, padding = lowering.windowed(layer, layer.window, layer.stride, layer.padding)
    options = {"padding": padding, "strideH": layer.stride[0], "strideW": layer.stride[1]}
    if layer.dilation != (1, 1):
        options |= dict(zip(("dilationHFactor", "dilationWFactor"), layer.dilation, strict=True))
    if depthwise:
        weight = layer.weight.transpose(1, 2, 3, 0)
        options["depthMultiplier"] = layer.weight.shape[0] // layer.groups
    else:
        weight = layer.weight.transpose(0, 2, 3, 1)
    inputs = (
        source,
        lowering.constant(f"{layer.name}:weight", weight),
        lowering.constant(f"{layer.name}:bias", layer.bias),
    )
    lowering.emit(layer, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, options)


def _can_fold_columns(lowering: GraphLowering, layer: Conv) -> bool:
    columns = lowering.plan.fold_columns
    width = lowering.graph.shapes[lowering.graph.input][2]
    return (
        columns > 1
        and lowering.plan.planar_input
        and layer.inputs == (lowering.graph.input,)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and width % columns == 0
        and columns % layer.stride[1] == 0
        and lowering.graph.shapes[layer.output][2] * layer.stride[1] == width
        and layer.activation in FUSED_ACTIVATIONS
    )


def _lower_folded_conv(lowering: GraphLowering, layer: Conv) -> None:
    """Width-to-depth: convolve the planar image with several adjacent columns as channels."""
    columns, source = lowering.plan.fold_columns, layer.inputs[0]
    channels, height, width = lowering.graph.shapes[source]
    blocks = width // columns
    names = [f"{source}:{word}" for word in ("columns", "moved", "folded")]
    lowering.reshape(source, names[0], (1, channels, height, blocks, columns))
    lowering.transpose(names[0], names[1], (0, 2, 3, 1, 4))
    lowering.reshape(names[1], names[2], (1, height, blocks, channels * columns))
    wide, (left, right) = fold_columns(layer, columns)
    outputs, rows, many = lowering.graph.shapes[layer.output]
    padding = (layer.padding[0], left, layer.padding[2], right)
    inputs = (
        lowering.pad(names[2], f"{names[2]}:padded", padding, zeros=True),
        lowering.constant(f"{layer.name}:weight", wide.weight.transpose(0, 2, 3, 1)),
        lowering.constant(f"{layer.name}:bias", wide.bias),
    )
    options = {
        "padding": "VALID",
        "strideH": wide.stride[0],
        "strideW": wide.stride[1],
        "fusedActivationFunction": FUSED_ACTIVATIONS[layer.activation],
    }
    folded = f"{layer.output}:folded"
    shape = (1, rows, blocks, outputs * many // blocks)
    lowering.write("CONV_2D", inputs, folded, shape, options)
    lowering.reshape(folded, layer.output, (1, rows, many, outputs))
    lowering.place(layer.output, layer.output)
