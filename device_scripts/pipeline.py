#!/usr/bin/env python3
r"""Runs images through everything that an application does with one, and times each stage.

    python3 pipeline.py --agent agent.pyz --recipe JSON --image photo.jpg \
        --runtime onnxruntime --model model.onnx --threads 1

Stages, each on the clock of the others: decode (the file's bytes to RGB, by Pillow), resize (scale
and centre crop, by Pillow), normalise (bytes to the input's numbers and layout, by numpy), infer
(the input into the runtime, the call, the output out of it), top-k (the five best classes). All
runtimes go the same way. A native program takes inputs through a pipe, which an application that is
linked with the network does not have: its infer is the call as it reports it, and pipe is the rest.

Prints exactly one JSON object. Needs what ``agent.pyz`` needs, that file, and Pillow.
"""

import argparse
import gc
import importlib
import io
import json
import struct
import subprocess
import sys
import time

SCHEMA = 1
NAME = "shufflenet-deploy pipeline"
STAGES = ("decode", "resize", "normalise", "infer", "pipe", "top-k")
TOP = 5
LONGEST_ASPECT = 16
LUMINANCE = (0.299, 0.587, 0.114)


def load_agent(path):
    """The package of the agent, from its one file."""
    sys.path.insert(0, path)
    return importlib.import_module("agent")


class NativeProgram:
    """A native program as an engine: inputs go to its standard input, outputs come from it."""

    name = module = "native"
    distribution = "native"
    failure_signs = environment = ()
    options = ()

    def __init__(self, path, threads):
        words = [path, "--serve", "--threads", str(threads), *self.options]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        head = self._read(8)
        inputs, outputs = struct.unpack("<II", head)
        self._output_bytes = 4 * outputs
        self.version = "native"
        self.inputs = [{"name": "input", "shape": [inputs], "dtype": "float32"}]

    def _read(self, size):
        found = self._process.stdout.read(size)
        if len(found) != size:
            raise RuntimeError("the native program ended with status %s" % self._process.wait())
        return found

    def bind_inputs(self, arrays):
        """Hold the input until the call."""
        self._input = arrays[0].tobytes()

    def invoker(self):
        """The call: the input through the pipe, the output back."""

        def run():
            self._process.stdin.write(self._input)
            self._process.stdin.flush()
            answer = self._read(8 + self._output_bytes)
            (self.call_ns,) = struct.unpack_from("<q", answer)
            self._output = answer[8:]

        return run

    def read_output(self):
        """The output of the last inference."""
        import numpy as np

        return np.frombuffer(self._output, dtype="<f4")

    def close(self):
        """End the program."""
        self._process.stdin.close()
        self._process.wait(timeout=10)


class Recipe:
    """How an image becomes the input of a network, from the metadata of its file."""

    def __init__(self, fields):
        import numpy as np

        self.height, self.width = fields["input_height"], fields["input_width"]
        self.crop = fields["crop_fraction"]
        self.channels_first = fields["input_layout"] == "NCHW"
        self.order = fields["channel_order"]
        low, high = fields["value_range"]
        self.step, self.low = np.float32((high - low) / 255), np.float32(low)
        self.mean = np.asarray(fields["mean"], dtype=np.float32)
        self.std = np.asarray(fields["std"], dtype=np.float32)

    def resize(self, image):
        """RGB bytes (height, width, 3): scaled, and the centre cropped."""
        import numpy as np
        from PIL import Image

        width = min(image.width, LONGEST_ASPECT * image.height)
        height = min(image.height, LONGEST_ASPECT * image.width)
        if (width, height) != image.size:
            left, top = (image.width - width) // 2, (image.height - height) // 2
            image = image.crop((left, top, left + width, top + height))
        scale = max(self.height / image.height, self.width / image.width) / self.crop
        size = (
            max(self.width, round(image.width * scale)),
            max(self.height, round(image.height * scale)),
        )
        scaled = image.resize(size, Image.BILINEAR)
        left, top = (scaled.width - self.width) // 2, (scaled.height - self.height) // 2
        return np.asarray(scaled.crop((left, top, left + self.width, top + self.height)))

    def normalise(self, image):
        """The input (1, C, H, W) or (1, H, W, C) in fp32."""
        import numpy as np

        if self.order == "L":
            grey = image.astype(np.float32) @ np.asarray(LUMINANCE, dtype=np.float32)
            values = np.broadcast_to(grey[..., None], (*grey.shape, len(self.mean)))
        else:
            values = (image[..., ::-1] if self.order == "BGR" else image).astype(np.float32)
        scaled = (values * self.step + self.low - self.mean) / self.std
        planes = scaled.transpose(2, 0, 1)[None] if self.channels_first else scaled[None]
        return np.ascontiguousarray(planes, dtype=np.float32)


