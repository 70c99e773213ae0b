"""The layers of MNN's operators.

MNN calls an operator by the ONNX node that it was made of, and adds what became of it
(``stage2.0.expand_bn/Conv__group__1``, ``logits__matmul_converted``); it calls a movement by the
operator that reads what is moved (``stage2.0.depthwise_bn/Conv_raster_0``). To some convolutions
its quantiser gives names of its own (``ConvInt814``), so that only their order tells them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shufflenet_deploy.export.onnx.attribution import layer_of
from shufflenet_deploy.export.profile_attribution import Network
from shufflenet_deploy.records import OperatorTiming

_ADDED = re.compile(r"(?:__group__\d+|__matmul_converted)?(?:_raster_\d+)?$")
_MOVEMENT, _CONVERSIONS = "Raster", ("FloatToInt8", "Int8ToFloat")
_NAMELESS = re.compile(r"ConvInt8\d+")


def attributed(operators: Sequence[OperatorTiming], net: Network) -> list[OperatorTiming]:
    """The operators of a profile with their layers; without one those of another number format."""
    owned = [_layer(one, net) for one in operators]
    names = [_plain(one) for one in operators]
    nameless = list(dict.fromkeys(name for name in names if _NAMELESS.fullmatch(name)))
    left = [layer.name for layer in net.layers if layer.multiply_adds and layer.name not in owned]
    by_order = dict(zip(nameless, left, strict=True)) if len(nameless) == len(left) else {}
    return [
        one.model_copy(update={"layer": by_order.get(name, layer)})
        for one, name, layer in zip(operators, names, owned, strict=True)
    ]


def _plain(operator: OperatorTiming) -> str:
    """The name of the node that an operator was made of."""
    return _ADDED.sub("", operator.name)


def _layer(operator: OperatorTiming, net: Network) -> str | None:
    if operator.operator.startswith(_CONVERSIONS):
        return None
    name = _plain(operator)
    # The last node is called by the value it writes.
    node = operator.model_copy(update={"name": name if "/" in name else f"{name}/Gemm"})
    layer = layer_of(node, net)
    if layer is not None and operator.operator.startswith(_MOVEMENT):
        # MNN shuffles channels as it moves what the next layer reads.
        return net.shuffled.get(layer, layer)
    return layer
