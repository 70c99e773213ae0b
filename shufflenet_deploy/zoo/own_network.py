"""Descriptions of networks that are not the zoo's: built by the user's code, or read from a file.

Like a family of ``config``, each is a frozen record that cards and requests carry. None of them
holds numbers: those come from ``--weights``, or from the described file itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shufflenet_deploy.bounded import Name, Text
from shufflenet_deploy.records import Record, Sha256
from shufflenet_deploy.zoo.config_limits import ImageChannels

if TYPE_CHECKING:
    from torch import nn

#: Suffixes of files that hold a network.
NETWORK_FILES = (".pt2", ".onnx", ".prototxt")


class PythonConfig(Record):
    """A network that a callable of the user's own code returns.

    ``code`` is the path of a ``.py`` file, or a dotted module; ``sha256`` is over the source as
    ``source_digest`` finds it. ``arguments`` are keyword arguments as they were typed. ``channels``
    and ``classes`` are None until the network is built, unless the user states the former.
    """

    family: Literal["python"] = "python"
    code: Text
    function: Name
    arguments: dict[Name, Text] = Field(default_factory=dict)
    sha256: Sha256
    channels: ImageChannels | None = None
    classes: int | None = None

    def __str__(self) -> str:
        return f"{self.code}:{self.function}"

    def identity(self) -> str:
        """All that decides the network, without the place where its code lies."""
        facts = (self.function, sorted(self.arguments.items()), self.sha256, self.channels)
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    def build(self, head: str = "fixed") -> nn.Module:
        """Run the user's code; ``head`` is of no concern to it."""
        del head
        from shufflenet_deploy.zoo.python_code import build

        return build(self)


class FileConfig(Record):
    """A network in a file of another tool: ``.pt2``, ``.onnx``, or ``.prototxt`` (Caffe).

    ``weights`` is the ``.caffemodel`` of a ``.prototxt``; ``sha256`` is over the bytes of both.
    """

    family: Literal["file"] = "file"
    file: Text
    weights: Text | None = None
    sha256: Sha256
    channels: ImageChannels | None = None
    classes: int | None = None

    def __str__(self) -> str:
        return self.file

    def identity(self) -> str:
        """All that decides the network, without the place where its file lies."""
        return hashlib.sha256(repr((self.sha256, self.channels)).encode()).hexdigest()

    def build(self, head: str = "fixed") -> nn.Module:
        """Read the file; ``head`` is of no concern to it."""
        del head
        from shufflenet_deploy.zoo.network_files import read

        return read(self)
