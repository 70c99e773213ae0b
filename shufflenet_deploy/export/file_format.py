"""The properties of one file format; each is ``FORMAT`` in ``export/NAME/format.py``.

``formats`` finds them. Everything that differs between formats is asked of this interface; what is
asked before anything is built (names, precisions, keys) needs no framework.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Artifact, OperatorTiming, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.export.inspection.contents import Contents
    from shufflenet_deploy.export.job import Job, Written
    from shufflenet_deploy.export.parity import ExportedFile
    from shufflenet_deploy.export.profile_attribution import Network
    from shufflenet_deploy.export.request import ExportRequest
    from shufflenet_deploy.network.metadata import Metadata
    from shufflenet_deploy.zoo.model import Model


class FileFormat(ABC):
    """A file format; its files end in ``.NAME`` unless ``ending`` says otherwise."""

    #: As ``--fmt`` and records name it.
    name: ClassVar[str]
    #: As prose names it.
    title: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32, Precision.INT8)
    #: The runtime that a file runs in where none was asked for.
    runtime: ClassVar[str]
    #: Distributions whose version may change the bytes of a file or its validation.
    tools: ClassVar[tuple[str, ...]]
    #: The axes of an image as its files take it.
    layout: ClassVar[Literal["NCHW", "NHWC"]] = "NCHW"
    #: Endings of what its files can be unpacked into, and how a file is made of it again.
    parts: ClassVar[Mapping[str, str]] = {}
    #: True for what ``export`` makes where no format is asked for.
    is_usual: ClassVar[bool] = False
    #: True where files of anybody's making can be measured as they are.
    is_measured_as_is: ClassVar[bool] = True
    #: True where a file is a program for one kind of core: ``--machine`` names it.
    is_program: ClassVar[bool] = False
    #: True where a file shows the values of its layers: ``load`` gives a ``parity.LayeredFile``.
    shows_layers: ClassVar[bool] = False
    #: True where layers of an int8 file may stay in float: ``opened`` shows the values of all.
    is_mixed: ClassVar[bool] = False
    #: What each precision can be lowered to, plainest first; see ``lowering_names``.
    lowerings: ClassVar[Mapping[Precision, tuple[str, ...]]] = {}

    @property
    def ending(self) -> str:
        """The ending of its files, without the dot."""
        return self.name

    # --- requests, names and keys ---------------------------------------------------------------

    def precisions_on(self, machine: str | None) -> tuple[Precision, ...]:
        """Precisions that a core computes in; ``machine`` is None where it is not known yet."""
        del machine
        return self.precisions

    def check(self, precision: Precision, machine: str | None) -> None:
        """Refuse a precision of this format that the core does not compute in.

        Raises:
            UsageError: it does not.
        """
        del precision, machine

    def writer(self, converter: str) -> str:
        """The converter of a file; only TFLite has a choice."""
        del converter
        return self.name

    def has_recipes(self, writer: str) -> bool:
        """True where the writer takes another int8 recipe than the first."""
        del writer
        return False

    def settled(self, request: ExportRequest) -> dict[str, str]:
        """Fields of the request in their canonical form.

        Raises:
            UsageError: an option that such files do not have.
        """
        if request.lowering != "auto":
            raise UsageError(
                f"--lowering {request.lowering}: {request.writer} files leave no choice"
            )
        return {}

    def name_words(self, request: ExportRequest) -> list[str]:
        """Words of the file's name for options of this format that are not the default."""
        del request
        return []

    def options(self, request: ExportRequest) -> dict[str, str]:
        """The same options, for the record."""
        del request
        return {}

    def key(self, request: ExportRequest) -> dict[str, object]:
        """Further inputs of a file's bytes, beyond those of every format."""
        del request
        return {}

    def versions(self, request: ExportRequest) -> dict[str, str]:
        """Versions of tools that are no distributions of this environment."""
        del request
        return {}

    # --- making -----------------------------------------------------------------------------------

    @abstractmethod
    def write(self, job: Job) -> Written:
        """Make the file ``job.path``.

        Raises:
            ExportError: the network cannot be converted.
            UsageError: a converter cannot be had here.
        """

    def opened(self, job: Job) -> ExportedFile:
        """The file that was just made, in its runtime.

        Raises:
            ExportError: the runtime refuses it.
        """
        return self.load(job.path)

    # --- files that are there ---------------------------------------------------------------------

    @abstractmethod
    def recognises(self, start: bytes, end: bytes) -> bool:
        """True for a file of this format, by its first and last ``formats.MARK_BYTES`` bytes."""

    @abstractmethod
    def load(self, path: Path) -> ExportedFile:
        """A file in its runtime, on one thread.

        Raises:
            ExportError: the runtime refuses it.
        """

    def of_artifact(self, artifact: Artifact, model: Model) -> ExportedFile:
        """An exported file in its runtime; ``model`` is what it was made of."""
        del model
        return self.load(artifact.path)

    @abstractmethod
    def read(self, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
        """The contents of a file; ``shapes`` are those of inputs that it leaves open.

        Raises:
            UsageError: it has no such inputs.
            MALFORMED: it is damaged.
        """

    def metadata(self, path: Path) -> Metadata | None:
        """The preprocessing of a file, from its own metadata; None without.

        Raises:
            MALFORMED: it is damaged.
        """
        del path
        return None

    def attributed(
        self, operators: Sequence[OperatorTiming], artifact: Artifact, net: Network
    ) -> Sequence[OperatorTiming]:
        """A profile's operators with the layers of the network that they compute.

        By default an operator carries its layer's name.
        """
        del artifact
        return [one.model_copy(update={"layer": net.owners.get(one.name)}) for one in operators]
