"""Facts about files that hold a network, found without building it: digest, size of the input."""

from __future__ import annotations

import hashlib
from pathlib import Path

from shufflenet_deploy import extras
from shufflenet_deploy.atomic_files import is_file, sha256_file
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Resolution
from shufflenet_deploy.zoo.own_network import FileConfig

#: What exporters call the file of an ONNX file's weights.
_EXTERNAL = ("{}.data", "{}_data")


def file_digest(file: Path, weights: Path | None) -> str:
    """Hex sha256 over a file that holds a network, and the files of its weights.

    Raises:
        UsageError: one of them cannot be read.
    """
    paths = [file, *filter(None, [weights]), *external_data(file)]
    try:
        digests = [sha256_file(path) for path in paths]
    except OSError as error:
        raise UsageError(f"cannot read the network {error.filename}: {error.strerror}") from error
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def external_data(file: Path) -> list[Path]:
    """The files beside an ONNX file that exporters put its weights into."""
    beside = (file.with_name(pattern.format(file.name)) for pattern in _EXTERNAL)
    return list(filter(is_file, beside))


def stated_resolution(config: FileConfig) -> Resolution | None:
    """Height and width of the image that a file states; None where it leaves them open.

    A file that cannot be read states nothing here: whoever builds its network says why.
    """
    file = Path(config.file)
    if file.suffix == ".onnx" and not extras.is_missing("onnx"):
        from shufflenet_deploy.network.frontends.onnx.model_file import ModelFile, image_shape

        try:
            _, height, width = image_shape(ModelFile(file), None)
        except UsageError:
            return None
        return Resolution(height=height, width=width)
    if file.suffix == ".prototxt" and not extras.is_missing("onnx"):
        return _stated_by_caffe(file)
    if file.suffix == ".pt2" and not extras.is_missing("torch"):
        return _stated_by_exported_program(file)
    return None


def _stated_by_exported_program(file: Path) -> Resolution | None:
    from shufflenet_deploy.network.frontends.exported_program import image_shape

    try:
        _, height, width = image_shape(file)
    except UsageError:
        return None
    return Resolution(height=height, width=width)


def _stated_by_caffe(file: Path) -> Resolution | None:
    from shufflenet_deploy.network.frontends.caffe.model_files import NetText

    try:
        text = NetText(file)
    except UsageError:
        return None
    shapes = [shape for _, shape in text.inputs()]
    for layer in text.layers:
        if layer.type == "Input":
            shapes += [tuple(one.dim) for one in layer.parameter("input_param").shape]
    if len(shapes) != 1 or len(shapes[0]) != 4 or min(shapes[0][2:]) < 1:
        return None
    return Resolution(height=shapes[0][2], width=shapes[0][3])
