"""ONNX's own tests of operators, which its package brings, through our reader of ONNX files."""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case import node
from onnx.reference.ops import op_pool_common

from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.network import interpreter
from shufflenet_deploy.network.frontends.onnx import read_onnx
from shufflenet_deploy.network.frontends.onnx.reader import READERS

#: Of onnx 1.23; a release may bring more.
PASSED = 263


def cases(monkeypatch):
    """The cases of the operators that we read, made by the modules of these alone."""
    pool = op_pool_common.pool

    def flat_pool(padded, *args, **kwargs):
        # Volumes are refused, and their expected results would take 10 s.
        return np.zeros(1, np.float32) if padded.ndim > 4 else pool(padded, *args, **kwargs)

    monkeypatch.setattr(op_pool_common, "pool", flat_pool)
    names = {
        module.name.replace("_", ""): module.name for module in pkgutil.iter_modules(node.__path__)
    }
    for operator in READERS:
        if operator.lower() in names:
            importlib.import_module(f"{node.__name__}.{names[operator.lower()]}")
    return [
        case
        for case in node._NodeTestCases
        if {one.op_type for one in case.model.graph.node} <= set(READERS)
    ]


def as_network(case):
    """The case with its first input as the image, others as constants; None if that is no float.

    A tensor that is no image of up to four channels is an image of one row before a Reshape.
    """
    inputs, outputs = case.data_sets[0]
    arrays = [np.asarray(value) for value in inputs if not isinstance(value, (list, type(None)))]
    if len(arrays) != len(inputs) or arrays[0].dtype != np.float32 or not arrays[0].size:
        return None
    network = onnx.ModelProto()
    network.CopyFrom(case.model)
    graph, x = network.graph, arrays[0]
    names = [value.name for value in graph.input]
    del graph.input[:]
    graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in zip(names[1:], arrays[1:], strict=True)
    )
    if x.ndim == 4 and x.shape[0] == 1 and x.shape[1] <= 4:
        graph.input.append(helper.make_tensor_value_info(names[0], TensorProto.FLOAT, x.shape))
        return network, x, outputs
    row = x.reshape(1, 1, 1, -1)
    graph.input.append(helper.make_tensor_value_info("row", TensorProto.FLOAT, row.shape))
    graph.initializer.append(numpy_helper.from_array(np.asarray(x.shape, np.int64), "shape"))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([helper.make_node("Reshape", ["row", "shape"], [names[0]]), *nodes])
    return network, row, outputs


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # ONNX's own cases divide by zero.
def test_operators_compute_what_onnx_says(monkeypatch, tmp_path):
    found = defaultdict(list)
    path = tmp_path / "case.onnx"
    for case in cases(monkeypatch):
        network = as_network(case)
        if network is None:
            continue
        proto, image, expected = network
        onnx.save(proto, path)
        try:
            graph = read_onnx(path)
        except DeployError as error:
            found["refused"].append(str(error))
            continue
        values = dict(interpreter.execute(graph, image))
        same = len(graph.outputs) == len(expected) and all(
            np.allclose(values[name].numpy().reshape(one.shape), one, rtol=1e-3, atol=1e-5)
            for name, one in zip(graph.outputs, expected, strict=True)
        )
        found["passed" if same else "wrong"].append(case.name)
    assert not found["wrong"]
    assert len(found["passed"]) >= PASSED, len(found["passed"])
    assert all(len(reason.splitlines()) == 1 for reason in found["refused"])
    # The reasons: volumes and rows, cubic, indices, statistics of the batch, batches of several.
    assert len(found["refused"]) <= 102, len(found["refused"])
