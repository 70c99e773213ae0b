#!/usr/bin/env python3
"""One runtime in a process of its own: loads a file, answers pictures, times inferences on demand.

    python3 worker.py AGENT ENGINE FILE PICTURES.npy [SETTINGS]

``AGENT`` is the agent's file, whose engines are used. Runs in the environment that ``compare_runtimes`` made for it, here or on a virtual board. After it has
written one line of JSON with its version and its scores for the pictures, it reads numbers of
inferences from standard input and writes a line with the nanoseconds of each, and those that the
process had of the core meanwhile. ``SETTINGS`` is a JSON object of the engine's keywords.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import time
from functools import partial

import numpy as np


def by_agent(name, path, *, bf16=False):
    """A runtime that the agent has an engine for: what times it on a board times it here.

    ``bf16`` has ncnn store bfloat16. The file's input may be NHWC, NCHW, float or int8.
    """
    from agent import ENGINES, as_tensor, open_model

    chosen = ENGINES[name]
    os.environ.update(dict(chosen.environment))
    if bf16:
        chosen = type("Bf16", (chosen,), {"bf16": True})
    engine = open_model(chosen, path, 1)[0]
    (source,), sink = engine.inputs, engine.outputs[0]

    def feed(picture):
        planar = tuple(source["shape"]) in {picture.shape, (1, None, None, None)}
        value = as_tensor(picture if planar else picture.transpose(0, 2, 3, 1), source)
        engine.bind_inputs([np.ascontiguousarray(value)])
        return engine.invoker()

    def scores():
        value = engine.read_output()
        if "scale" not in sink:
            return value
        return (value.astype(np.float32) - sink["zero_point"]) * sink["scale"]

    return engine.version, feed, scores


def openvino(path, precision="f32"):
    """OpenVINO on the CPU, one stream of one thread; ``precision`` "" leaves the choice to it."""
    import openvino as runtime

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    model = runtime.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()

    def feed(picture):
        request.set_input_tensor(runtime.Tensor(picture))
        return request.infer

    version = runtime.__version__.partition("-")[0]
    return version, feed, lambda: request.get_output_tensor().data


def native(path):
    """Our own generated C, a shared library."""
    library = ctypes.CDLL(path)
    library.net_init.argtypes = [ctypes.c_void_p]
    library.net_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.net_run.restype = None
    if library.net_init(None) != 0:
        raise RuntimeError("no weights are linked in")
    scores = np.empty(ctypes.c_uint.in_dll(library, "net_output_floats").value, np.float32)
    sink, run = scores.ctypes.data, library.net_run

    def feed(picture):
        given = np.ascontiguousarray(picture, np.float32)
        source = given.ctypes.data
        # The default keeps the picture's memory for as long as it may be read.
        return lambda _kept=given: run(source, sink)

    return "", feed, lambda: scores.copy()[None]


def peak(path):
    """Multiply-adds and nothing else; its version says how many of them an inference is."""
    library = ctypes.CDLL(path)
    library.peak_run.argtypes = []
    library.peak_run.restype = ctypes.c_float
    count = ctypes.c_uint.in_dll(library, "peak_multiply_adds").value
    return str(count), lambda _picture: library.peak_run, lambda: np.zeros((1, 1))


#: Those that the agent has no engine for, or not with these settings.
OWN = {one.__name__: one for one in (openvino, native, peak)}


def main(agent, name, path, pictures, settings="{}"):
    """Answer the pictures, then time what is asked for until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is not an answer.
    sys.path.insert(0, agent)
    load = OWN.get(name) or partial(by_agent, name)
    version, feed, scores = load(path, **json.loads(settings))
    given = np.load(pictures, allow_pickle=False)
    found = []
    for picture in given:
        infer = feed(np.ascontiguousarray(picture[None]))
        infer()
        found.append(np.array(scores(), np.float64).ravel().tolist())
    json.dump({"version": version, "scores": found}, answers)
    print(file=answers, flush=True)
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        samples = []
        had = time.process_time_ns()
        for _ in range(int(line)):
            began = time.perf_counter_ns()
            infer()
            samples.append(time.perf_counter_ns() - began)
        json.dump({"samples": samples, "had": time.process_time_ns() - had}, answers)
        print(file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
