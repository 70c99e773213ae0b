"""Inputs and outputs of a model: seeded or read from a file, quantised as the model asks."""

import os

from .failures import Failed, one_line


def input_arrays(tensors, path, seed):
    """The data of every input: a file for the only input, or seeded uniform values in [-1, 1].

    Integers of 32 bits and more are indices or lengths: they are 0 or 1, as booleans are.
    """
    import numpy as np

    if path is not None and len(tensors) != 1:
        raise Failed("usage", "--input needs a model with one input, this has %d" % len(tensors))
    generator = np.random.RandomState(seed)
    arrays = []
    for tensor in tensors:
        if None in tensor["shape"]:
            message = "input %s has the dynamic shape %s: export a static one"
            raise Failed("unsupported", message % (tensor["name"], tensor["shape"]))
        if path is None:
            values = generator.uniform(-1.0, 1.0, tensor["shape"]).astype("float32")
            dtype = np.dtype(tensor["dtype"])
            if dtype.kind == "b" or (
                dtype.kind in "iu" and dtype.itemsize >= 4 and "scale" not in tensor
            ):
                values = (values > 0).astype(dtype)
        else:
            values = _load_npy(path, tensor)
        arrays.append(np.ascontiguousarray(as_tensor(values, tensor)))
    return arrays


def bind(engine, options):
    """Give an engine its inputs: open shapes settled, then the data."""
    if options.shapes:
        engine.set_shapes(options.shapes)
    engine.bind_inputs(input_arrays(engine.inputs, options.input, options.seed))


def _load_npy(path, tensor):
    import numpy as np

    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise Failed("usage", "%s cannot be read as .npy: %s" % (path, one_line(error))) from error
    if list(values.shape) != tensor["shape"]:
        message = "%s has shape %s, the model's input is %s"
        raise Failed("usage", message % (path, list(values.shape), tensor["shape"]))
    return values


def as_tensor(values, tensor):
    """Convert real values to the tensor's type, quantising with its scale and zero point."""
    import numpy as np

    wanted = np.dtype(tensor["dtype"])
    if values.dtype == wanted or wanted.kind == "f":
        return values.astype(wanted)
    limits = np.iinfo(wanted)
    if "scale" in tensor:
        values = np.round(values / tensor["scale"]) + tensor["zero_point"]
    elif values.dtype.kind == "f":
        # An integer input without a scale takes pixels: spread [-1, 1] over the type's range.
        values = limits.min + (values + 1.0) / 2.0 * (limits.max - limits.min)
    return np.clip(values, limits.min, limits.max).astype(wanted)


def write_output(path, values):
    """Write the output whole or not at all."""
    import numpy as np

    partial = path + ".partial"
    try:
        with open(partial, "wb") as stream:
            np.save(stream, values, allow_pickle=False)
        os.replace(partial, path)
    except OSError as error:
        raise Failed("usage", "cannot write %s: %s" % (path, error.strerror)) from error
