"""Files of weights made to harm: nothing in them runs, none takes the memory it claims."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hostile
import pytest
import torch
from safetensors.torch import save

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.checkpoint import find_state_dicts
from shufflenet_deploy.zoo.checkpoint.pickle_reader import Global, Instance, read_pickle
from shufflenet_deploy.zoo.import_checks import DESCRIPTION_KEY
from shufflenet_deploy.zoo.weights_import import import_weights

MEGABYTE = 1 << 20


class Call:
    """Pickled as a call of ``function``."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def refused(content: bytes, tmp_path: Path) -> str:
    """The one line that refuses ``content``; what it takes stays below 200 MB."""
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as raised:
            import_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 200 * MEGABYTE
    finally:
        tracemalloc.stop()
    line = str(raised.value)
    assert "\n" not in line
    assert len(line) < 1000
    return line


# --- nothing runs


@pytest.mark.parametrize(
    "call",
    [
        lambda path: Call(os.system, f"touch {path}"),
        lambda path: Call(eval, f"open({str(path)!r}, 'w')"),
        lambda path: Call(exec, f"open({str(path)!r}, 'w')"),
        lambda path: Call(Path.touch, path),
        lambda path: Call(getattr(os, "mkdir"), str(path)),  # noqa: B009
        lambda path: Call(map, open, [str(path)], ["w"]),
        lambda path: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(path)))),
        lambda path: Call(torch.save, 1, str(path)),
        lambda path: Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.mkdir, str(path)))),
    ],
)
def test_no_call_in_a_pickle_is_made(call: Callable[[Path], Call], tmp_path: Path):
    target = tmp_path / "executed"
    weights = {"weight": torch.ones(2, 2)}
    for content in (
        {"model": weights, "extra": call(target)},
        {"model": weights | {"bias": call(target)}},
        [call(target), weights],
    ):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            path = tmp_path / "harmful.pth"
            torch.save(content, path, **options)
            assert [one.read() for one in find_state_dicts(path)]
            assert not target.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cthis\nzen\n.",  # GLOBAL
        b"\x80\x04\x8c\x04this\x8c\x03zen\x93.",  # STACK_GLOBAL
        b"(ithis\nzen\n.",  # INST
        b"(cthis\nzen\no.",  # OBJ
        b"cthis\nzen\n)R.",  # REDUCE
        b"\x80\x02cthis\nzen\n)\x81.",  # NEWOBJ
        b"\x80\x04cthis\nzen\n)}\x92.",  # NEWOBJ_EX
        b"\x80\x02cthis\nzen\n)\x81}b.",  # BUILD
        b"\x80\x02\x82\x01.",  # EXT1
        b"cthis\nzen\n}b.",  # BUILD on a class
        b"cthis\nzen\n)R)R)R.",  # a call of what a call gave
    ],
)
def test_no_name_in_a_pickle_is_imported(pickled: bytes):
    sys.modules.pop("this", None)
    assert isinstance(read_pickle(io.BytesIO(pickled)), Global | Instance)
    assert "this" not in sys.modules


# --- nothing grows


def tensor(size: str, *, storage: str = "0", elements: int = 4) -> bytes:
    """Opcodes of a float tensor of any claimed size."""
    shape = f"({''.join(f'I{n}' + chr(10) for n in size.split('x'))}t"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV"
        + f"{storage}\nVcpu\nI{elements}\ntQI0\n{shape}{shape}I00\n}}tR".encode()
    )


def model(*tensors: bytes) -> bytes:
    items = b"".join(b"V%d.weight\n" % number + one for number, one in enumerate(tensors))
    return hostile.archived(b"(" + items + b"d.", **{"0": bytes(16)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (model(tensor("100000000000")), "claims"),
        (model(tensor("-5x2")), "negative"),
        (model(tensor("0x-1")), "negative"),
        (model(tensor("4", elements=10**11)), "numbers"),
        (model(tensor("4", elements=-1)), "unknown"),
        (model(tensor("4", storage="../../x")), "missing"),
        (model(tensor("x".join(["1"] * 99))), "dimensions"),
        (model(tensor("9" * 30)), "makes no sense"),
        (model(tensor("9" * 5000)), "damaged"),
        (model(*[tensor("1000x1000")] * 300), "numbers in one state dict"),
        (model(tensor("1000x1000")), "stored"),
    ],
)
def test_sizes_are_checked_before_anything_is_read(content: bytes, message: str, tmp_path: Path):
    assert message in refused(content, tmp_path)


