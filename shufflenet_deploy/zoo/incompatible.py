"""Checkpoints that are often taken for the paper's ShuffleNet, and keys that distinguish them."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: (keys that must all be found, keys that must not, whose it is and what differs)
_INCOMPATIBLE: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (
        (r"layer1\.0\.conv3\.weight", r"layer3\.\d+\.bn3\.weight", r"linear\.weight"),
        (r"layer4\..*",),
        "kuangliu/pytorch-cifar's ShuffleNet: a 1x1 stem, bottlenecks of (out - in) / 4",
    ),
    (
        (r"stage2\.0\.conv1\.weight", r"stage2\.0\.conv3\.weight"),
        (),
        "a ShuffleNet whose 3x3 convolutions are not depthwise (xingmimfl's)",
    ),
    (
        (r"resx1_conv1\.weight",),
        (),
        "farmingyard's ShuffleNet: bottlenecks of (out - in) / 4 and pools that round up",
    ),
    (
        (r"gpu_0/conv3_0_w_0",),
        (),
        "the ONNX model zoo's ShuffleNet: four groups without bottlenecks",
    ),
    (
        (r"stage2/block0/.*",),
        (),
        "tensorpack's ShuffleNet: TensorFlow's padding and widths rounded up to 4 x groups",
    ),
    (
        (r"stage2\.0\.branch1\.0\.weight", r"conv5\.0\.weight"),
        (),
        "ShuffleNet v2",
    ),
    (
        (r"features\.\d+\.branch_main\.\d+\.weight",),
        (),
        "ShuffleNet v2 (megvii's)",
    ),
    (
        (r"layer1\.0\.conv1\.weight", r"layer4\.0\.conv1\.weight"),
        (),
        "a ResNet",
    ),
    (
        (r"features\.stage1\.unit1\.dw_conv4\.weight", r"features\.stage1\.unit1\..*conv5\.weight"),
        (),
        "ShuffleNet v2 (pytorchcv's)",
    ),
    ((r"features\.stage1\.unit1\.s_merge_conv\.weight",), (), "a MENet"),
    ((r"features\.1\.conv\.0\.0\.weight",), (), "MobileNet v2"),
    ((r"features\.1\.block\.0\.0\.weight",), (), "MobileNet v3"),
    ((r"features\.1\.0\.block\.0\.0\.weight",), (), "an EfficientNet"),
    ((r"blocks\.0\.0\.conv_dw\.weight",), (), "a MobileNet or EfficientNet of timm's"),
    ((r"features\.denseblock1\.denselayer1\.conv1\.weight",), (), "a DenseNet"),
    ((r"Mixed_5b\.branch1x1\.conv\.weight",), (), "Inception v3"),
    ((r"blocks\.0\.attn\.qkv\.weight",), (), "a vision transformer"),
    ((r"encoder\.layers\.encoder_layer_0\..*",), (), "a vision transformer"),
)


def incompatible_network(keys: Iterable[str]) -> str | None:
    """Name the network of ``keys``, when it is a known one that the zoo does not have."""
    found = tuple(keys)

    def has(expression: str) -> bool:
        return any(re.fullmatch(expression, key) for key in found)

    for wanted, unwanted, description in _INCOMPATIBLE:
        if all(map(has, wanted)) and not any(map(has, unwanted)):
            return description
    return None
