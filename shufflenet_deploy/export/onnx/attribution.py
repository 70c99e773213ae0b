"""The layers of onnxruntime's nodes.

A node is called by its module (``stage2.0.compress_bn/Conv``), in a lowered file by the value it
writes (``stage2.0.expand:relu/QLinearConv``); onnxruntime adds suffixes, and nodes of its own for
other memory layouts (``ReorderOutput_token_80``).
"""

from __future__ import annotations

import re

from shufflenet_deploy.export.profile_attribution import Network
from shufflenet_deploy.records import OperatorTiming

#: What onnxruntime adds for another number format or memory layout, whatever it is named.
_CONVERSIONS = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ReorderInput", "ReorderOutput",
}  # fmt: skip

_CALL = re.compile(r"(?:fused )?(?:(?P<module>[^/]+)/)?(?P<call>[A-Za-z]+)")


def layer_of(operator: OperatorTiming, net: Network) -> str | None:
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
