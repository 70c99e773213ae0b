"""Files of weights that are meant to harm: seeds that are whole, and what damage does to them.

``python tests/builders/hostile.py TRIALS [SEED]`` tries that many and prints what got through.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.weights_import import import_weights

#: Integers on the edges of what formats and machines hold.
EDGES = (0, 1, -1, 127, 128, 255, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 62, (1 << 63) - 1)

#: Opcodes that push, call, refer and end, to be put anywhere.
_OPCODES = b"(.0124FIJKLMNPQRSTUVXabcdeghijloprstuq}])" + bytes(range(0x80, 0x99))


def seeds() -> list[tuple[str, bytes]]:
    """Whole files of every kind that is read, small."""
    state = {
        "stem.weight": torch.ones(4, 3, 3, 3),
        "stage2.0.compress.weight": torch.ones(2, 4, 1, 1),
        "classifier.bias": torch.zeros(5),
    }
    content = {"model": state, "args": {"lr": 0.1}, "epoch": 1}
    found = []
    for name, options in (("new", {}), ("old", {"_use_new_zipfile_serialization": False})):
        stream = io.BytesIO()
        torch.save(content, stream, **options)
        found.append((f"{name}.pth", stream.getvalue()))
    found += [
        ("plain.pkl", pickle.dumps(content)),
        ("w.safetensors", save(state)),
        ("w.index.json", json.dumps({"weight_map": dict.fromkeys(state, "w.bin")}).encode()),
        ("inner.pth", _inner(found[0][1])),
    ]
    return found


def _inner(content: bytes) -> bytes:
    """The pickle of an archive, which the archive's checksums would shield from damage."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def archived(pickled: bytes, **members: bytes) -> bytes:
    """An archive as ``torch.save`` makes it, around any pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name}", content)
    return stream.getvalue()


def damaged(content: bytes, dice: random.Random) -> bytes:
    """``content`` after a few accidents: flips, cuts, repeats, edge integers, stray opcodes."""
    made = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 5))):
        place = dice.randrange(len(made) + 1)
        kind = dice.randrange(6)
        if kind == 0 and place < len(made):
            made[place] ^= 1 << dice.randrange(8)
        elif kind == 1:
            end = len(made) if dice.random() < 0.3 else place + dice.randrange(1, 9)
            del made[place:end]
        elif kind == 2:
            made[place:place] = made[dice.randrange(len(made) + 1) :][: dice.randrange(64)]
        elif kind == 3:
            number = dice.choice(EDGES)
            form = "<q" if -(1 << 63) <= number < 1 << 63 else "<Q"
            made[place : place + 8] = struct.pack(form, number)
        elif kind == 4:
            made[place:place] = bytes([dice.choice(_OPCODES)])
        else:
            made[place : place + 1] = str(dice.choice(EDGES) * 10 ** dice.randrange(30)).encode()
    return bytes(made)


def trials(folder: Path, count: int, seed: int) -> Iterator[tuple[Path, str]]:
    """Damage ``count`` files and import each; yield those whose end was no clear line."""
    dice = random.Random(seed)
    wholes = seeds()
    for number in range(count):
        name, whole = wholes[number % len(wholes)]
        content = damaged(whole, dice)
        if name == "inner.pth":
            content = archived(content, **{str(key): bytes(4 * 108) for key in range(3)})
        path = folder / name
        path.write_bytes(content)
        if fault := _fault(path):
            kept = folder / f"{number}-{name}"
            path.rename(kept)
            yield kept, fault


def _fault(path: Path) -> str:
    try:
        import_weights(path)
    except UsageError as error:
        lines = str(error).splitlines()
        return "" if len(lines) == 1 and len(lines[0]) < 2000 else "not one line"
    except Exception as error:  # noqa: BLE001 - it is what is looked for.
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    wanted, first = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    begun = time.monotonic()
    bad = list(trials(Path(tempfile.mkdtemp()), wanted, first))
    print(f"{wanted} files, {len(bad)} bad, {time.monotonic() - begun:.0f} s")  # noqa: T201
    for path, fault in bad:
        print(path, fault)  # noqa: T201
    sys.exit(bool(bad))
