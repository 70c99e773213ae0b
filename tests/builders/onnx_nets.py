"""ONNX models for tests: a few nodes with their constants, around one image."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes, constants=(), *, image=(1, 3, 9, 11), outputs=("y",), opset=18, kind=TensorProto.FLOAT
):
    """A model of the nodes, from the input ``x`` to ``outputs``."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", kind, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in dict(constants).items()
        ],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(operator, inputs, outputs="y", **attributes):
    """A node; inputs and outputs are words, ``-`` is one that is left out."""
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(operator, names, outputs.split(), **attributes)


def run(proto, image):
    """The outputs of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return session.run(None, {session.get_inputs()[0].name: image})


def saved(folder, proto, name="net.onnx"):
    """The path of the written model."""
    path = folder / name
    onnx.save(proto, path)
    return path
