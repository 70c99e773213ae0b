"""ncnn: a file of weights that ends in an archive with the text of the layers."""

import json
import os
import zipfile

from ..engine import Engine
from ..failures import Failed

# How weights of float16 begin in ncnn's file.
_HALVES = b"\x47\x6b\x30\x01"


class Ncnn(Engine):
    """One extractor per inference, as ncnn wants it; every output is extracted."""

    name = distribution = module = "ncnn"
    timed = "create_extractor, input, extract of every output: the input is in place, no copy"
    #: Whether bfloat16 is stored, which no file asks for.
    bf16 = False

    def __init__(self, path, threads):
        import ncnn

        self._ncnn = ncnn
        self.version = ncnn.__version__
        layers, described = _read(path)
        with open(path, "rb") as stream:
            halves = stream.read(len(_HALVES)) == _HALVES
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        options.use_vulkan_compute = False
        # A file of float32 is computed in float32; ncnn itself would round where it may.
        for option in ("packed", "storage", "arithmetic"):
            setattr(options, "use_fp16_%s" % option, halves)
        options.use_bf16_packed = options.use_bf16_storage = self.bf16
        # The weights begin the file; ncnn looks at nothing behind them.
        if self._net.load_param_mem(layers) or self._net.load_model(path):
            raise Failed("model-corrupt", "ncnn cannot load %s" % os.path.basename(path))
        self._sources, self._sinks = self._net.input_names(), self._net.output_names()
        self.inputs = _tensors(self._sources, described.get("inputs"), [1, None, None, None])
        self.outputs = _tensors(self._sinks, described.get("outputs"), [1, None])
        self.details = {"threads": threads, "fp16": halves, "vulkan": False}

    def set_shapes(self, shapes):
        """Settle the shapes of open inputs, by name."""
        for tensor in self.inputs:
            tensor["shape"] = shapes.get(tensor["name"], tensor["shape"])

    def bind_inputs(self, arrays):
        """Copy the inputs into matrices of ncnn's own, which know no batch."""
        for array in arrays:
            if array.shape[0] != 1:
                raise Failed("unsupported", "ncnn takes one image at a time")
        self._given = [self._ncnn.Mat(array[0]).clone() for array in arrays]

    def invoker(self):
        """The call that is timed."""
        net, sinks = self._net, self._sinks
        fed = list(zip(self._sources, self._given))
        found = self._found = [None] * len(sinks)

        def invoke():
            extractor = net.create_extractor()
            for name, value in fed:
                extractor.input(name, value)
            for place, name in enumerate(sinks):
                status, found[place] = extractor.extract(name)
                if status:
                    raise Failed("crashed", "ncnn ended with status %d" % status)

        return invoke

    def read_outputs(self):
        """Every output of the last inference, with a batch of one."""
        import numpy as np

        return [np.array(value)[None] for value in self._found]


def _read(path):
    """The text of the layers, and what else is known of a network, from the archive at the end."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            (layers,) = [name for name in names if name.endswith(".param")]
            text = archive.read(layers).decode("ascii")
            described = json.loads(archive.read("net.json")) if "net.json" in names else {}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        message = "%s does not end in an archive with one .param" % os.path.basename(path)
        raise Failed("model-corrupt", message) from error
    return text, described


def _tensors(names, described, unknown):
    known = {one["name"]: one for one in described or ()}
    return [
        known.get(name, {"name": name, "shape": list(unknown), "dtype": "float32"})
        for name in names
    ]


ENGINE = Ncnn
