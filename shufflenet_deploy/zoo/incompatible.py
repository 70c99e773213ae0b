"""Checkpoints of well-known networks that the zoo does not have, and keys that distinguish them."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: (keys that must all be found, whose it is and what differs)
_INCOMPATIBLE: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        (r"stage2\.0\.conv1\.weight", r"stage2\.0\.conv3\.weight"),
        "a ShuffleNet whose 3x3 convolutions are not depthwise (xingmimfl's)",
    ),
    (
        (r"layer1\.2\.conv1\.weight", r"layer4\.0\.conv1\.weight"),
        "a ResNet of more than 18 layers",
    ),
    (
        (r"features\.stage1\.unit1\.dw_conv4\.weight", r"features\.stage1\.unit1\..*conv5\.weight"),
        "ShuffleNet v2 (pytorchcv's)",
    ),
    ((r"features\.stage1\.unit1\.s_merge_conv\.weight",), "a MENet"),
    ((r"features\.1\.0\.block\.0\.0\.weight",), "an EfficientNet"),
    ((r"blocks\.0\.0\.conv_dw\.weight",), "a MobileNet or EfficientNet of timm's"),
    ((r"features\.denseblock1\.denselayer1\.conv1\.weight",), "a DenseNet"),
    ((r"Mixed_5b\.branch1x1\.conv\.weight",), "Inception v3"),
    ((r"blocks\.0\.attn\.qkv\.weight",), "a vision transformer"),
    ((r"encoder\.layers\.encoder_layer_0\..*",), "a vision transformer"),
)


def incompatible_network(keys: Iterable[str]) -> str | None:
    """Name the network of ``keys``, when it is a known one that the zoo does not have."""
    found = tuple(keys)

    def has(expression: str) -> bool:
        return any(re.fullmatch(expression, key) for key in found)

    for wanted, description in _INCOMPATIBLE:
        if all(map(has, wanted)):
            return description
    return None
