"""OpenVINO reader for ``inspect``: the XML of a file, whose shapes are all stated."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.inspection.contents import (
    Contents,
    check_shapes,
    most_frequent_first,
    precision_of,
)
from shufflenet_deploy.export.metadata import from_json
from shufflenet_deploy.export.untrusted import product
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import TensorSpec

_TOPOLOGY = "model.xml"
_MOST_BYTES = 64 << 20
#: Layers that are memory, or bookkeeping of constants.
_STILL = frozenset({"Const", "Parameter", "Result"})
_WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")
_ROUNDING = "FakeQuantize"
#: Numpy's names of OpenVINO's types.
_TYPES = {"f32": "float32", "f16": "float16", "f64": "float64", "boolean": "bool"} | {
    f"{letter}{bits}": f"{word}{bits}"
    for letter, word in (("i", "int"), ("u", "uint"))
    for bits in (8, 16, 32, 64)
}


def read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Contents:
    """Read a file; shapes that it leaves open stay open.

    Raises:
        UsageError: it has no such inputs.
        MALFORMED: the file is damaged.
    """
    root = _topology(path)
    sources = _sources(root)
    layers = {layer.id: layer for layer in _layers(root)}
    constant = _constant(layers, sources)
    inputs = tuple(one.spec for one in layers.values() if one.kind == "Parameter")
    if shapes:
        check_shapes(path, shapes, {one.name: one.shape for one in inputs})
        raise UsageError(f"--shape: {path} states its shapes")
    results = [
        layers[sources[one.id, port]].spec
        for one in layers.values()
        if one.kind == "Result"
        for port in one.inputs
    ]
    working = [one for one in layers.values() if one.id not in constant and one.kind not in _STILL]
    constants = [one for one in layers.values() if one.kind == "Const"]
    rounded = any(one.kind == _ROUNDING for one in working)
    halves = any(one.type == "f16" for one in constants)
    return Contents(
        version=f"IR v{root.get('version')}",
        precision="fp16" if halves and not rounded else precision_of(rounded, 0),
        operations=most_frequent_first(dict(Counter(one.kind for one in working))),
        inputs=inputs,
        outputs=tuple(results),
        multiply_adds=sum(map(_multiply_adds, working)),
        parameters=_parameters(working, constant, sources),
        warnings=(),
        metadata=_metadata(root),
    )


def metadata_in(path: Path) -> Metadata | None:
    """The metadata in a file; None where there is none.

    Raises:
        MALFORMED: the file is damaged.
    """
    return _metadata(_topology(path))


def _topology(path: Path) -> ET.Element:
    """The parsed XML; declarations, which can make a small file enormous, are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(_TOPOLOGY).file_size > _MOST_BYTES:
                raise ValueError("more layers than a network needs")
            text = archive.read(_TOPOLOGY)
    except zipfile.BadZipFile as error:
        raise ValueError("a damaged archive") from error
    if b"<!" in text:
        raise ValueError("declarations in the XML")
    try:
        return ET.fromstring(text)  # noqa: S314 - nothing is declared in it
    except ET.ParseError as error:
        raise ValueError("damaged XML") from error


class _Layer(NamedTuple):
    id: str
    kind: str
    type: str
    inputs: dict[str, tuple[int, ...]]
    spec: TensorSpec


def _layers(root: ET.Element) -> Iterator[_Layer]:
    for entry in root.iterfind("layers/layer"):
        inputs = {port.attrib["id"]: _shape(port) for port in entry.iterfind("input/port")}
        output = entry.find("output/port")
        shape = () if output is None else _shape(output)
        data = entry.find("data")
        stated = "" if output is None else output.get("precision", "").lower()
        kind = str(entry.get("type"))
        if kind == "Const" and data is not None:
            stated = data.get("element_type", stated)
        names = "" if output is None else output.get("names", "")
        yield _Layer(
            id=entry.attrib["id"],
            kind=kind,
            type=stated,
            inputs=inputs,
            spec=TensorSpec(
                name=names.partition(",")[0] or str(entry.get("name")),
                shape=tuple(max(size, 0) for size in shape),
                dtype=_TYPES.get({"fp32": "f32", "fp16": "f16"}.get(stated, stated), stated),
            ),
        )


def _shape(port: ET.Element) -> tuple[int, ...]:
    shape = tuple(int(size.text or "") for size in port.iterfind("dim"))
    product(max(size, 0) for size in shape)
    return shape


def _sources(root: ET.Element) -> dict[tuple[str, str], str]:
    """The layer whose output each input takes."""
    return {
        (edge.attrib["to-layer"], edge.attrib["to-port"]): edge.attrib["from-layer"]
        for edge in root.iterfind("edges/edge")
    }


_Layers = dict[str, _Layer]
_Sources = dict[tuple[str, str], str]


def _constant(layers: _Layers, sources: _Sources) -> set[str]:
    """Layers of constants alone, such as what turns stored weights into floats."""
    found = {one.id for one in layers.values() if one.kind == "Const"}
    # A layer stands behind those that it takes.
    for layer in layers.values():
        if layer.inputs and {sources.get((layer.id, port)) for port in layer.inputs} <= found:
            found.add(layer.id)
    return found


def _multiply_adds(layer: _Layer) -> int:
    if layer.kind not in _WEIGHTED or len(layer.inputs) != 2:
        return 0
    data, weights = layer.inputs.values()
    if layer.kind == "MatMul":
        return product((*layer.spec.shape, data[-1]))
    # (O, I, kh, kw), or (groups, O, I, kh, kw).
    each = weights[2:] if layer.kind == "GroupConvolution" else weights[1:]
    return product((*layer.spec.shape, *each))


def _parameters(working: list[_Layer], constant: set[str], sources: _Sources) -> int:
    """Sizes of the weights, and of constants that are added to something."""
    wanted = (*_WEIGHTED, "Add")
    return sum(
        product(shape)
        for layer in working
        if layer.kind in wanted
        for port, shape in layer.inputs.items()
        if sources.get((layer.id, port)) in constant
    )


def _metadata(root: ET.Element) -> Metadata | None:
    found = root.find("rt_info/shufflenet-deploy/metadata")
    return None if found is None else from_json(found.get("value", ""))
