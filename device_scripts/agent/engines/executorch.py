"""ExecuTorch's C++ runtime with XNNPACK, from the libraries of its wheel: torch is not needed.

They are reached through a bridge of C functions, ``executorch_bridge.cpp``, compiled for this
machine where the bench runs; the variable ``BRIDGE`` says where it lies.
"""

import ctypes
import os
from collections import Counter

from ..distributions import version_of
from ..engine import Engine
from ..failures import Failed

BRIDGE = "SHUFFLENET_DEPLOY_EXECUTORCH_BRIDGE"

# In the order in which each finds the symbols of those before it.
_LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_threadpool.so",
    "libexecutorch_backend_xnnpack.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_kernels_quantized.so",
)

# Numbers of torch's types; the format shares them.
_DTYPES = {
    0: "uint8",
    1: "int8",
    2: "int16",
    3: "int32",
    4: "int64",
    5: "float16",
    6: "float32",
    7: "float64",
    11: "bool",
}
_MOST_AXES = 8

# Spans around others, and what begins the name of an operator that no delegate took.
_WHOLE, _CALLS = "Method::execute", ("DELEGATE_CALL", "OPERATOR_CALL")
_KERNEL = "native_call_"
_WARMUP_RUNS = 3


class ExecuTorch(Engine):
    """The method ``forward`` of a program, executed in memory that was planned at its export."""

    name = module = distribution = "executorch"
    timed = "Method::set_input and execute: output read afterwards"
    failure_signs = (
        ("unsupported", ("operatormissing", "notsupported", "delegateinvalidcompatibility")),
        ("model-corrupt", ("invalidprogram", "invalidexternaldata", "invalidargument")),
    )

    def __init__(self, path, threads, tracing=False):
        self._path = path
        self._bridge = _loaded()
        self.version = version_of(self.distribution)
        given = self._bridge.bridge_threads(threads)
        self._network = _Handle(self._bridge.bridge_open(os.fsencode(path), int(tracing)))
        if not self._network:
            raise self._failure()
        self.inputs = self._tensors(0)
        self.outputs = self._tensors(1)
        self.details = {"threads": given, "backends": self._backends()}

    def bind_inputs(self, arrays):
        """Give the bridge copies, which it sets before every inference, as an application does."""
        for index, array in enumerate(arrays):
            status = self._bridge.bridge_set_input(
                self._network, index, array.ctypes.data, array.nbytes
            )
            if status:
                raise self._failure()

    def invoker(self):
        """The call that is timed."""
        execute, network = self._bridge.bridge_execute, self._network

        def invoke():
            if execute(network):
                raise self._failure()

        return invoke

    def read_outputs(self):
        """All outputs of the last inference."""
        import numpy as np

        found = []
        for index, tensor in enumerate(self.outputs):
            size = ctypes.c_size_t()
            address = self._bridge.bridge_output(self._network, index, ctypes.byref(size))
            if not address:
                raise self._failure()
            flat = np.frombuffer(ctypes.string_at(address, size.value), tensor["dtype"])
            found.append(flat.reshape(tensor["shape"]))
        return found

    def spans(self):
        """What one inference consists of, as (name, inside a delegate, instruction, ns)."""
        self._bridge.bridge_forget_spans(self._network)
        self.invoker()()
        found = []
        inside, instruction = ctypes.c_int32(), ctypes.c_int64()
        ns = ctypes.c_uint64()
        slots = [ctypes.byref(slot) for slot in (inside, instruction, ns)]
        for index in range(self._bridge.bridge_spans(self._network)):
            name = self._bridge.bridge_span(self._network, index, *slots)
            text = name.decode("utf-8", "replace")
            found.append((text, bool(inside.value), instruction.value, ns.value))
        return found

    def delegation(self):
        """What XNNPACK took, by the events of one more inference."""
        from ..tensors import input_arrays

        traced = ExecuTorch(self._path, self.details["threads"], tracing=True)
        traced.bind_inputs(input_arrays(traced.inputs, None, 0))
        spans = traced.spans()
        left = [name for name, inside, _, _ in spans if name.startswith(_KERNEL) and not inside]
        taken = sum(inside for _, inside, _, _ in spans)
        return {
            "name": "XNNPACK",
            "parts": sum(name == "DELEGATE_CALL" for name, _, _, _ in spans),
            "taken": taken,
            "left": dict(Counter(name[len(_KERNEL) :] for name in left)),
        }

    def _tensors(self, outputs):
        sizes = (ctypes.c_int32 * _MOST_AXES)()
        kind = ctypes.c_int32()
        found = []
        for index in range(self._bridge.bridge_tensors(self._network, outputs)):
            rank = self._bridge.bridge_tensor(
                self._network, outputs, index, sizes, ctypes.byref(kind)
            )
            if rank < 0:
                raise self._failure()
            name = "%s%d" % ("output" if outputs else "input", index)
            if kind.value not in _DTYPES:
                raise Failed("unsupported", "%s has type %d" % (name, kind.value))
            tensor = {"name": name, "shape": list(sizes[:rank]), "dtype": _DTYPES[kind.value]}
            found.append(tensor)
        return found

    def _backends(self):
        names = (self._bridge.bridge_backend(self._network, index) for index in range(16))
        return sorted({name.decode("utf-8", "replace") for name in names if name})

    def _failure(self):
        return RuntimeError(self._bridge.bridge_problem().decode("utf-8", "replace"))


