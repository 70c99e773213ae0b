"""Names of layers from what exporters leave: module scopes, weights, nodes, values."""

from __future__ import annotations

import re
from collections.abc import Container

import onnx

_PARAMETER = re.compile(r"(.+)\.(weight|bias|running_mean|running_var)$")


def layer_name(node: onnx.NodeProto, stored: Container[str]) -> str:
    """The path of the module that a node comes from, or what comes nearest to it.

    In order: the scopes that torch's exporter notes, ``conv1`` of a weight ``conv1.weight``, the
    node's own name (``/layer1/layer1.0/conv1/Conv`` is ``layer1.0.conv1``), its output's.
    """
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes" and (scope := _innermost(entry.value)):
            return scope
    for name in node.input[1:]:
        if name in stored and (found := _PARAMETER.match(name)):
            return _without_scopes(found[1].split("/"), "")
    if node.name:
        return _without_scopes(node.name.split("/"), node.op_type)
    return next((name for name in node.output if name), node.op_type)


def _innermost(scopes: str) -> str:
    """From "['', 'stage2', 'stage2.0', 'conv2d']", the module path before the operation."""
    paths = [path.strip("'\" ") for path in scopes.strip("[]").split(",")]
    return paths[-2] if len(paths) >= 2 else ""


def _without_scopes(path: list[str], operator: str) -> str:
    """A path of scopes as one name: each scope that begins with the one before replaces it."""
    kept: list[str] = []
    for part in (one for one in path if one):
        if kept and part.startswith(f"{kept[-1]}."):
            kept[-1] = part
        else:
            kept.append(part)
    if len(kept) > 1 and re.fullmatch(rf"{re.escape(operator)}(_\d+)?", kept[-1]):
        kept.pop()
    return ".".join(kept)
