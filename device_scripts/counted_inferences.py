"""Runs on ARM under QEMU: inferences of one file, a system call before and after each.

    python3.11 -S counted_inferences.py RUNTIME FILE THREADS      # the agent is on PYTHONPATH

Of the inferences that agree the plugin of QEMU takes the fourth: the first ones of some runtimes
still plan memory, and are longer.
"""

import gc
import os
import sys

from agent.engine import open_model
from agent.engines import ENGINES
from agent.tensors import input_arrays

INFERENCES = 8


def main(name, path, threads):
    """Load the file, and infer."""
    engine, _, _ = open_model(ENGINES[name], path, int(threads))
    engine.bind_inputs(input_arrays(engine.inputs, None, 0))
    invoke = engine.invoker()
    gc.collect()
    gc.disable()
    for _ in range(INFERENCES):
        os.getppid()
        invoke()
        os.getppid()
    sys.stdout.flush()
    # Some runtimes do not survive that their parts are torn down in the order of an interpreter.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