def nested(depth: int, begin: bytes, end: bytes) -> bytes:
    return begin * depth + b"N" + end * depth + b"."


@pytest.mark.parametrize(
    "pickled",
    [
        b"]q\x00h\x00a.",  # a list that holds itself
        b"}q\x00(Vmodel\nh\x00u.",  # a dict that holds itself
        b"cm\nM\n)\x81q\x00}(V_modules\n}(Va\nh\x00uub.",  # a module that holds itself
        b"(Va\n" + b"N" + b"\x86\x322\x86" * 300 + b"d.",  # shared tuples, 2^300 paths
        nested(30_000, b"", b"\x85"),
        nested(30_000, b"(", b"t"),
        nested(20_000, b"(Vk\n", b"d"),
        b"N" + b"r\xff\xff\xff\xff" + b".",  # a memo of four thousand million
        b"(" * 30_000 + b".",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",  # bytes without end
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",  # a frame without end
        b"V" + b"a" * MEGABYTE,
        b"I" + b"9" * 100_000 + b"\n.",
        b"\x8b\xff\xff\xff\x7f",
        b"h\x05.",
        b"Va\nb.",
        b"(NNNu.",
        b"\x97.",
    ],
    ids=lambda pickled: ascii(pickled[:24]),
)
def test_pickles_that_refer_to_themselves_or_without_end(pickled: bytes, tmp_path: Path):
    refused(hostile.archived(pickled), tmp_path)
    refused(b"\x80\x02" + pickled, tmp_path)


def test_an_archive_that_unpacks_to_far_more_is_not_unpacked(tmp_path: Path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"N" * (65 * MEGABYTE))
    assert "beyond what is read" in refused(stream.getvalue(), tmp_path)


def test_a_file_larger_than_the_limit_is_not_opened(tmp_path: Path):
    path = tmp_path / "weights.pth"
    with path.open("wb") as stream:
        stream.truncate(9 << 30)
    with pytest.raises(UsageError, match="no more than 8 GiB"):
        import_weights(path)


def header(fields: object) -> bytes:
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


def one(**changes: object) -> bytes:
    return header({"a.weight": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} | changes})


@pytest.mark.parametrize(
    "content",
    [
        one(shape=[10**11]),
        one(shape=[-4]),
        one(shape=[1 << 62, 1 << 62]),
        one(shape=[10**400]),
        one(shape="4"),
        one(data_offsets=[0, 10**12]),
        one(data_offsets=[16, 0]),
        one(dtype="F1"),
        header(b'{"a":' + b"[" * 100_000),
        header({"__metadata__": {"a": 1}}),
        header({"__metadata__": {}}),
        header([1]),
        struct.pack("<Q", (1 << 63) - 1) + b'{"a": 1}',
    ],
)
def test_headers_of_safetensors_are_not_trusted(content: bytes, tmp_path: Path):
    refused(content, tmp_path)


@cache
def whole() -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    return dict(zoo.load("shufflenet-g3-0.25x").module.state_dict())


@pytest.mark.parametrize(
    "description",
    [
        {"widths": [10**18] * 3},
        {"widths": [-3, 6, 9]},
        {"widths": [16380, 16383, 16386], "bottlenecks": [9, 18, 36]},
        {"repeats": [10**9, 1, 1]},
        {"repeats": [0, -1, 1]},
        {"classes": 10**9},
        {"groups": 10**9},
        {"stem": float("nan")},
        {"family": "nothing"},
        {"family": "mobilenet", "width": 1e308},
    ],
    ids=str,
)
def test_a_stored_description_is_not_trusted(description: dict[str, object], tmp_path: Path):
    plain = {"family": "shufflenet", "groups": 3, "stem": 12}
    plain |= {"widths": [36, 72, 144], "bottlenecks": [9, 18, 36]}
    text = json.dumps(plain | description)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save(whole(), metadata={DESCRIPTION_KEY: text}))
    with pytest.raises(UsageError, match="metadata"):
        import_weights(path)


def test_damaged_files_end_in_one_line_each(tmp_path: Path):
    assert list(hostile.trials(tmp_path, 400, seed=1)) == []
