"""Caffe files from outside: every damage is one line that names file, layer and the way on."""

from __future__ import annotations

import caffe_nets as caffe
import numpy as np
import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.network.frontends.caffe import read_caffe

CONV = caffe.layer(
    "Convolution", "c", "data", "c", "convolution_param { num_output: 4 kernel_size: 3 }"
)
WEIGHTS = {"c": [np.ones((4, 3, 3, 3)), np.ones(4)]}


def refused(paths):
    with pytest.raises(UsageError) as caught:
        read_caffe(*paths)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text.replace(str(paths[0]), "TEXT").replace(str(paths[1]), "WEIGHTS")


def layer(kind, more="", bottoms="data", tops="y"):
    return caffe.image() + caffe.layer(kind, "it", bottoms, tops, more)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no layer in it"),
        ("no { prototxt", "it is no Caffe network"),
        ("layer { " * 5000, "it is no Caffe network"),
        ("unknown { " * 5000, "it is no Caffe network"),
        ("layer { type: 5 }", "it is no Caffe network"),
        (CONV, "it has 0 inputs (none)"),
        (caffe.image(channels=6) + CONV, "its input is 1x6x9x11"),
        (caffe.image(height=0) + CONV, "its input is 1x3x0x11: state the resolution"),
        (caffe.image(), "it computes nothing of its image"),
        (layer("Foo"), "Foo 'it' is a layer that is not known here"),
        (layer("SoftmaxWithLoss"), "is of training: name the network for inference"),
        (layer("Sigmoid", bottoms="none"), "reads 'none', which no layer before it makes"),
        (layer("Sigmoid", bottoms="data data"), "has 2 bottoms, which its type does not take"),
        (layer("Sigmoid", tops="a b"), "has 2 tops, and 1 are made"),
        (layer("PReLU"), "PReLU 'it' has no weights in WEIGHTS"),
        (layer("Power", "power_param { power: 2 }"), "takes the power 2, and 1 is known"),
        (layer("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "pools at random"),
        (layer("Pooling", "pooling_param { kernel_size: 99 }"), "choose a larger resolution"),
        (layer("Pooling", "pooling_param { kernel_size: -1 }"), "has windows of -1x-1"),
        (layer("ShuffleChannel", "shuffle_channel_param { group: 2 }"), "shuffles 3 channels in 2"),
        (layer("Reshape", "reshape_param { shape { dim: 0 dim: 7 } }"), "views 3x9x11 as 7"),
        (
            layer("Slice", "slice_param { slice_point: 5 }", tops="a b"),
            "cuts 3 at [5] into 2 parts",
        ),
        (
            layer("Concat", "concat_param { axis: 0 }", bottoms="data data"),
            "works along axis 0 of 4",
        ),
        (layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"), "normalises within channels"),
        (layer("AbsVal"), "AbsVal 'it' is a layer that is not known"),
        (CONV.replace("layer", "layers") + CONV, "it is no Caffe network"),
    ],
)
def test_what_no_graph_can_say(tmp_path, text, said):
    assert said in refused(caffe.write(tmp_path, text, WEIGHTS))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"other": [np.ones(3)]}, "Convolution 'c' has no weights in WEIGHTS"),
        ({"c": [np.ones((4, 3, 3, 3))]}, "has 1 arrays of weights, and 2 are needed"),
        (
            {"c": [np.ones((4, 3, 5, 5)), np.ones(4)]},
            "has weights of 4x3x5x5 in WEIGHTS, and needs 4x3x3x3",
        ),
        ({"c": [np.ones((4, 3, 3, 3)), np.ones(3)]}, "has weights of 3 in WEIGHTS, and needs 4"),
        ({}, "there are no weights in it"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, weights, said):
    assert said in refused(caffe.write(tmp_path, caffe.image() + CONV, weights))


def test_a_file_that_is_no_caffemodel(tmp_path):
    paths = caffe.write(tmp_path, caffe.image() + CONV, WEIGHTS)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[:-5])
    assert "it is no caffemodel, or a damaged one" in refused(paths)
    paths[1].write_bytes(b"hello " * 100)
    assert "cannot read WEIGHTS" in refused(paths)
    # The array is shorter than its shape.
    paths[1].write_bytes(content.replace(b"\x08\x04\x08\x03", b"\x08\x04\x08\x63"))
    assert "cannot read" in refused(paths)
