"""Networks trained here, in int8: each format keeps their accuracy.

The digits are real; networks of inverted residuals, and one with norms, learn them in some seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import digits
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from shufflenet_deploy import codegen
from shufflenet_deploy.export.lowering_names import parse
from shufflenet_deploy.export.native.host_check import logits_on_host
from shufflenet_deploy.export.onnx import channels_last, fp32, int8
from shufflenet_deploy.export.onnx.file import OnnxFile
from shufflenet_deploy.export.tflite import writer
from shufflenet_deploy.export.tflite.file import TfliteFile
from shufflenet_deploy.export.tflite.lowering_plans import plan
from shufflenet_deploy.network.frontends.torch import trace
from shufflenet_deploy.network.quantization.calibration import calibrate
from shufflenet_deploy.records import Precision, Resolution

SIDE, BATCH, EPOCHS, PEAK_RATE = 16, 32, 3, 8e-3


class Gate(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, 8, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(8, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))


class InvertedResidual(nn.Module):
    """Expansion, depthwise 3x3 and a linear bottleneck, which is added without an activation."""

    def __init__(
        self, channels: int, out: int, stride: int, act: type[nn.Module], *, gated: bool
    ) -> None:
        super().__init__()
        wide = 4 * channels
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), act()),
            *(nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide)),
            act(),
            Gate(wide) if gated else nn.Identity(),
            *(nn.Conv2d(wide, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.adds = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return x + y if self.adds else y


class LayerNorm(nn.LayerNorm):
    """Of the channels of a map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A ConvNeXt block: a depthwise convolution, a norm, and an MLP along the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.mlp(y)).permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 2, 2), LayerNorm(16), Block(16)),
        *(LayerNorm(16), nn.Conv2d(16, 24, 2, 2), Block(24), nn.GroupNorm(4, 24)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)),
    )


def mobile(act: type[nn.Module], *, gated: bool) -> nn.Module:
    units = ((12, 12, 1), (12, 20, 2), (20, 20, 1))
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), act()),
        *(InvertedResidual(*unit, act, gated=gated) for unit in units),
        *(nn.Conv2d(20, 48, 1, bias=False), nn.BatchNorm2d(48), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 10)),
    )


#: Of each network: how it is made, and whether onnxruntime's integer operators have all it needs.
NETWORKS = {
    "mobilenet-v2": (lambda: mobile(nn.ReLU6, gated=False), True),
    "with-gates": (lambda: mobile(nn.ReLU, gated=True), True),
    "hard-swish-with-gates": (lambda: mobile(nn.Hardswish, gated=True), False),
    "silu": (lambda: mobile(nn.SiLU, gated=False), False),
    "convnext": (convnext, False),
}


def inputs(pictures: np.ndarray) -> torch.Tensor:
    grey = torch.from_numpy(pictures)[:, None].float() / 255
    large = functional.interpolate(grey, (SIDE, SIDE), mode="bilinear")
    return ((large - 0.3) / 0.37).repeat(1, 3, 1, 1)


def trained(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    made = make()
    images, labels = inputs(digits.TRAINING["pictures"]), digits.TRAINING["labels"]
    classes = torch.from_numpy(labels).long()
    optimizer = torch.optim.AdamW(made.parameters(), lr=PEAK_RATE, weight_decay=1e-2)
    steps = EPOCHS * math.ceil(len(images) / BATCH)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            loss = functional.cross_entropy(made(images[chosen]), classes[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return made.eval()


def in_every_format(
    module: nn.Module, images: list[np.ndarray], calibrating, folder, *, integer: bool
):
    """The logits of a module's int8 files for images, by format."""
    size = Resolution(height=SIDE, width=SIDE)
    graph = trace(module, size, "trained")
    ranges = calibrate(graph, calibrating)
    for core in ("cortex-a76", "host"):
        source = codegen.host_equivalent(graph, codegen.cpu_target_named(core), ranges)
        yield f"native for {core}", logits_on_host(source, images)
    path = folder / "net.tflite"
    writer.write_int8(graph, ranges, path)
    file = TfliteFile(path)
    yield "tflite", [file.run(image) for image in images]
    written = {"onnx": int8.quantize(fp32.convert(module, size), calibrating, "minmax")}
    if integer:
        choice = parse("channels-last", "onnx", Precision.INT8)
        written["onnx, channels last"] = channels_last.convert(graph, ranges, plan(choice))
    for name, model in written.items():
        path = folder / "net.onnx"
        path.write_bytes(model.SerializeToString())
        session = OnnxFile(path, threads=1)
        yield name, [session.run(image) for image in images]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_trained_network_loses_at_most_one_point(name, tmp_path):
    make, integer = NETWORKS[name]
    module = trained(make)
    labels = digits.HELD_OUT["labels"]
    images = inputs(digits.HELD_OUT["pictures"])
    with torch.inference_mode():
        wanted = module(images).argmax(1).numpy()
    accuracy = 100 * (wanted == labels).mean()
    assert accuracy > 90
    calibrating = [image[None].numpy() for image in inputs(digits.TRAINING["pictures"][::40])]
    ones = [image[None].numpy() for image in images]
    for made, logits in in_every_format(module, ones, calibrating, tmp_path, integer=integer):
        found = np.concatenate([one.reshape(1, -1) for one in logits]).argmax(1)
        assert 100 * (found == labels).mean() >= accuracy - 1, made
