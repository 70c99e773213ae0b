"""Contents of an exported file, read from the file alone; its manifest only adds to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from shufflenet_deploy.atomic_files import check_file, sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats, manifest, shortfall
from shufflenet_deploy.export.untrusted import count, parsing
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.printing import first_line
from shufflenet_deploy.records import Artifact, Delegation, Format, Record, TensorSpec

#: Of a name in a file so much is shown.
_MOST_CHARACTERS = 1000
#: Multiply-adds of a file may differ from the model's by this share before it is worth a word.
_TOLERATED_EXTRA = 0.005


class Inspection(Record):
    """One file. ``operations`` are counted, the most frequent first; ``version`` is the format's.

    ``precision`` is fp32, fp16, int8, or mixed when operations were left in float in an int8 file.
    ``multiply_adds`` are those the file really computes, for one image. ``metadata``
    describes how the file is fed, from the file itself or its manifest. ``delegation`` is there
    where the file itself settles what a delegate runs. ``artifact`` is set when
    a manifest lies next to the file and was written for just these bytes.
    """

    path: Path
    format: Format
    version: str
    precision: str
    size_bytes: int
    sha256: str
    operations: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    multiply_adds: int
    parameters: int
    warnings: tuple[str, ...]
    metadata: Metadata | None = None
    delegation: Delegation | None = None
    artifact: Artifact | None = None


class Contents(Record):
    """Contents that a format's reader finds in a file."""

    version: str
    precision: str
    operations: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    multiply_adds: int
    parameters: int
    warnings: tuple[str, ...]
    metadata: Metadata | None = None
    delegation: Delegation | None = None


def inspect(path: Path, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Inspection:
    """Read a file; its format is detected from its content, not its name.

    ``shapes`` are those of inputs that a file leaves open, by name.

    Raises:
        UsageError: there is no such file, or it is not an undamaged exported file.
    """
    check_file(path)
    kind = formats.kind_of(path)
    with parsing(path, kind.title):
        contents = _checked(kind.read(path, shapes or {}))
    known = manifest.read(path)
    genuine = known is not None and manifest.matches(path, known)
    artifact = known.artifact if known is not None and genuine else None
    metadata = contents.metadata or (known.metadata if known is not None and genuine else None)
    warnings = [*contents.warnings, *_open_shapes(contents)]
    if known is not None and not genuine:
        warnings.append("the manifest next to it describes another file: this one was changed")
    if artifact is not None:
        warnings += _against(contents, artifact)
    return Inspection(
        path=path.resolve(),
        format=kind.name,
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        artifact=artifact,
        **{**dict(contents), "warnings": tuple(warnings), "metadata": metadata},
    )


def _checked(contents: Contents) -> Contents:
    """The same, if its numbers are those of a network, and in texts that can be printed.

    Raises:
        ValueError: a number is none that a network has.
    """
    count(contents.multiply_adds)
    count(contents.parameters)
    return contents.model_copy(
        update={
            "version": _shown(contents.version),
            "operations": {
                _shown(name): count(number) for name, number in contents.operations.items()
            },
            "inputs": tuple(map(_named, contents.inputs)),
            "outputs": tuple(map(_named, contents.outputs)),
            "warnings": tuple(map(_shown, contents.warnings)),
        }
    )


def _shown(text: str) -> str:
    return first_line(text, _MOST_CHARACTERS)


def _named(value: TensorSpec) -> TensorSpec:
    return value.model_copy(update={"name": _shown(value.name), "dtype": _shown(value.dtype)})


def _open_shapes(contents: Contents) -> list[str]:
    """A warning where a file leaves the shape of an input open, by a size of 0."""
    names = [spec.name for spec in contents.inputs if 0 in spec.shape]
    if not names:
        return []
    return [f"the shape of {', '.join(names)} is open: not all multiply-adds are counted"]


def check_shapes(
    path: Path, shapes: Mapping[str, tuple[int, ...]], stated: Mapping[str, Sequence[int]]
) -> None:
    """Refuse ``shapes`` of inputs that a file has not, or has otherwise.

    ``stated`` are the shapes of its inputs, sizes below 1 where they are open.

    Raises:
        UsageError: a name is unknown, or a size contradicts the file's.
    """
    for name, shape in shapes.items():
        known = stated.get(name)
        if known is None:
            raise UsageError(f"--shape {name}: the inputs of {path} are {', '.join(stated)}")
        fits = len(known) == len(shape) and all(
            size in (mine, 0) or size < 0 for mine, size in zip(shape, known, strict=True)
        )
        if not fits:
            shown = "x".join(str(size) if size > 0 else "?" for size in known)
            raise UsageError(f"--shape {name}: in {path} it is {shown}")


def _against(contents: Contents, artifact: Artifact) -> list[str]:
    lines = []
    if not artifact.parity.passed:
        lines.append(f"it failed validation: {shortfall.explained(artifact)}")
    if not artifact.weights.trained:
        lines.append("the weights are untrained: good for latency only")
    extra = contents.multiply_adds / max(artifact.multiply_adds, 1) - 1
    if abs(extra) > _TOLERATED_EXTRA:
        lines.append(
            f"it computes {contents.multiply_adds / 1e6:.2f}M multiply-adds, "
            f"the model {artifact.multiply_adds / 1e6:.2f}M ({extra:+.1%})"
        )
    return lines


def most_frequent_first(counts: dict[str, int]) -> dict[str, int]:
    """Counts in descending order, by name where equal."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def precision_of(integer: bool, left_in_float: int) -> str:  # noqa: FBT001 - one of two facts
    """Precision in which a file computes."""
    if not integer:
        return "fp32"
    return "mixed" if left_in_float else "int8"
