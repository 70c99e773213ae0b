"""Small files of ncnn and MNN, written byte by byte."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

#: A convolution, a depthwise one of stride 2 with a border, a pool over the map, a dense layer.
LAYERS = """7767517
5 5
Input in 0 1 in0
Convolution a 1 1 in0 1 0=8 1=3 4=1 5=1 6=216
ConvolutionDepthWise b 1 1 1 2 0=8 1=3 3=2 4=1 5=0 6=72 7=8
Pooling c 1 1 2 3 0=1 4=1
InnerProduct d 1 1 3 out0 0=10 1=1 2=80
"""
DESCRIBED = {"inputs": [{"name": "in0", "shape": [1, 3, 16, 12], "dtype": "float32"}]}


def ncnn_file(
    path: Path, *, layers: str = LAYERS, described: object = None, fp16: bool = False
) -> Path:
    """A file as pnnx's worker writes it: weights, and behind them an archive."""
    content = io.BytesIO()
    content.write(b"\x47\x6b\x30\x01" if fp16 else bytes(4))
    content.write(b"weights")
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"ncnn"
        archive.writestr("net.param", layers)
        if described is not None:
            archive.writestr("net.json", json.dumps(described))
    path.write_bytes(content.getvalue())
    return path


def mnn_file(maker: str) -> bytes:
    """A FlatBuffers table with MNN's first field only, and as many empty ones as MNN has."""
    text = maker.encode()
    fields = struct.pack("<HHH", 4 + 2 * 12, 8, 4) + bytes(2 * 11)
    table = 4 + len(fields)
    body = struct.pack("<I", table) + fields + struct.pack("<iI", len(fields), 4)
    return body + struct.pack("<I", len(text)) + text + b"\0"
