"""MNN: an interpreter's session on the CPU.

A session keeps its activations in the memory of its inputs, too, once they were read: an input is
gone after an inference, and is given anew for each.
"""

import json
import struct
import time

from ..engine import Engine
from ..failures import Failed

# Of a FlatBuffers table: where the offset of its first field stands.
_FIRST_FIELD = 4
_MOST_BYTES = 1 << 20

# Inferences before the first that is profiled.
_WARMUP_RUNS = 3


class Mnn(Engine):
    """A session; MNN converts what it is given to its own layout within a run."""

    name = "mnn"
    module = distribution = "MNN"
    timed = "Tensor.copyFrom and Interpreter.runSession: output read afterwards"

    def __init__(self, path, threads):
        import MNN

        self._mnn = MNN
        self.version = MNN.version()
        halves = _states_fp16(path)
        self._interpreter = MNN.Interpreter(path)
        settings = {
            "backend": "CPU",
            "numThread": threads,
            # A file of float32 is computed in float32; "low" takes float16 where the core has it.
            "precision": "low" if halves else "high",
        }
        self._session = self._interpreter.createSession(settings)
        self._find_tensors()
        self.details = {"threads": threads, "precision": settings["precision"], "backend": "CPU"}

    def _find_tensors(self):
        self._sources = self._interpreter.getSessionInputAll(self._session)
        self._sinks = self._interpreter.getSessionOutputAll(self._session)
        if not self._sources or not self._sinks:
            raise Failed("model-corrupt", "MNN finds no network in the file")
        self.inputs = [_tensor(name, one) for name, one in self._sources.items()]
        self.outputs = [_tensor(name, one) for name, one in self._sinks.items()]

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        for name, tensor in self._sources.items():
            if name in shapes:
                self._interpreter.resizeTensor(tensor, tuple(shapes[name]))
        self._interpreter.resizeSession(self._session)
        self._find_tensors()

    def bind_inputs(self, arrays):
        """Hold the inputs, from which every inference copies."""
        self._arrays = arrays  # A tensor made of an array does not keep it.
        self._given = [
            (tensor, self._host_tensor(array.shape, array))
            for tensor, array in zip(self._sources.values(), arrays)
        ]

    def _give(self):
        for tensor, given in self._given:
            tensor.copyFrom(given)

    def invoker(self):
        """The call that is timed."""
        give, run, session = self._give, self._interpreter.runSession, self._session

        def infer():
            give()
            run(session)

        return infer

    def read_outputs(self):
        """Every output of the last inference."""
        import numpy as np

        found = []
        for tensor in self._sinks.values():
            shape = tensor.getShape()
            held = self._host_tensor(shape, np.zeros(shape, np.float32))
            tensor.copyToHostTensor(held)
            found.append(np.array(held.getData(), np.float32).reshape(shape))
        return found

    def profiled(self, runs):
        """The durations of each operator in ``runs`` inferences, by callbacks around it, in ns.

        An operator is [name, type, durations]; MNN names several of one name alike.
        """
        clock = time.perf_counter_ns
        whole, operators, starts, ends = [], [], [], []

        def begins(_tensors, operator):
            if not whole:
                operators.append([operator.getName(), operator.getType(), []])
            starts.append(clock())
            return True

        def stops(_tensors, _operator):
            ends.append(clock())
            return True

        for _ in range(runs):
            del starts[:], ends[:]
            began = clock()
            self._give()
            self._interpreter.runSessionWithCallBackInfo(self._session, begins, stops)
            whole.append(clock() - began)
            for operator, start, end in zip(operators, starts, ends):
                operator[2].append(end - start)
        return whole, operators

    @staticmethod
    def profile(agent, options, _measured, runs):
        """Profile a file by MNN's callbacks before and after each operator."""
        engine = Mnn(options.model, options.threads)
        agent.bind(engine, options)
        invoke = engine.invoker()
        for _ in range(_WARMUP_RUNS):
            invoke()
        whole, operators = engine.profiled(runs)
        return {
            "inference_ns": whole,
            "operators": [
                {"name": name, "operator": kind.strip(), "node": None, "ns": durations}
                for name, kind, durations in operators
            ],
            "method": "MNN's callbacks around operators",
        }

    def _host_tensor(self, shape, values):
        mnn = self._mnn
        planar = mnn.Tensor_DimensionType_Caffe
        return mnn.Tensor(tuple(shape), mnn.Halide_Type_Float, values, planar)


def _tensor(name, tensor):
    shape = [int(size) if size > 0 else None for size in tensor.getShape()]
    return {"name": name, "shape": shape, "dtype": "float32"}


def _states_fp16(path):
    """True for a file of our converter with weights in float16.

    It says so in ``bizCode``, the first field of MNN's FlatBuffers, which is for a file's maker.
    """
    with open(path, "rb") as stream:

        def number(place, kind):
            stream.seek(place)
            return struct.unpack(kind, stream.read(struct.calcsize(kind)))[0]

        try:
            root = number(0, "<I")
            table = root - number(root, "<i")
            if number(table, "<H") <= _FIRST_FIELD or number(table + _FIRST_FIELD, "<H") == 0:
                return False
            field = root + number(table + _FIRST_FIELD, "<H")
            text = field + number(field, "<I")
            stated = stream.read(min(number(text, "<I"), _MOST_BYTES))
            return json.loads(stated.decode("utf-8")).get("precision") == "fp16"
        except (struct.error, OverflowError, ValueError, AttributeError, OSError):
            return False


ENGINE = Mnn