def _loaded():
    """The bridge, with the libraries that it calls."""
    import executorch

    (folder,) = list(executorch.__path__)[:1]
    path = os.environ.get(BRIDGE)
    if not path:
        raise Failed("runtime-missing", "%s does not say where the bridge lies" % BRIDGE)
    try:
        for name in _LIBRARIES:
            ctypes.CDLL(os.path.join(folder, "lib", name), mode=ctypes.RTLD_GLOBAL)
        bridge = ctypes.CDLL(path)
    except OSError as error:
        raise Failed("runtime-missing", "ExecuTorch cannot be loaded: %s" % error) from error
    size, integer, pointer = ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p
    text = ctypes.c_char_p
    for name, returns, takes in (
        ("bridge_problem", text, ()),
        ("bridge_threads", size, (ctypes.c_uint32,)),
        ("bridge_open", pointer, (text, integer)),
        ("bridge_backend", text, (pointer, size)),
        ("bridge_tensors", size, (pointer, integer)),
        ("bridge_tensor", integer, (pointer, integer, size, pointer, pointer)),
        ("bridge_set_input", integer, (pointer, size, pointer, size)),
        ("bridge_execute", integer, (pointer,)),
        ("bridge_output", pointer, (pointer, size, pointer)),
        ("bridge_spans", size, (pointer,)),
        ("bridge_forget_spans", None, (pointer,)),
        ("bridge_span", text, (pointer, size, pointer, pointer, pointer)),
    ):
        function = getattr(bridge, name)
        function.restype, function.argtypes = returns, takes
    return bridge


def _profile(agent, options, _measured, runs):
    """Profile a program by the events that the runtime and XNNPACK tell of an inference."""
    engine = ExecuTorch(options.model, options.threads, tracing=True)
    agent.bind(engine, options)
    for _ in range(_WARMUP_RUNS):
        engine.spans()
    return dict(summary([engine.spans() for _ in range(runs)]), method="ExecuTorch's events")


def summary(inferences):
    """Put the spans of all inferences side by side; they are the same ones each time."""
    whole, columns, kinds = [], [], set()
    for spans in inferences:
        whole.append(max(ns for name, _, _, ns in spans if name == _WHOLE))
        column = [one for one in spans if one[0] != _WHOLE and one[0] not in _CALLS]
        kinds.add(tuple(one[:3] for one in column))
        columns.append(column)
    if len(kinds) != 1:
        raise Failed("crashed", "ExecuTorch reports other operators each time")
    operators = [
        {
            "name": "%d:%s" % (instruction, name) if inside else name,
            "operator": name.partition(" #")[0].replace(_KERNEL, ""),
            "node": None if inside else instruction,
            "ns": [column[place][3] for column in columns],
        }
        for place, (name, inside, instruction) in enumerate(next(iter(kinds)))
    ]
    return {"inference_ns": whole, "operators": operators}


_Handle = ctypes.c_void_p
ExecuTorch.profile = staticmethod(_profile)
ENGINE = ExecuTorch
