"""Cards and the architectures they describe: everything about a model except its weights.

A card is one TOML file: ``models/NAME.toml`` for what is shipped, or a file that
``shufflenet-deploy import`` wrote next to the weights it describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from shufflenet_deploy.atomic_files import read_toml
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.names import FileName, Line, ModelName, check_file_name
from shufflenet_deploy.records import Record, Resolution, ResolutionText, first_problem
from shufflenet_deploy.zoo.config import Description, Preprocessing
from shufflenet_deploy.zoo.config_limits import Head
from shufflenet_deploy.zoo.own_network import FileConfig, PythonConfig

if TYPE_CHECKING:
    from torch import nn


class PaperFigures(Record):
    """Figures of the paper: ImageNet top-1 error, complexity, Snapdragon 820 latencies."""

    tables: str
    mega_multiply_adds: float | None = None
    top1_error_percent: float | None = None
    latency_ms: dict[str, float] = Field(default_factory=dict)


class Counts(Record):
    """Parameters and multiply-adds at the default resolution, so that listing needs no torch."""

    parameters: int
    multiply_adds: int


class StoredWeights(Record):
    """Weights next to their card: file name, sha256, and the file they came from."""

    file: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    source: Line
    layout: Line


class Architecture(Record):
    """A network, its preprocessing, and the paper's figures for it.

    ``source`` is where the definition comes from; ``weights`` is set in cards of imported
    weights only, and ``folder`` is then the card's own folder.
    """

    name: ModelName
    title: Line
    source: Line
    aliases: tuple[ModelName, ...] = ()
    resolution: ResolutionText = Resolution(height=224, width=224)
    description: Description
    preprocessing: Preprocessing = Preprocessing()
    paper: PaperFigures | None = None
    counts: Counts | None = None
    weights: StoredWeights | None = None
    folder: Path | None = Field(default=None, exclude=True)

    def build(self, head: Head | str = Head.FIXED) -> nn.Module:
        """The network with torch's own random weights; ``zoo.load`` replaces them."""
        module = self.description.build(Head(head))
        if Head(head) is Head.NONE:
            from shufflenet_deploy.zoo.classifier import remove_head

            remove_head(module, self.name)
        return module

    @property
    def is_own(self) -> bool:
        """True for a network of the user's code or file, which the zoo cannot describe."""
        return isinstance(self.description, PythonConfig | FileConfig)

    @property
    def network_identity(self) -> str:
        """Text that differs where the network does, wherever its card, code or file lies."""
        described = self.description
        if isinstance(described, PythonConfig | FileConfig):
            return described.identity()
        return described.model_dump_json()


def read_card(path: Path) -> Architecture:
    """The architecture that a card describes.

    Raises:
        UsageError: the file cannot be read, is not TOML, or is not a card.
    """
    fields = read_toml(path, what="the card")
    if "folder" in fields:
        raise UsageError(f"{path} is not a valid card: folder: a card's folder is where it lies")
    try:
        return _located(Architecture.model_validate({**fields, "folder": path.parent}))
    except (UsageError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} is not a valid card: {first_problem(error)}") from error


def _located(card: Architecture) -> Architecture:
    """``card`` with the path of its code or file, which lies in the card's own folder."""
    description = card.description
    if not isinstance(description, PythonConfig | FileConfig) or card.folder is None:
        return card
    folder = card.folder.absolute()
    changes = {
        field: str(folder / check_file_name(name))
        for field in ("code", "file", "weights")
        if (name := getattr(description, field, None)) is not None
        and (field != "code" or name.endswith(".py"))
    }
    return card.model_copy(update={"description": description.model_copy(update=changes)})


def card_text(architecture: Architecture) -> str:
    """The card of ``architecture``: TOML that ``read_card`` reads back to the same value."""
    import tomli_w

    fields = architecture.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    description = architecture.description.model_dump(mode="json", exclude_defaults=True)
    fields["description"] = {"family": architecture.description.family} | description
    return tomli_w.dumps(fields)
