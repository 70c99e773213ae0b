"""The bytes of a ``.ncnn`` file: ncnn's weights, and behind them a ZIP archive of texts.

ncnn reads the weights from the start of the file and looks at nothing behind them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

LAYERS, DESCRIPTION, WEIGHTS = "net.param", "net.json", "net.bin"
#: The archive's comment, with which a file ends; a stranger's archive has none.
COMMENT = b"ncnn"

#: The earliest time that an archive can state: equal networks are equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def write(path: Path, weights: bytes, texts: Mapping[str, bytes]) -> None:
    """Write a file of weights and texts by name, which are ``LAYERS`` and ``DESCRIPTION``."""
    path.write_bytes(weights)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.comment = COMMENT
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text)
