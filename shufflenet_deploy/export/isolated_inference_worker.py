"""Worker that runs one file for ``isolated_inference``; of the package it imports the agent alone.

Its one argument is a JSON object: ``agent``, the folder of the agent's package, ``runtime`` and
``model``. Messages are eight bytes of length and the content: it says first, in JSON, the tensors
of the file or an ``error``, then answers each ``.npy`` array with one per output.
"""

from __future__ import annotations

import io
import json
import os
import struct
import sys
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


def main(order: dict[str, Any]) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # What libraries print is no answer.
    sys.path.insert(0, order["agent"])
    import agent  # type: ignore[import-not-found]  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    try:
        engine = agent.open_model(agent.ENGINES[order["runtime"]], order["model"], 1)[0]
    except agent.Failed as error:
        _say(answers, json.dumps({"error": str(error)}).encode())
        return
    _say(answers, json.dumps({"inputs": engine.inputs, "outputs": engine.outputs}).encode())
    invoke = engine.invoker()
    while head := sys.stdin.buffer.read(_LENGTH.size):
        content = sys.stdin.buffer.read(_LENGTH.unpack(head)[0])
        engine.bind_inputs([np.load(io.BytesIO(content), allow_pickle=False)])
        invoke()
        for output in engine.read_outputs():
            array = io.BytesIO()
            np.save(array, output, allow_pickle=False)
            _say(answers, array.getvalue())


def _say(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)) + content)
    stream.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
