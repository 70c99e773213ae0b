#!/usr/bin/env python3
"""One runtime in a process of its own: loads a file, answers pictures, times inferences on demand.

    python3 worker.py ENGINE FILE PICTURES.npy [SETTINGS]

Runs in the environment that ``compare_runtimes`` made for it, here or on a virtual board. After it has
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
import zipfile

import numpy as np


def onnxruntime(path):
    """onnxruntime, one thread."""
    import onnxruntime as runtime

    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    binding = session.io_binding()
    output = session.get_outputs()[0].name

    def feed(picture):
        binding.bind_cpu_input(name, picture)
        binding.bind_output(output)

    return (
        runtime.__version__,
        feed,
        lambda: session.run_with_iobinding(binding),
        lambda: binding.copy_outputs_to_cpu()[0],
    )


def litert(path):
    """LiteRT with XNNPACK, one thread; the file's input may be NHWC, NCHW, float or int8."""
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def feed(picture):
        planar = tuple(source["shape"]) == picture.shape
        value = picture if planar else np.ascontiguousarray(picture.transpose(0, 2, 3, 1))
        scale, zero = source["quantization"]
        if source["dtype"] is not np.float32:
            value = np.clip(np.round(value / scale) + zero, -128, 127).astype(source["dtype"])
        interpreter.set_tensor(source["index"], value)

    def scores():
        value = interpreter.get_tensor(sink["index"])
        scale, zero = sink["quantization"]
        return value if value.dtype == np.float32 else (value.astype(np.float32) - zero) * scale

    return version("ai-edge-litert"), feed, interpreter.invoke, scores


def ncnn(path, halves="off"):
    """A file of weights that ends in an archive with the layers; one thread.

    ``halves``: "off" computes and stores float32, "fp16" is ncnn's default, which takes fp16 where
    the core has it, "bf16" stores bfloat16.
    """
    import ncnn as runtime

    network = runtime.Net()
    network.opt.num_threads = 1
    for option in ("packed", "storage", "arithmetic"):
        setattr(network.opt, f"use_fp16_{option}", halves == "fp16")
    network.opt.use_bf16_packed = network.opt.use_bf16_storage = halves == "bf16"
    with zipfile.ZipFile(path) as archive:
        network.load_param_mem(archive.read("net.param").decode())
    network.load_model(path)
    source, sink, held = network.input_names()[0], network.output_names()[0], {}

    def feed(picture):
        held["picture"] = runtime.Mat(np.ascontiguousarray(picture[0]))

    def infer():
        extractor = network.create_extractor()
        extractor.input(source, held["picture"])
        held["scores"] = extractor.extract(sink)[1]

    return runtime.__version__, feed, infer, lambda: np.array(held["scores"])[None]


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

    version = runtime.__version__.partition("-")[0]
    return version, feed, request.infer, lambda: request.get_output_tensor().data


def mnn(path, precision="high"):
    """MNN's session on the CPU, one thread; "high" precision is float32, "low" may be fp16."""
    import MNN as runtime  # noqa: N811

    interpreter = runtime.Interpreter(path)
    session = interpreter.createSession({"backend": "CPU", "numThread": 1, "precision": precision})
    source, sink = interpreter.getSessionInput(session), interpreter.getSessionOutput(session)

    def feed(picture):
        planar = runtime.Tensor_DimensionType_Caffe
        given = runtime.Tensor(picture.shape, runtime.Halide_Type_Float, picture, planar)
        source.copyFrom(given)

    def scores():
        shape = sink.getShape()
        held = runtime.Tensor(
            shape,
            runtime.Halide_Type_Float,
            np.zeros(shape, np.float32),
            runtime.Tensor_DimensionType_Caffe,
        )
        sink.copyToHostTensor(held)
        return np.array(held.getData(), np.float32).reshape(shape)

    return runtime.version(), feed, lambda: interpreter.runSession(session), scores


def native(path):
    """Our own generated C, a shared library."""
    library = ctypes.CDLL(path)
    library.net_init.argtypes = [ctypes.c_void_p]
    library.net_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.net_run.restype = None
    if library.net_init(None) != 0:
        raise RuntimeError("no weights are linked in")
    scores = np.empty(ctypes.c_uint.in_dll(library, "net_output_floats").value, np.float32)
    held = {}

    def feed(picture):
        held["picture"] = np.ascontiguousarray(picture, np.float32)
        held["address"] = held["picture"].ctypes.data

    address = scores.ctypes.data
    run = library.net_run
    return "", feed, lambda: run(held["address"], address), lambda: scores.copy()[None]


def peak(path):
    """Multiply-adds and nothing else; its version says how many of them an inference is."""
    library = ctypes.CDLL(path)
    library.peak_run.argtypes = []
    library.peak_run.restype = ctypes.c_float
    count = ctypes.c_uint.in_dll(library, "peak_multiply_adds").value
    return str(count), lambda _picture: None, library.peak_run, lambda: np.zeros((1, 1))


ENGINES = {one.__name__: one for one in (onnxruntime, litert, ncnn, openvino, mnn, native, peak)}


def main(name, path, pictures, settings="{}"):
    """Answer the pictures, then time what is asked for until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is not an answer.
    version, feed, infer, scores = ENGINES[name](path, **json.loads(settings))
    given = np.load(pictures, allow_pickle=False)
    found = []
    for picture in given:
        feed(np.ascontiguousarray(picture[None]))
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
