"""LiteRT: the TFLite interpreter of ai-edge-litert, with XNNPACK."""

from collections import Counter

from ..distributions import version_of
from ..engine import Engine


class LiteRt(Engine):
    """A TFLite interpreter; ``tflite_runtime`` derives from it."""

    name = "litert"
    module = "ai_edge_litert.interpreter"
    distribution = "ai-edge-litert"
    timed = "Interpreter.invoke: input set beforehand, output read afterwards"

    def __init__(self, path, threads):
        interpreter = self._interpreter(path, threads)
        interpreter.allocate_tensors()
        self._interpreter = interpreter
        self.version = version_of(self.distribution)
        self._input_details = interpreter.get_input_details()
        self._output_details = interpreter.get_output_details()
        self.inputs = [_tensor(detail) for detail in self._input_details]
        self.outputs = [_tensor(detail) for detail in self._output_details]
        self.details = {"threads": threads}
        self.details.update(_delegation(interpreter))

    def _interpreter(self, path, threads):
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(model_path=path, num_threads=threads)

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        for detail in self._input_details:
            if detail["name"] in shapes:
                self._interpreter.resize_tensor_input(detail["index"], shapes[detail["name"]])
        self._interpreter.allocate_tensors()
        self._input_details = self._interpreter.get_input_details()
        self._output_details = self._interpreter.get_output_details()
        self.inputs = [_tensor(detail) for detail in self._input_details]
        self.outputs = [_tensor(detail) for detail in self._output_details]

    def bind_inputs(self, arrays):
        """Copy the inputs into the interpreter's arena, which keeps them between inferences."""
        for detail, array in zip(self._input_details, arrays):
            self._interpreter.set_tensor(detail["index"], array)

    def invoker(self):
        """The call that is timed."""
        return self._interpreter.invoke

    def read_output(self):
        """The first output of the last inference."""
        return self._interpreter.get_tensor(self._output_details[0]["index"])

    def delegation(self):
        """What XNNPACK took, of the operators that the file has."""
        try:
            return delegation(self._interpreter._get_ops_details())  # noqa: SLF001
        except AttributeError:  # the interpreter does not report its operators
            return None


def _tensor(detail):
    import numpy as np

    tensor = {
        "name": detail["name"],
        "shape": [int(size) for size in detail["shape"]],
        "dtype": np.dtype(detail["dtype"]).name,
    }
    scale, zero_point = detail["quantization"]
    if scale:
        tensor["scale"] = float(scale)
        tensor["zero_point"] = int(zero_point)
    return tensor


def _delegation(interpreter):
    """Operator counts of the delegate; {} where the interpreter does not report them."""
    try:
        names = [operator["op_name"] for operator in interpreter._get_ops_details()]  # noqa: SLF001
    except AttributeError:
        return {}
    # Delegated operators stay listed beside the delegate's own node.
    delegates = names.count("DELEGATE")
    return {"xnnpack": delegates > 0, "delegate_nodes": delegates, "operators": len(names)}


def delegation(operators):
    """Tell apart the operators that lie between inputs and outputs of a delegate, and the others.

    ``operators`` are those of the file, which stay listed, and behind them the delegate's own
    nodes.
    """
    nodes = [one for one in operators if one["op_name"] == "DELEGATE"]
    plain = [one for one in operators if one["op_name"] != "DELEGATE"]
    makers = {tensor: place for place, one in enumerate(plain) for tensor in one["outputs"]}
    taken = set()
    for node in nodes:
        given = set(node["inputs"])
        waiting = list(node["outputs"])
        while waiting:
            tensor = waiting.pop()
            place = makers.get(tensor)
            if tensor not in given and place is not None and place not in taken:
                taken.add(place)
                waiting.extend(plain[place]["inputs"])
    left = [one["op_name"] for place, one in enumerate(plain) if place not in taken]
    return {
        "name": "XNNPACK",
        "parts": len(nodes),
        "taken": len(taken),
        "left": dict(Counter(left)),
    }


ENGINE = LiteRt
