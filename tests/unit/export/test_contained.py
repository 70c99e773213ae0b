"""Files that end what reads them: one line, and this process goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export.inspection import contained


def crash(_: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hoard(_: Path) -> None:
    kept = []
    while True:
        kept.append(bytes(1 << 30))


def leave(_: Path) -> None:
    os._exit(3)


def miss(_: Path) -> None:
    raise ModuleNotFoundError("No module named 'onnx'", name="onnx")


def refuse(path: Path) -> None:
    raise UsageError(f"{path} is hostile")


def fail(_: Path) -> None:
    raise ZeroDivisionError("of our own")


@pytest.mark.parametrize(
    ("reader", "kind", "told"),
    [
        (crash, UsageError, r"not an undamaged ONNX file \(its reader was ended by SIGKILL\);"),
        (hoard, UsageError, r"ONNX file \(its reader took all memory that it may\);"),
        (leave, UsageError, r"ONNX file \(its reader ended with 3\);"),
        (miss, ModuleNotFoundError, "No module named 'onnx'"),
        (refuse, UsageError, "hostile.onnx is hostile$"),
        (fail, RuntimeError, "ZeroDivisionError: of our own"),
    ],
)
def test_whatever_becomes_of_the_reader_is_one_error(reader, kind, told, monkeypatch, tmp_path):
    path = tmp_path / "hostile.onnx"
    path.write_bytes(b"hostile")
    monkeypatch.setattr(contained, "inspect", reader)
    with pytest.raises(kind, match=told):
        contained.inspect_contained(path)
