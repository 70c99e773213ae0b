"""Caffe networks for tests: the text, the weights, and the file of weights that belongs to them."""

from __future__ import annotations

import numpy as np

from shufflenet_deploy.network.frontends.caffe.schema import message_class


def caffemodel(weights, *, old=False):
    """The bytes of a caffemodel with the arrays of each layer by its name."""
    message = message_class("Weights")()
    for name, arrays in weights.items():
        layer = (message.layers if old else message.layer).add(name=name)
        for array in arrays:
            data = np.asarray(array, "<f4")
            blob = layer.blobs.add()
            blob.data.append(data.tobytes())
            if old:
                sizes = (1,) * (4 - data.ndim) + data.shape
                blob.num, blob.channels, blob.height, blob.width = sizes
            else:
                blob.shape.dim.extend(data.shape)
    return message.SerializeToString()


def layer(kind, name, bottoms, tops, more=""):
    """One layer as text; bottoms and tops are words."""
    lines = [f'bottom: "{one}"' for one in bottoms.split()]
    lines += [f'top: "{one}"' for one in tops.split()]
    return f'layer {{ name: "{name}" type: "{kind}" {" ".join(lines)} {more} }}\n'


def image(channels=3, height=9, width=11, name="data"):
    """The input as an Input layer."""
    dims = " ".join(f"dim: {size}" for size in (1, channels, height, width))
    return layer("Input", "input", "", name, f"input_param {{ shape {{ {dims} }} }}")


def write(folder, text, weights, *, old=False):
    """Both files in ``folder``; returns their paths."""
    prototxt, model = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_text(text)
    model.write_bytes(caffemodel(weights, old=old))
    return prototxt, model
