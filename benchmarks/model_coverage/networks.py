"""The networks that are counted: the first of each family of pytorchcv, and sixty of timm's.

pytorchcv is installed with the other tools of development. timm needs torchvision, of which the
wheel brings operators for CUDA; both go into a folder of their own, and no operator is ever called.
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import platformdirs
import torch
from torch import nn

#: Releases that belong to the PyTorch of constraints.txt.
TIMM = "timm==1.0.31"
_TORCHVISION = "torchvision==0.28.0"

#: Convolutional classifiers of timm, at most 60 million parameters, from most of its families.
TIMM_NETWORKS = (
    *("convmixer_768_32", "convnext_atto", "cs3darknet_focus_m", "cspresnet50", "darknet53"),
    *("densenet121", "dla34", "dla46_c", "dpn68", "ecaresnet26t", "edgenext_xx_small"),
    *("efficientnet_b0", "efficientnet_es", "efficientnet_lite0", "ese_vovnet19b_dw"),
    *("fasternet_t0", "fbnetc_100", "fbnetv3_b", "gernet_s", "ghostnet_100", "ghostnetv2_100"),
    *("hardcorenas_a", "hgnet_tiny", "hgnetv2_b0", "hrnet_w18_small", "inception_next_atto"),
    *("inception_resnet_v2", "inception_v3", "inception_v4", "lcnet_050", "legacy_seresnet18"),
    *("legacy_xception", "mixnet_s", "mnasnet_100", "mobilenetv1_100", "mobilenetv2_100"),
    *("mobilenetv3_large_100", "mobilenetv3_small_100", "mobilenetv4_conv_small", "mobileone_s0"),
    *("nf_regnet_b0", "poolformer_s12", "regnetx_002", "regnety_002", "regnetz_005"),
    *("repghostnet_050", "repvgg_a0", "repvit_m0_9", "res2net50_14w_8s", "resnest14d"),
    *("resnet18", "resnetv2_18", "resnext50_32x4d", "rexnet_100", "selecsls42", "skresnet18"),
    *("spnasnet_100", "starnet_s1", "tinynet_e", "xception41"),
)

#: Modules of pytorchcv that hold other things than image classifiers.
_OTHER_TASKS = {
    *("alphapose_coco", "bisenet", "centernet", "cgnet", "contextnet", "dabnet", "danet"),
    *(
        "deeplabv3",
        "edanet",
        "enet",
        "erfnet",
        "esnet",
        "fastscnn",
        "fcn8sd",
        "fpenet",
        "ibppose_coco",
    ),
    *("icnet", "jasper", "jasperdr", "lednet", "lffd", "linknet", "lwopenpose_cmupan", "nvpattexp"),
    *(
        "pfpcnet",
        "prnet",
        "pspnet",
        "quartznet",
        "segnet",
        "simplepose_coco",
        "simpleposemobile_coco",
    ),
    *("sinet", "sqnet", "superpointnet", "unet", "voca", "ntsnet_cub"),
}

#: More parameters than this are no small network.
MOST_PARAMETERS = 60_000_000

#: Images that the statistics of normalisations are taken from.
_IMAGES = 8

Source = Literal["pytorchcv", "timm"]


@dataclass(frozen=True)
class Network:
    """A network of others by name; ``classifier`` is whether it maps an image to logits."""

    source: Source
    name: str
    classifier: bool = True

    def build(self, side: int) -> tuple[nn.Module, tuple[int, int], int]:
        """The module in eval mode, its input's height and width, and its input's channels.

        Of pytorchcv those for one size alone are made for ``side`` pixels at most.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.source == "timm":
                find_timm()
                timm = importlib.import_module("timm")
                module: nn.Module = timm.create_model(self.name).eval()
                channels, height, width = cast("Any", module).default_cfg["input_size"]
                return module, (height, width), channels
            np.int = int  # type: ignore[attr-defined]  # pytorchcv is older than its removal
            provider = importlib.import_module("pytorchcv.model_provider")
            module = provider.get_model(self.name).eval()
            own = getattr(module, "in_size", (224, 224))
            size = (int(own[0]), int(own[1]))
            if max(size) > side and getattr(module, "fixed_size", False):
                size = (min(size[0], side), min(size[1], side))
                module = provider.get_model(self.name, in_size=size).eval()
        return module, size, _channels(module)


def _channels(module: nn.Module) -> int:
    """The channels of the image, which a network of pytorchcv may state in its first layer only."""
    first = next((one for one in module.modules() if isinstance(one, nn.Conv2d)), None)
    stated = getattr(module, "in_channels", 3 if first is None else first.in_channels)
    return int(stated)


def pytorchcv_networks() -> Iterator[Network]:
    """The first network of each of pytorchcv's families (its modules), classifiers first."""
    provider = importlib.import_module("pytorchcv.model_provider")
    first: dict[str, str] = {}
    for name, make in provider._models.items():  # noqa: SLF001 - the only list there is
        first.setdefault(make.__module__.rpartition(".")[2], name)
    families = sorted(first, key=lambda family: family in _OTHER_TASKS)
    return (Network("pytorchcv", first[one], one not in _OTHER_TASKS) for one in families)


def timm_networks() -> Iterator[Network]:
    """The listed networks of timm."""
    return (Network("timm", name) for name in TIMM_NETWORKS)


@functools.cache
def find_timm() -> None:
    """Let ``import timm`` work in this process; it is installed into a folder on first use."""
    folder = Path(platformdirs.user_cache_dir("shufflenet-deploy")) / "timm"
    if not (folder / "timm").is_dir():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), TIMM, _TORCHVISION], check=True)
    sys.path.append(str(folder))
    for name in ("nms", "qnms"):
        operator = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", operator)


def drawn(source: Source, name: str, height: int, width: int) -> nn.Module:
    """A network as a callable of ``--model``: weights and statistics of torch's generator."""
    module, _, channels = Network(source, name).build(max(height, width))
    draw_statistics(module, (channels, height, width))
    return module


def draw_statistics(module: nn.Module, shape: tuple[int, int, int]) -> None:
    """Normalisation that matters, so that folding it wrongly shows.

    Scales and offsets are drawn; means and variances are those of random images (C, H, W). Drawn
    ones would let values grow until float32 itself loses most of the digits of an output.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.7, 1.4)
            nn.init.normal_(norm.bias, std=0.1)
        norm.momentum = None
    if not norms:
        return
    module.train()
    try:
        with torch.no_grad():
            module(_images(shape))
    finally:
        module.eval()


def _images(shape: tuple[int, int, int]) -> torch.Tensor:
    """Random images that differ in the large, as photographs do, and not in every pixel alone."""
    channels, height, width = shape
    coarse = torch.randn(_IMAGES, channels, 5, 5)
    spread = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return torch.randn(_IMAGES, channels, 1, 1) + spread + 0.3 * torch.randn(_IMAGES, *shape)
