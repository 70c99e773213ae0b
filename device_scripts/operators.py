#!/usr/bin/env python3
"""Says which operators an inference spends itself on; prints exactly one JSON object.

    python3 operators.py --model model.onnx --runs 5

Needs Python 3.7 or newer, numpy and onnxruntime, whose own profiler does the timing, in whole
microseconds of the machine's clock. The first two inferences are left out.

On failure the object has an "error" with "kind" and "message", and the exit status is 1.
"""

import argparse
import json
import os
import sys
import tempfile

SCHEMA = 1
WARMUP_RUNS = 2
NODE = "_kernel_time"


def profile(path, runs):
    """Duration of every operator of one inference in ns, averaged over ``runs``."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = onnxruntime.InferenceSession(
            path, sess_options=options, providers=["CPUExecutionProvider"]
        )
        feed = {}
        for value in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in value.shape]
            feed[value.name] = np.random.RandomState(0).uniform(-1, 1, shape).astype("float32")
        for _ in range(WARMUP_RUNS + runs):
            session.run(None, feed)
        with open(session.end_profiling()) as stream:
            events = json.load(stream)
    return summary(events, runs), onnxruntime.__version__


def summary(events, runs):
    """Operators in the order in which they ran, and whole inferences, in ns."""
    started = {}
    whole_us = []
    for event in sorted(events, key=lambda one: one.get("ts", 0)):
        if event.get("name") == "model_run":
            whole_us.append(event["dur"])
        elif event.get("cat") == "Node" and event["name"].endswith(NODE):
            name = event["name"][: -len(NODE)]
            operator = event.get("args", {}).get("op_name", "?")
            started.setdefault((name, operator), []).append(event["dur"])
    operators = [
        {"name": name, "operator": operator, "ns": 1000 * sum(durations[-runs:]) // runs}
        for (name, operator), durations in started.items()
    ]
    return {"operators": operators, "inference_ns": 1000 * sum(whole_us[-runs:]) // runs}


def main():
    """Keep standard output for the one object, whatever other libraries print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, metavar="FILE", help="an .onnx file")
    parser.add_argument("--runs", type=int, default=5, help="inferences to average over")
    options = parser.parse_args()
    own_stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    whole = {"schema": SCHEMA}
    try:
        found, version = profile(options.model, max(1, options.runs))
        whole.update(found, version=version)
    except ImportError as error:
        whole["error"] = {"kind": "runtime-missing", "message": str(error)}
    except Exception as error:  # noqa: BLE001 - the caller reads JSON, never a traceback
        message = "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:400])
        whole["error"] = {"kind": "crashed", "message": message}
    with os.fdopen(own_stdout, "w") as stream:
        stream.write(json.dumps(whole) + "\n")
    sys.exit(1 if "error" in whole else 0)


if __name__ == "__main__":
    main()