def decode(content):
    """RGB of a file's bytes, upright, transparent places white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


def top_classes(values):
    """Indices of the best classes, the best first."""
    import numpy as np

    values = np.asarray(values).ravel()
    count = min(TOP, len(values))
    best = np.argpartition(-values.astype(np.float32), count - 1)[:count]
    return [int(index) for index in best[np.argsort(-values[best].astype(np.float32))]]


class Pipeline:
    """One model with its recipe; ``once`` is what is timed."""

    def __init__(self, agent, engine, recipe):
        self._agent, self._engine, self._recipe = agent, engine, recipe
        self._tensor = engine.inputs[0]
        self._invoke = engine.invoker()

    def once(self, content):
        """The ns of each stage, of all together, and the best classes."""
        clock = time.perf_counter_ns
        moments = [clock()]
        image = decode(content)
        moments.append(clock())
        pixels = self._recipe.resize(image)
        moments.append(clock())
        values = self._agent.as_tensor(self._recipe.normalise(pixels), self._tensor)
        moments.append(clock())
        self._engine.bind_inputs([values])
        self._invoke()
        output = self._engine.read_output()
        moments.append(clock())
        best = top_classes(output)
        moments.append(clock())
        spans = [after - before for before, after in zip(moments, moments[1:])]
        call = min(getattr(self._engine, "call_ns", spans[3]), spans[3])
        return [*spans[:3], call, spans[3] - call, spans[4]], moments[-1] - moments[0], best


def read(path):
    """The bytes of a file, read before the clock."""
    with open(path, "rb") as stream:
        return stream.read()


def sample(pipeline, contents, shared):
    """Warm up, then time images in turn; samples by stage, totals, and the classes of each."""
    clock = time.perf_counter_ns
    tops = [pipeline.once(content)[2] for content in contents]
    began, count = clock(), 0
    while count < shared.warmup_runs or clock() - began < shared.warmup_secs * 1e9:
        pipeline.once(contents[count % len(contents)])
        count += 1
    stages = {name: [] for name in STAGES}
    totals = []
    started = clock()
    while True:
        spans, total, _ = pipeline.once(contents[len(totals) % len(contents)])
        for name, span in zip(STAGES, spans):
            stages[name].append(span)
        totals.append(total)
        elapsed = clock() - started
        enough = len(totals) >= shared.min_runs and elapsed >= shared.min_secs * 1e9
        if enough or elapsed >= shared.max_secs * 1e9:
            return stages, totals, tops


def measure(agent, options, rest):
    """Load the model and run images through it."""
    agent.ENGINES["native"] = NativeProgram
    sys.modules.setdefault("native", sys)
    shared = agent.parse_arguments(rest)
    load = agent.BackgroundLoad(shared.background_load)
    try:
        if shared.cpus:
            agent.pin(shared.cpus)
        chosen = agent.ENGINES[shared.runtime]
        engine, _, _ = agent.open_model(chosen, shared.model, shared.threads)
        if len(engine.inputs) != 1:
            raise agent.Failed("unsupported", "a pipeline needs a model with one input")
        if shared.shapes:
            engine.set_shapes(shared.shapes)
        contents = [read(path) for path in options.image]
        pipeline = Pipeline(agent, engine, Recipe(json.loads(options.recipe)))
        gc.collect()
        gc.disable()
        stages, totals, tops = sample(pipeline, contents, shared)
        if shared.runtime == "native":
            engine.close()
    except (MemoryError, agent.Failed, ImportError):
        raise
    except Exception as error:  # every runtime has a tree of its own
        message = "the pipeline failed: %s: %s" % (type(error).__name__, error)
        raise agent.Failed("crashed", message) from error
    finally:
        load.stop()
    return {
        "version": engine.version,
        "stages": stages,
        "total_ns": totals,
        "top": tops,
        "cpus": agent.affinity(),
    }


def main():
    """Read the options of this program and hand the others over to the agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--agent", required=True, metavar="FILE", help="agent.pyz")
    add("--recipe", required=True, metavar="JSON", help="the metadata of the file")
    add("--image", action="append", required=True, metavar="FILE")
    options, rest = parser.parse_known_args()
    agent = load_agent(options.agent)
    head = {"schema": SCHEMA, "program": NAME}
    agent.print_one_object(lambda: agent.reported(head, lambda: measure(agent, options, rest)))


if __name__ == "__main__":
    main()
