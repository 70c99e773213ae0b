"""Averages over a border of zeros as MNN's int8 computes them rightly: the border of its own.

MNN's average pool in int8 divides by the pixels that are inside, also where the file says that the
border counts: with a border of its own before it, none is outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def bordered(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network: each padded average that counts its border is a pad and an average.

    ``model`` is of this package's own exporter, with maps of two axes; it is changed.
    """
    from onnx import helper, numpy_helper  # noqa: PLC0415

    nodes = []
    for node in model.graph.node:
        facts = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        pads = facts.get("pads", ())
        if node.op_type == "AveragePool" and any(pads) and facts.get("count_include_pad"):
            border, amounts = f"{node.output[0]}_border", f"{node.output[0]}_pads"
            top, left, bottom, right = pads
            both = np.array([0, 0, top, left, 0, 0, bottom, right], np.int64)
            model.graph.initializer.append(numpy_helper.from_array(both, amounts))
            given = [node.input[0], amounts]
            nodes.append(helper.make_node("Pad", given, [border], f"{node.name}_border"))
            node.input[0] = border
            kept = [one for one in node.attribute if one.name not in ("pads", "count_include_pad")]
            del node.attribute[:]
            node.attribute.extend(kept)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
