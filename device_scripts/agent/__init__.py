"""Runs one exported model on this machine and prints exactly one JSON object about it.

    python3 agent.pyz --runtime onnxruntime --model model.onnx --threads 1

This package is what a board gets as one file, ``agent.pyz``. In a checkout it also runs as it lies:
``python3 -m agent`` in ``device_scripts``.

Needs Python 3.7 or newer, numpy and one runtime; nothing else, so that it can be copied to a board
and run there by hand. Times are nanoseconds of time.perf_counter_ns. Only the runtime's own call is
timed: inputs are in place before the clock is read, outputs are fetched after the last sample, and
Python's garbage collector is off.

Everything that other libraries print on standard output goes to standard error. On failure the
object has an "error" with "kind" and "message", and the exit status is 1.

``engines`` has one file per runtime, ``sampling`` the clock, ``sensors`` the state of the
machine, ``program`` the order of it all. What is imported here is what ``profile_operators.py``,
``sustained.py`` and ``pipeline.py`` use.
"""

from .engine import open_model
from .engines import ENGINES
from .failures import Failed
from .load import BackgroundLoad
from .process import affinity, pin
from .program import main, measure, parse_arguments, print_one_object, reported
from .sensors import conditions
from .tensors import as_tensor, bind, input_arrays

__all__ = [
    "ENGINES",
    "BackgroundLoad",
    "Failed",
    "affinity",
    "as_tensor",
    "bind",
    "conditions",
    "input_arrays",
    "main",
    "measure",
    "open_model",
    "parse_arguments",
    "pin",
    "print_one_object",
    "reported",
]
