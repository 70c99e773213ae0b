"""Ctrl-C at any moment ends a command in order, the import of a framework included."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Sends itself a signal within the initialisation of an extension module that makes enumerations:
#: an exception there would end the process (SIGABRT).
_INTERRUPTED_IMPORT = """
import os, signal, sys
from importlib.machinery import ExtensionFileLoader
from shufflenet_deploy.interruption import Interruption

def callers(frame):
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back

def interrupt(frame, event, argument):
    moment = "call", "_check_for_existing_members_"
    if (event, frame.f_code.co_name) == moment and (
        ExtensionFileLoader.exec_module.__code__ in callers(frame)
    ):
        sys.setprofile(None)
        os.kill(os.getpid(), signal.{signal})

{before}
sys.setprofile(interrupt)
try:
    import onnx
    import time
    time.sleep(20)
except KeyboardInterrupt:
    {after}
    print("ended in order")
"""


def _run(**parts: str) -> subprocess.CompletedProcess[str]:
    program = _INTERRUPTED_IMPORT.format(**{"after": "pass", **parts})
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_an_interruption_waits_for_extension_modules(signal: str):
    done = _run(before=f"Interruption([signal.{signal}])", signal=signal)
    assert done.stdout == "ended in order\n", done.stderr
    assert done.returncode == 0


def test_the_way_out_is_not_interrupted_where_it_may_not_be():
    before = "Interruption([signal.SIGINT, signal.SIGTERM], once=True)"
    after = "os.kill(os.getpid(), signal.SIGTERM)"
    done = _run(before=before, after=after, signal="SIGINT")
    assert done.stdout == "ended in order\n", done.stderr
    assert done.returncode == 0
