"""Process of ``isolated_runtime``: one file in one engine of the agent, in another environment.

Its one argument is a JSON object: ``scripts``, the folder of the agent's sources; ``runtime``;
``model``; and the files ``input`` (.npy) and ``output`` (.npz, to be made). Its first line names
the model's inputs and outputs. For each line on standard input it infers and answers with a line.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What libraries print is no answer.
    sys.path.insert(0, order["scripts"])

    def answer(fields: dict[str, Any]) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    try:
        engine = _opened(order)
        answer({"inputs": engine.inputs, "outputs": engine.outputs})
    except Exception as error:  # noqa: BLE001 - every runtime has a tree of its own
        answer({"error": str(error)})
        return
    for _ in sys.stdin:
        try:
            _infer(engine, order)
            answer({})
        except Exception as error:  # noqa: BLE001 - as above
            answer({"error": str(error)})


def _opened(order: dict[str, Any]) -> Any:
    from agent.engine import open_model  # type: ignore[import-not-found]  # noqa: PLC0415
    from agent.engines import ENGINES  # type: ignore[import-not-found]  # noqa: PLC0415

    chosen = ENGINES[order["runtime"]]
    os.environ.update(dict(chosen.environment))
    return open_model(chosen, order["model"], 1)[0]


def _infer(engine: Any, order: dict[str, Any]) -> None:
    import numpy as np  # noqa: PLC0415
    from agent.tensors import as_tensor  # type: ignore[import-not-found]  # noqa: PLC0415

    image = np.load(order["input"], allow_pickle=False)
    (source,) = engine.inputs
    engine.bind_inputs([np.ascontiguousarray(as_tensor(image, source))])
    engine.invoker()()
    found = [
        _real(value, tensor)
        for value, tensor in zip(engine.read_outputs(), engine.outputs, strict=True)
    ]
    np.savez(order["output"], *found)


def _real(value: Any, tensor: dict[str, Any]) -> Any:
    """The numbers that a quantised output stands for."""
    if "scale" not in tensor:
        return value
    return (value.astype("float32") - tensor["zero_point"]) * tensor["scale"]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
