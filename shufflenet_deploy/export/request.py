"""Export requests, and the cache key under which the file of a request is found.

Nothing here imports a framework: the key of an export that was already done must cost
milliseconds, so tool versions are read from package metadata.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

import shufflenet_deploy
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats, precisions, sources, tuning_table
from shufflenet_deploy.export.file_format import FileFormat
from shufflenet_deploy.export.image_set import ImageSet
from shufflenet_deploy.export.lowering_names import AUTO, Choice, parse
from shufflenet_deploy.records import CalibrationMethod, Format, Precision, Record, ResolutionText
from shufflenet_deploy.zoo import Architecture

CALIBRATION_METHODS: tuple[str, ...] = get_args(CalibrationMethod)

#: Quantization fallbacks when an int8 file misses its tolerances: other recipes, or none.
Remedies = Literal["auto", "none"]
REMEDIES: tuple[str, ...] = get_args(Remedies)

#: What writes a TFLite file. ONNX files always come from ``torch.onnx``.
Converter = Literal["direct", "litert-torch", "onnx2tf"]
CONVERTERS: tuple[str, ...] = get_args(Converter)

#: What a network makes of its last feature map; see ``zoo.Head``.
Head = Literal["fixed", "dense", "none"]
HEADS: tuple[str, ...] = get_args(Head)

#: Prefix of progress messages on what was chosen among, or left out of, a file of weights.
NOTE = "note: "

#: Families with fully connected layers behind a map, for which the head is a choice.
_HEADED_FAMILIES = ("alexnet", "vgg", "pvanet")

#: Hexadecimal digits of a digest in a file name.
_DIGEST_DIGITS = 8


#: Bounds of what a module's own rounding allows an fp32 file, and four times a noise in dB.
_LEAST_FP32_SQNR_DB = 40.0
_MOST_FP32_RELATIVE_DIFF = 1e-2
_FOURFOLD_DB = 12.0


class Tolerances(Record):
    """Tolerances that an exported file must meet on held-out images to count as valid.

    Untrained weights have tolerances of their own. Their logits are nearly the same for every
    image, so the quantisation noise of int8 or fp16 is large next to the signal, and rounding
    decides the top class: for them the tolerances only separate a rounded network from a wrong one,
    and agreement is reported but not checked.
    """

    fp32_relative_diff: float = Field(default=1e-3, ge=0)
    fp32_sqnr_db: float = 60.0
    fp16_sqnr_db: float = 30.0
    #: 30 dB of SQNR leave 0.9995: this one decides only where that minimum was lowered.
    fp16_cosine: float = 0.999
    #: Another class comes first only where the best two have nearly the same logit: that may be one
    #: image of eight, which is how many ship with the package.
    fp16_top1_agreement: float = 0.85
    int8_sqnr_db: float = 10.0
    int8_cosine: float = 0.95
    int8_top1_agreement: float = 0.6
    #: MobileNets in fp16, the worst of the zoo, reach 18 dB and 0.993.
    fp16_untrained_sqnr_db: float = 12.0
    fp16_untrained_cosine: float = 0.97
    untrained_sqnr_db: float = 2.0
    untrained_cosine: float = 0.9

    def sqnr_db(self, precision: Precision, *, trained: bool) -> float:
        """Minimum SQNR of a file against the module, in dB."""
        if precision is Precision.FP32:
            return self.fp32_sqnr_db
        if precision is Precision.FP16:
            return self.fp16_sqnr_db if trained else self.fp16_untrained_sqnr_db
        return self.int8_sqnr_db if trained else self.untrained_sqnr_db

    def beside_float32(self, sqnr_db: float, relative_diff: float) -> Tolerances:
        """Those for a module whose own float32 is so far from float64.

        A file adds up in another order, and may lose as much again: four times that is allowed,
        down to a bound. Tolerances that the user chose stay as they are.
        """
        usual, changes = Tolerances(), {}
        if self.fp32_sqnr_db == usual.fp32_sqnr_db:
            allowed = max(_LEAST_FP32_SQNR_DB, sqnr_db - _FOURFOLD_DB)
            changes["fp32_sqnr_db"] = min(self.fp32_sqnr_db, allowed)
        if self.fp32_relative_diff == usual.fp32_relative_diff:
            allowed = min(_MOST_FP32_RELATIVE_DIFF, 4 * relative_diff)
            changes["fp32_relative_diff"] = max(self.fp32_relative_diff, allowed)
        return self.model_copy(update=changes)

    def cosine(self, precision: Precision, *, trained: bool) -> float:
        """Minimum cosine of a rounded file's logits with the module's."""
        if precision is Precision.FP16:
            return self.fp16_cosine if trained else self.fp16_untrained_cosine
        return self.int8_cosine if trained else self.untrained_cosine

    def top1_agreement(self, precision: Precision) -> float:
        """Minimum top-1 agreement of a rounded file with the module, as a share of images."""
        return self.fp16_top1_agreement if precision is Precision.FP16 else self.int8_top1_agreement


class ExportRequest(Record):
    """One file to be made: a model at one resolution, in one format and precision.

    ``weights`` is a checkpoint, None for a seeded initialisation. ``calibration`` is a folder of
    images, None for those that ship with this package. ``machine`` is the core that a native file
    is for. ``runtime`` and ``core`` are what another file is for: the lowering ``auto`` is then the
    best that was found there. ``weights_digest`` and ``recipe_digest`` are set by ``named``: they
    distinguish the names of files that differ only in weights, or in how they were made int8.
    ``labels`` is a file of class names, None for ImageNet's.
    """

    model: str
    weights: Path | None = None
    seed: int = 0
    head: Head = "fixed"
    format: Format
    precision: Precision = Precision.FP32
    resolution: ResolutionText
    converter: Converter = "direct"
    machine: str = "generic"
    lowering: str = AUTO
    runtime: str = tuning_table.ANY
    core: str = tuning_table.ANY
    calibration: Path | None = None
    calibration_method: CalibrationMethod = "minmax"
    labels: Path | None = None
    remedies: Remedies = "auto"
    tolerances: Tolerances = Tolerances()
    out: Path = Path("artifacts")
    weights_digest: str = ""
    recipe_digest: str = ""

    @property
    def writer(self) -> str:
        """Converter that writes the file; only TFLite has a choice."""
        return self.kind.writer(self.converter)

    @property
    def kind(self) -> FileFormat:
        """The properties of the format.

        Raises:
            UsageError: there is no such format.
        """
        return formats.get(self.format)

    @property
    def choice(self) -> Choice:
        """The lowering, parsed; ``auto`` resolved.

        Raises:
            UsageError: there is no such lowering of such files.
        """
        name = tuning_table.resolved(
            self.lowering,
            self.format,
            self.precision,
            self.model,
            runtime=self.runtime,
            core=self.core,
        )
        return parse(name, self.format, self.precision)

    @property
    def path(self) -> Path:
        """The absolute path of the file; what differs from the defaults is part of its name."""
        parts = [self.model]
        if self.weights_digest:
            parts.append(self.weights_digest)
        if self.head != "fixed":
            parts.append(self.head)
        parts += self.kind.name_words(self)
        parts += [str(self.resolution), self.precision.value]
        if self.recipe_digest:
            parts.append(self.recipe_digest)
        stem = "-".join(parts)
        return self.out.expanduser().absolute() / f"{stem}.{formats.get(self.format).ending}"


def normalised(request: ExportRequest, architecture: Architecture) -> ExportRequest:
    """Canonical form of a request: the model's name instead of an alias or the path of a card,
    no dense head where the model has none, and the machine that an alias means.

    Raises:
        UsageError: there is no such machine, a precision that such files do not come in, or a
            lowering for a converter that has none.
    """
    precisions.check(request.precision, request.format, request.machine)
    changes = {"model": architecture.name, **request.kind.settled(request)}
    if architecture.description.family not in _HEADED_FAMILIES and request.head == "dense":
        changes["head"] = "fixed"
    return request.model_copy(update=changes)


def named(
    request: ExportRequest, weights: str, images: ImageSet, *, own_network: bool
) -> ExportRequest:
    """The same request with digests in its file name for what the rest of the name does not state.

    A known network with untrained weights of seed 0, and an int8 recipe of defaults, have none.
    ``weights`` is the identity of the weights: of a checkpoint its sha256, whose first digits the
    name takes. ``own_network`` is True where a card of the user's own describes the network.
    """
    plain = request.weights is None and request.seed == 0 and not own_network
    return request.model_copy(
        update={
            "weights_digest": "" if plain else weights[:_DIGEST_DIGITS],
            "recipe_digest": _recipe_digest(request, images),
        }
    )


def _recipe_digest(request: ExportRequest, images: ImageSet) -> str:
    """Digest of the int8 options that differ from the defaults; "" when none does.

    It is in the names of files, which are found again as long as no word of its text changes.
    """
    if request.precision is not Precision.INT8:
        return ""
    usual = Tolerances()
    facts: dict[str, object] = {
        "method": request.calibration_method,
        "remedies": request.remedies,
        # Tolerances decide which fallback is kept.
        "floors": {
            name: value for name, value in request.tolerances if value != getattr(usual, name)
        },
        "pictures": None if request.calibration is None else images.fingerprint,
    }
    if facts == {"method": "minmax", "remedies": "auto", "floors": {}, "pictures": None}:
        return ""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:_DIGEST_DIGITS]


def options(request: ExportRequest) -> dict[str, str]:
    """Options that distinguish this file from others of its model, format, precision and size."""
    chosen: dict[str, str] = {}
    if request.model.startswith(_HEADED_FAMILIES) or request.head == "none":
        chosen["head"] = request.head
    return chosen | request.kind.options(request)


def tool_versions(request: ExportRequest) -> dict[str, str]:
    """Versions of everything that the file's bytes depend on, this package included."""
    tools = formats.distribution_versions(request.kind.tools)
    tools["shufflenet-deploy"] = shufflenet_deploy.__version__
    return tools | request.kind.versions(request)


def identity(request: ExportRequest, weights: str, images: ImageSet, network: str = "") -> str:
    """The key of an export: equal keys mean equal files.

    ``weights`` is the identity of the weights, ``network`` what describes layers and preprocessing.
    """
    facts: dict[str, object] = {
        "weights": weights,
        "network": network,
        "model": request.model,
        "head": request.head,
        "format": request.format,
        "precision": request.precision.value,
        "resolution": str(request.resolution),
        "converter": request.writer,
        "tools": tool_versions(request),
        "sources": sources.digest(request.format),
        "pictures": images.fingerprint,
        "calibration_method": request.calibration_method,
        "remedies": request.remedies,
        "tolerances": request.tolerances.model_dump(),
        "labels": _labels_digest(request.labels),
    }
    if request.precision is not Precision.INT8:
        del facts["calibration_method"], facts["remedies"]
    facts |= request.kind.key(request)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _labels_digest(labels: Path | None) -> str | None:
    try:
        return None if labels is None else sha256_file(labels)
    except OSError as error:
        raise UsageError(f"--labels {labels}: {error.strerror}") from error
