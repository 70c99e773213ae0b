#!/usr/bin/env python3
"""Profiles the operators of an inference and prints exactly one JSON object about it.

    profile_operators.py --runs 20 agent.pyz --runtime litert --model model.tflite --threads 1

First it measures as the agent does, with the agent's own options and report; then it loads the
model again with the runtime's profiler and adds a "profile" to the report: for each operator, in
the order in which they run, its duration in each of ``runs`` inferences.

The profilers report whole microseconds. onnxruntime's is reached from Python, LiteRT's by the C
interface of the libLiteRt.so that its wheel brings: the compiled model there runs the same XNNPACK
kernels as the interpreter.

Needs what the agent needs. On failure the object has an "error" with "kind" and "message", and the
exit status is 1.
"""

import argparse
import ctypes
import gc
import importlib
import json
import os
import sys
import tempfile

#: Inferences before the first that counts.
WARMUP_RUNS = 3
NS_PER_TICK = 1000


def onnxruntime_profile(agent, options, _measured, runs):
    """Profile an ONNX file with onnxruntime's own profiler, in a session set as the agent's."""
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "profile")
        engine = agent.ENGINES["onnxruntime"](options.model, options.threads, profile=prefix)
        agent.bind(engine, options)
        invoke = engine.invoker()
        for _ in range(WARMUP_RUNS + runs):
            invoke()
        with open(engine.end_profiling()) as stream:
            events = json.load(stream)
    return dict(onnxruntime_summary(events, runs), method="onnxruntime's profiler")


def onnxruntime_summary(events, runs):
    """Read onnxruntime's trace: the last ``runs`` durations of each node, and of the whole."""
    ending = "_kernel_time"
    nodes = {}
    whole = []
    for event in sorted(events, key=lambda one: one.get("ts", 0)):
        if event.get("name") == "model_run":
            whole.append(event["dur"])
        elif event.get("cat") == "Node" and event["name"].endswith(ending):
            details = event.get("args", {})
            key = (event["name"][: -len(ending)], details.get("op_name", "?"))
            nodes.setdefault(key, []).append(event["dur"])
    operators = [
        {"name": name, "operator": operator, "node": None, "ns": _in_ns(durations[-runs:])}
        for (name, operator), durations in nodes.items()
    ]
    return {"inference_ns": _in_ns(whole[-runs:]), "operators": operators}


def _in_ns(ticks):
    return [NS_PER_TICK * tick for tick in ticks]


# --- LiteRT, by its C interface ------------------------------------------------------------------

_HANDLE = ctypes.c_void_p
_CPU = 1
_WRITE = 1
#: Room for the type of a tensor, which the C interface fills in and takes back.
_TENSOR_TYPE_BYTES = 1024
_UNTOUCHED = 0xA5
_ROOM = 4

#: Kinds of events: a node of the file, and an operator inside XNNPACK.
_PLAIN, _NODE, _INSIDE = 1, 2, 8


class _Event(ctypes.Structure):
    """ProfiledEventData of LiteRT 2.3."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_uint64),
        ("more", ctypes.c_uint64),
        ("source", ctypes.c_int),
    ]


def litert_profile(agent, options, measured, runs):
    """Profile a TFLite file with LiteRT's own profiler."""
    version = measured["runtime"]["version"]
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 3):
        message = "LiteRT %s has no profiler that can be reached: 2.3 and newer have" % version
        raise agent.Failed("unsupported", message)
    if options.shapes:
        raise agent.Failed("unsupported", "LiteRT profiles files of static shapes only")
    model = _CompiledModel(agent, options.model, options.threads)
    inputs = measured["model"]["inputs"]
    model.bind_inputs(agent.input_arrays(inputs, options.input, options.seed))
    for _ in range(WARMUP_RUNS):
        model.profiled_events()
    inferences = [model.profiled_events() for _ in range(runs)]
    return dict(litert_summary(agent, inferences), method="LiteRT's profiler")


def litert_summary(agent, inferences):
    """Put the events of all inferences side by side; they are the same ones each time."""
    shapes = set()
    whole, columns = [], []
    for events in inferences:
        # The whole is an event that ends last; an event of the same name holds the status.
        whole.append(max(us for tag, kind, _, us in events if (tag, kind) == ("Invoke", _PLAIN)))
        inside = [event for event in events if event[1] in (_NODE, _INSIDE)]
        column = [event for event in inside if not event[0].startswith("TfLiteXNNPackDelegate")]
        shapes.add(tuple(event[:3] for event in column))
        columns.append(column)
    if len(shapes) != 1:
        raise agent.Failed("crashed", "LiteRT's profiler reports other operators each time")
    operators = [
        {
            "name": tag,
            "operator": tag,
            "node": index if kind == _NODE else None,
            "ns": _in_ns([column[place][3] for column in columns]),
        }
        for place, (tag, kind, index) in enumerate(next(iter(shapes)))
    ]
    return {"inference_ns": _in_ns(whole), "operators": operators}


