"""OpenVINO on the CPU: one stream, which answers one image after another.

A file is either of this package's (both parts of OpenVINO's own pair in one archive), or the
``.xml`` of such a pair, with its ``.bin`` beside it.
"""

import zipfile
from collections import Counter

from ..engine import Engine
from ..failures import Failed
from ..sampling import timed

# The parts of a file.
_TOPOLOGY, _WEIGHTS = "model.xml", "model.bin"
# What a core computes in with 16 bits: as it says so, and as it is asked for.
_HALVES = (("FP16", "f16"), ("BF16", "bf16"))
# Nodes that are memory, not work.
_STILL = ("Const", "Input", "Output", "Result", "Parameter")
_WARMUP_RUNS = 3
_NS_PER_US = 1000


class OpenVino(Engine):
    """A compiled model and one request, whose input and output are memory of its own.

    Weights of 16 bits are computed with in 16 bits where the core can, all others in fp32: by
    itself OpenVINO takes 16 bits for every file.
    """

    name = module = distribution = "openvino"
    timed = "InferRequest.infer: input copied beforehand, output read afterwards"
    failure_signs = (
        (
            "unsupported",
            ("executor is not found", "is not initialized", "not supported", "unsupported"),
        ),
        (
            "model-corrupt",
            ("badzipfile", "error loading xml", "incorrect weights", "no item named"),
        ),
    )

    def __init__(self, path, threads, profiling=False):
        import openvino

        self.version = openvino.__version__.partition("-")[0]
        core = openvino.Core()
        model = _read(core, path)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Where threads run is the bench's choice (--cpus) or the kernel's, as for all runtimes.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": _arithmetic(core, model),
            "PERF_COUNT": profiling,
        }
        self._compiled = core.compile_model(model, "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self.inputs = [_tensor(port) for port in self._compiled.inputs]
        self.outputs = [_tensor(port) for port in self._compiled.outputs]
        self.details = {
            "threads": int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            "streams": int(self._compiled.get_property("NUM_STREAMS")),
            "float_arithmetic": settings["INFERENCE_PRECISION_HINT"],
            "pinned": False,
        }

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        raise Failed("unsupported", "OpenVINO runs files of static shapes only, not %s" % shapes)

    def bind_inputs(self, arrays):
        """Copy the inputs into the request's own tensors, which keep them between inferences."""
        for index, array in enumerate(arrays):
            self._request.get_input_tensor(index).data[...] = array

    def invoker(self):
        """The call that is timed."""
        return self._request.infer

    def read_output(self):
        """The first output of the last inference."""
        return self._request.get_output_tensor(0).data

    def read_outputs(self):
        """All outputs of the last inference."""
        return [self._request.get_output_tensor(index).data for index in range(len(self.outputs))]

    def delegation(self):
        """Which nodes run in kernels for this core, and which in plain C++ (``ref``)."""
        facts = [node.get_rt_info() for node in self._compiled.get_runtime_model().get_ops()]
        kernels = [
            (info["layerType"].astype(str), info["primitiveType"].astype(str)) for info in facts
        ]
        working = [(kind, kernel) for kind, kernel in kernels if kind not in _STILL]
        left = Counter(kind for kind, kernel in working if kernel.startswith("ref"))
        return {
            "name": "OpenVINO's kernels",
            "parts": 1,
            "taken": len(working) - sum(left.values()),
            "left": dict(left),
        }

    def mean_durations(self):
        """The nodes, in order, as (name, operator, kernel, mean ns of all inferences so far)."""
        return [
            (
                info.node_name,
                info.node_type,
                info.exec_type,
                int(info.real_time.total_seconds() * 1e6) * _NS_PER_US,
            )
            for info in self._request.get_profiling_info()
        ]


def _read(core, path):
    """The model of a file, with weights that stay in memory as long as it does."""
    if not zipfile.is_zipfile(path):
        return core.read_model(path)
    with zipfile.ZipFile(path) as archive:
        return core.read_model(archive.read(_TOPOLOGY), archive.read(_WEIGHTS))


def _arithmetic(core, model):
    """The type to compute in: that of the weights, or the one of 16 bits that the core has."""
    halved = any(
        node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "f16"
        for node in model.get_ops()
    )
    if not halved:
        return "f32"
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return next((name for word, name in _HALVES if word in able), "f32")


def _tensor(port):
    import numpy as np

    shape = [int(size.get_length()) if size.is_static else None for size in port.partial_shape]
    dtype = np.dtype(port.element_type.to_dtype()).name
    return {"name": port.any_name, "shape": shape, "dtype": dtype}


def _profile(agent, options, _measured, runs):
    """Profile a file with OpenVINO's own counters."""
    engine = OpenVino(options.model, options.threads, profiling=True)
    agent.bind(engine, options)
    invoke = engine.invoker()
    for _ in range(_WARMUP_RUNS):
        invoke()
    before = engine.mean_durations()
    whole = [timed(invoke) for _ in range(runs)]
    found = summary(whole, before, engine.mean_durations())
    return dict(found, method="OpenVINO's counters (a mean for each node)")


def summary(whole, before, after):
    """Subtract what the warm-up took, and leave out nodes that took nothing after it.

    Counters hold the mean of all inferences so far, and the first ones are many times slower.
    """
    if [one[:3] for one in before] != [one[:3] for one in after]:
        raise Failed("crashed", "OpenVINO reports other operators each time")
    runs = len(whole)
    operators = []
    for (name, operator, kernel, mean_ns), (_, _, _, warmup_ns) in zip(after, before):
        ns = ((_WARMUP_RUNS + runs) * mean_ns - _WARMUP_RUNS * warmup_ns) // runs
        if ns > 0:
            kind = "%s (%s)" % (operator, kernel)
            operators.append({"name": name, "operator": kind, "node": None, "ns": [ns] * runs})
    return {"inference_ns": whole, "operators": operators}


OpenVino.profile = staticmethod(_profile)
ENGINE = OpenVino
