"""Image classification with an exported file, from its own metadata.

A check by eye: the same steps as ``docs/deploying.md`` describes for apps.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shufflenet_deploy.errors import ExportError, UsageError
from shufflenet_deploy.export import image_set, manifest, metadata
from shufflenet_deploy.export.inspection import native
from shufflenet_deploy.export.inspection.contents import kind_of
from shufflenet_deploy.network.graph import FloatArray
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Format, Record, Resolution, TensorSpec
from shufflenet_deploy.zoo import Preprocessing

#: Version of ``Classification``; raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1

_TIMEOUT_SECS = 600
#: Batch and classes.
_LOGITS_AXES = 2
#: The emulator for a program's processor, by the number of it in the head of an ELF file.
_EMULATORS = {0x28: "qemu-arm", 0x3E: "qemu-x86_64", 0xB7: "qemu-aarch64"}
_MACHINE_AT = 18


class Guess(Record):
    """One class: its index in the output, its name where it is known, and its probability."""

    index: int
    name: str | None
    probability: float


class Classification(Record):
    """The most probable classes of one image, the first one first."""

    schema_version: int = SCHEMA_VERSION
    file: Path
    model: str
    trained: bool
    image: Path
    classes: tuple[Guess, ...]


def classify(
    path: Path, image: Path, *, top: int = 5, labels: Path | None = None
) -> Classification:
    """Classify ``image`` with ``path`` (ONNX, TFLite or a native program).

    The image is prepared as the file's metadata state; softmax makes probabilities of its logits.

    Args:
        path: an exported file.
        image: any file that Pillow can decode.
        top: number of classes to return.
        labels: names of the classes, one per line, in place of the file's own.

    Raises:
        UsageError: the file is none of ours or has no metadata on its input, or the image cannot
            be decoded.
        ExportError: the file cannot be run here.
    """
    kind = kind_of(path)
    known = _metadata(path, kind) or _of_manifest(path)
    if known is None:
        raise UsageError(f"{path} has no metadata on its input: export it again")
    if known.output != "logits":
        raise UsageError(
            f"{path} ends in a feature map and tells no classes; export it without --head none"
        )
    size = Resolution(height=known.input_height, width=known.input_width)
    pixels = image_set.read(image, size, crop_share=known.crop_fraction)
    logits = _run(path, kind, image_set.prepare(pixels, _preprocessing(known)))
    names = known.class_names
    if labels is not None:
        names = metadata.class_names(labels, logits.size)
    if names and len(names) != logits.size:
        raise UsageError(f"{path} names {len(names)} classes and outputs {logits.size}")
    probabilities = _softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:top]
    return Classification(
        file=path,
        model=known.model,
        trained=known.trained,
        image=image,
        classes=tuple(
            Guess(
                index=int(index),
                name=names[index] if names else None,
                probability=float(probabilities[index]),
            )
            for index in best
        ),
    )


def _preprocessing(known: Metadata) -> Preprocessing:
    return Preprocessing(
        channel_order=known.channel_order,
        value_range=known.value_range,
        mean=known.mean,
        std=known.std,
    )


def _softmax(logits: FloatArray) -> FloatArray:
    if not np.isfinite(logits).all():
        raise ExportError("the file outputs numbers that are not finite: export it again")
    powers = np.exp(logits.astype(np.float64) - logits.max())
    result: FloatArray = powers / powers.sum()
    return result


def _of_manifest(path: Path) -> Metadata | None:
    found = manifest.read(path)
    return found.metadata if found is not None and manifest.matches(path, found) else None


def _metadata(path: Path, kind: Format) -> Metadata | None:
    if kind is Format.NATIVE:
        return native.read(path).metadata
    if kind is Format.TFLITE:
        return _in_tflite(path)
    properties = _session(path).get_modelmeta().custom_metadata_map
    return metadata.from_properties(properties)


def _in_tflite(path: Path) -> Metadata | None:
    """The entry in the file's metadata; constants are not read."""
    import struct  # noqa: PLC0415

    from ai_edge_litert import schema_py_generated as schema  # noqa: PLC0415

    try:
        model = schema.Model.GetRootAs(path.read_bytes())
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            if entry.Name() == metadata.TFLITE_ENTRY.encode():
                return metadata.from_json(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    except (struct.error, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not an undamaged TFLite file; export it again") from error
    return None


def _session(path: Path) -> Any:
    """The file in onnxruntime.

    Raises:
        UsageError: it is no ONNX file that can be run.
    """
    from shufflenet_deploy.export.parity import load_onnx  # noqa: PLC0415

    try:
        return load_onnx(str(path), threads=1)
    except ExportError as error:
        raise UsageError(
            f"{path} is not an ONNX, TFLite or native file that runs here; export it again"
        ) from error


def _run(path: Path, kind: Format, tensor: FloatArray) -> FloatArray:
    """The logits ``(classes,)`` for an input ``(1, 3, H, W)``; of several outputs the first.

    Raises:
        UsageError: it is no vector.
        ExportError: the file cannot be run here.
    """
    if kind is Format.NATIVE:
        return _first(path, _run_program(path, tensor), native.read(path).outputs)
    from shufflenet_deploy.export.parity import OnnxFile, TfliteFile  # noqa: PLC0415

    try:
        file = OnnxFile(path, threads=1) if kind is Format.ONNX else TfliteFile(path)
        values = file.run(tensor)
    except (ExportError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(f"{path} cannot be run here: {reason}") from error
    return _first(path, values, file.outputs)


def _first(path: Path, values: FloatArray, outputs: Sequence[TensorSpec]) -> FloatArray:
    """The first of outputs that come one behind the other."""
    shape = outputs[0].shape
    if len(shape) != _LOGITS_AXES:
        kind = "x".join(map(str, shape))
        raise UsageError(f"the first output of {path} is of {kind} and tells no classes")
    return values.ravel()[: math.prod(shape)]


def _run_program(path: Path, tensor: FloatArray) -> FloatArray:
    with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-") as folder:
        source, output = Path(folder, "input.npy"), Path(folder, "output.npy")
        np.save(source, tensor, allow_pickle=False)
        asked = ["--once", "--input", str(source), "--output", str(output)]
        done = _run_process([str(path.absolute())], asked)
        emulator = shutil.which(_emulator(path))
        if (done is None or done.returncode) and emulator is not None:
            done = _run_process([emulator, "-cpu", "max", str(path.absolute())], asked)
        if done is None or done.returncode:
            reason = "" if done is None else (done.stdout or done.stderr).strip()[:200]
            raise ExportError(
                f"{path} cannot be run here: {reason or 'it is for another processor'}; on its own"
                f" it can, and here with {_emulator(path)} (apt-get install qemu-user)"
            )
        logits: FloatArray = np.load(output, allow_pickle=False)
        return logits


def _run_process(command: list[str], asked: list[str]) -> subprocess.CompletedProcess[str] | None:
    """Run a program to its end; None where the kernel cannot start it."""
    try:
        return subprocess.run(
            [*command, *asked],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{command[-1]} ran for more than {_TIMEOUT_SECS} s") from error
    except OSError:
        return None


def _emulator(path: Path) -> str:
    head = path.read_bytes()[_MACHINE_AT : _MACHINE_AT + 2]
    return _EMULATORS.get(int.from_bytes(head, "little"), "qemu-aarch64")
