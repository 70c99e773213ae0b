"""A Caffe network -> Graph: one reader per type of layer, blobs by name, layers in place."""

from __future__ import annotations

from pathlib import Path

from shufflenet_deploy.network.frontends.caffe.layers import READERS
from shufflenet_deploy.network.frontends.caffe.model_files import NetText, Weights
from shufflenet_deploy.network.frontends.caffe.net import NetReader
from shufflenet_deploy.network.graph import Graph
from shufflenet_deploy.network.passes.simplify import simplify
from shufflenet_deploy.records import Resolution


def read_caffe(
    prototxt: Path,
    caffemodel: Path,
    *,
    resolution: Resolution | None = None,
    name: str = "",
) -> Graph:
    """The network of a Caffe definition and its weights, simplified as every other.

    Args:
        prototxt: the network for inference, with an input of 1 to 4 channels.
        caffemodel: its weights.
        resolution: height and width instead of the declared ones, as Caffe's own reshape takes.
        name: the graph's name; the prototxt's by default.

    Raises:
        UsageError: a file cannot be read or is damaged, weights are missing or of another shape,
            or a layer is not known; the message names file and layer.
        ExportError: the network cannot be simplified to layers that exist.
    """
    text = NetText(prototxt)
    reader = NetReader(text, Weights(caffemodel), READERS, resolution)
    return reader.builder.tidied(simplify(reader.read(name or prototxt.stem)))