class _CompiledModel:
    """A compiled model of LiteRT on the CPU with its profiler; lives until the process ends."""

    def __init__(self, agent, path, threads):
        import ai_edge_litert

        self._agent = agent
        folder = os.path.dirname(os.path.abspath(ai_edge_litert.__file__))
        try:
            self._library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))
        except OSError as error:
            message = "LiteRT's profiler cannot be loaded: %s" % error
            raise agent.Failed("unsupported", message) from error
        self._environment = self._new("LiteRtCreateEnvironment", 0, None)
        name = path.encode()
        model = self._new("LiteRtCreateModelFromFile", self._environment, name)
        choices = self._new("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", choices, _CPU)
        self._choose(choices, b"runtime_options_string", b"enable_profiling = true\n")
        self._choose(choices, b"xnnpack", b"num_threads = %d\n" % threads)
        self._model = self._new("LiteRtCreateCompiledModel", self._environment, model, choices)
        self._profiler = self._new("LiteRtCompiledModelGetProfiler", self._model)
        self._signature = self._new("LiteRtGetModelSignature", model, _size(0))
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")

    def bind_inputs(self, arrays):
        """Copy the inputs into the model's own buffers."""
        for buffer, array in zip(self._inputs, arrays):
            size = ctypes.c_size_t()
            self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
            if size.value != array.nbytes:
                message = "LiteRT's input takes %d bytes, not %d" % (size.value, array.nbytes)
                raise self._agent.Failed("crashed", message)
            address = _HANDLE()
            self._call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
            ctypes.memmove(address, array.ctypes.data, array.nbytes)
            self._call("LiteRtUnlockTensorBuffer", buffer)

    def profiled_events(self):
        """Infer once; the events as (tag, kind, index, microseconds), in order."""
        inputs, outputs = _array(self._inputs), _array(self._outputs)
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            _size(0),
            _size(len(inputs)),
            inputs,
            _size(len(outputs)),
            outputs,
        )
        self._call("LiteRtStopProfiler", self._profiler)
        count = ctypes.c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, ctypes.byref(count))
        # The layout is no promise. There is room for a larger one, and what was written must end
        # where this one does.
        events = (_Event * (_ROOM * count.value))()
        ctypes.memset(events, _UNTOUCHED, ctypes.sizeof(events))
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        beyond = bytes(events)[count.value * ctypes.sizeof(_Event) :]
        if set(beyond) != {_UNTOUCHED} or events[count.value - 1].source not in (0, 1, 2):
            message = "this LiteRT lays its profile out in another way than 2.3"
            raise self._agent.Failed("unsupported", message)
        return [
            ((event.tag or b"").decode("utf-8", "replace"), event.kind, event.index,
             event.elapsed_us)
            for event in events[: count.value]
        ]  # fmt: skip

    def _buffers(self, side):
        """A buffer for each input or output of the signature."""
        count = ctypes.c_size_t()
        self._call("LiteRtGetNumSignature%ss" % side, self._signature, ctypes.byref(count))
        found = []
        for index in range(count.value):
            place = _size(index)
            tensor = self._new("LiteRtGetSignature%sTensorByIndex" % side, self._signature, place)
            kind = (ctypes.c_uint8 * _TENSOR_TYPE_BYTES)()
            self._call("LiteRtGetRankedTensorType", tensor, kind)
            needs = self._new(
                "LiteRtGetCompiledModel%sBufferRequirements" % side, self._model, _size(0), place
            )
            create = "LiteRtCreateManagedTensorBufferFromRequirements"
            found.append(self._new(create, self._environment, kind, needs))
        return found

    def _choose(self, choices, name, text):
        """Add options in LiteRT's own notation; it frees the text."""
        system = ctypes.CDLL(None)
        system.strdup.restype = _HANDLE
        free = ctypes.cast(system.free, _HANDLE)
        kept = _HANDLE(system.strdup(text))
        self._call(
            "LiteRtAddOpaqueOptions",
            choices,
            self._new("LiteRtCreateOpaqueOptions", name, kept, free),
        )

    def _new(self, function, *arguments):
        """Call what writes a handle to its last argument."""
        handle = _HANDLE()
        self._call(function, *arguments, ctypes.byref(handle))
        return handle

    def _call(self, function, *arguments):
        try:
            status = getattr(self._library, function)(*arguments)
        except AttributeError as error:
            message = "this LiteRT has no %s" % function
            raise self._agent.Failed("unsupported", message) from error
        if status != 0:
            raise self._agent.Failed("crashed", "%s failed with status %d" % (function, status))


def _size(number):
    return ctypes.c_size_t(number)


def _array(handles):
    return (_HANDLE * len(handles))(*(handle.value for handle in handles))


PROFILERS = {"onnxruntime": onnxruntime_profile, "litert": litert_profile}


# --- the program ---------------------------------------------------------------------------------


def profiling(agent, runs):
    """Measure as ``agent`` does, and profile thereafter."""

    def measure(options):
        profiler = PROFILERS.get(options.runtime, agent.ENGINES[options.runtime].profile)
        if profiler is None:
            message = "%s has no profiler that can be reached" % options.runtime
            raise agent.Failed("unavailable", message)
        whole = agent.measure(options)
        gc.collect()
        try:
            whole["profile"] = profiler(agent, options, whole, runs)
        except (MemoryError, agent.Failed):
            raise
        except Exception as error:  # every runtime has a tree of its own
            message = "profiling failed: %s: %s" % (type(error).__name__, error)
            raise agent.Failed("crashed", " ".join(message.split())[:400]) from error
        return whole

    return measure


def load_agent(path):
    """The package of the agent, from its one file."""
    sys.path.insert(0, path)
    return importlib.import_module("agent")


def main():
    """Hand everything but the own option over to the agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="inferences to profile")
    parser.add_argument("agent", metavar="AGENT.PYZ", help="the agent, wherever it lies")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="the agent's own options")
    given = parser.parse_args()
    agent = load_agent(given.agent)
    agent.main(given.options, profiling(agent, max(1, given.runs)))


if __name__ == "__main__":
    main()
