"""Networks in files of other tools as modules: ``.pt2``, ``.onnx``, ``.prototxt``."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.own_network import FileConfig


def read(config: FileConfig) -> nn.Module:
    """The network of a file as a module in eval mode.

    Raises:
        UsageError: it cannot be read, or holds what no module can do.
    """
    raise UsageError(f"{config} cannot be read: no reader for {Path(config.file).suffix}")
