"""Files of weights as they are found: what can be read is read, the rest named for what it is."""

from __future__ import annotations

import argparse
import collections
import copy
import datetime as dt
import enum
import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from shufflenet_deploy import zoo
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.checkpoint import find_state_dicts
from shufflenet_deploy.zoo.import_checks import ImportedWeights
from shufflenet_deploy.zoo.weights_import import import_weights

MODEL = "shufflenet-g3-0.25x"
WEIGHT = "stage2.1.compress.weight"

State = dict[str, Tensor]


@cache
def trained(seed: int = 0) -> State:
    torch.set_num_threads(1)
    return dict(zoo.load(MODEL, seed=seed).module.state_dict())


def saved(tmp_path: Path, content: object, **options: Any) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(content, path, **options)
    return path


def agrees(imported: ImportedWeights, seed: int = 0) -> bool:
    expected = trained(seed)
    return all(torch.equal(tensor, expected[key]) for key, tensor in imported.state.items())


class Colour(enum.Enum):
    RED = 1


class Config(dict[str, Any]):
    """Stands for the configurations of many libraries: a dict with attributes."""


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - pickled by its name


# --- what was saved beside the weights


BESIDE = [
    argparse.Namespace(lr=0.1, nested=argparse.Namespace(decay=[1, 2])),
    np.float64(0.5),
    np.arange(6).reshape(2, 3),
    Colour.RED,
    Config(depth=3),
    Point(1, 2),
    SimpleNamespace(a=1),
    {1, 2, 3},
    frozenset("ab"),
    collections.Counter("abca"),
    collections.deque([1, 2]),
    collections.defaultdict(list, a=[1]),
    Path("runs"),
    torch.Size([1, 2]),
    torch.float32,
    torch.device("cpu"),
    slice(1, 2),
    complex(1, 2),
    bytearray(b"ab"),
    dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    print,
    Colour,
    10**400,
]


@pytest.mark.parametrize(
    "options", [{}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 5}], ids=str
)
def test_objects_of_any_library_are_read_past(options: dict[str, Any], tmp_path: Path):
    content = {"args": BESIDE, "model": trained(), "epoch": 3}
    assert agrees(import_weights(saved(tmp_path, content, **options)))
    for one in BESIDE:
        saved(tmp_path, {"args": one, "weight": torch.ones(1)}, **options)
        (found,) = find_state_dicts(tmp_path / "weights.pth")
        assert list(found.read().tensors) == ["weight"]


@pytest.mark.parametrize(
    "keys",
    [
        ("state_dict",),
        ("model_state",),
        ("weights",),
        ("ema",),
        ("state_dict_ema",),
        ("ema", "shadow"),
        ("net_G",),
        ("something", "nobody", "foresaw"),
        ("checkpoint", "0"),
    ],
    ids=".".join,
)
def test_a_state_dict_is_found_under_any_key(keys: tuple[str, ...], tmp_path: Path):
    content: object = trained()
    for key in reversed(keys):
        content = {"epoch": 1, key: content, "history": [0.1, 0.2]}
    assert agrees(import_weights(saved(tmp_path, content)))


def test_an_optimiser_is_not_taken_for_the_network(tmp_path: Path):
    module = zoo.load(MODEL).module
    optimiser = torch.optim.Adam(module.parameters())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    named = {key: {"exp_avg": torch.ones_like(tensor)} for key, tensor in trained().items()}
    content = {
        "optimizer": optimiser.state_dict(),
        "by_name": named,
        "momentum": {key: torch.ones_like(tensor) for key, tensor in trained().items()},
        "model": trained(),
    }
    assert agrees(import_weights(saved(tmp_path, content)))


def test_of_weights_and_their_average_the_weights_are_taken_and_the_other_is_named(tmp_path: Path):
    path = saved(tmp_path, {"ema": trained(1), "model": trained(0)})
    imported = import_weights(path)
    assert agrees(imported, seed=0)
    assert "ema" in " ".join(imported.notes)
    assert agrees(import_weights(path, state_dict="ema"), seed=1)
    with pytest.raises(UsageError, match="no state dict under 'teacher'; it holds model, ema"):
        import_weights(path, state_dict="teacher")


def test_of_several_networks_the_one_that_was_asked_for_is_taken(tmp_path: Path):
    teacher = zoo.load("shufflenet-g3-1x").module.state_dict()
    path = saved(tmp_path, {"teacher": teacher, "student": trained()})
    assert agrees(import_weights(path, zoo.architecture(MODEL)))


def test_a_whole_module_is_read_without_its_class(tmp_path: Path):
    module = zoo.load(MODEL).module
    assert agrees(import_weights(saved(tmp_path, {"model": module, "epoch": 1})))
    assert agrees(import_weights(saved(tmp_path, nn.DataParallel(module))))


# --- names


@pytest.mark.parametrize(
    "prefix",
    ["module.", "net.", "model.module.", "encoder.q.", "0.", "module._orig_mod.", "a.b.c."],
)
def test_any_prefix_that_all_keys_share_is_stripped(prefix: str, tmp_path: Path):
    assert agrees(import_weights(saved(tmp_path, {prefix + k: v for k, v in trained().items()})))


def test_what_a_compiler_inserts_amid_a_path_is_taken_out(tmp_path: Path):
    state = {k.replace("stage2.", "stage2._orig_mod."): v for k, v in trained().items()}
    assert agrees(import_weights(saved(tmp_path, state)))


def test_parts_that_were_wrapped_for_several_gpus_are_read(tmp_path: Path):
    state = {k.replace("stage2.", "stage2.module."): v for k, v in trained().items()}
    assert agrees(import_weights(saved(tmp_path, state)))


def test_a_pruned_network_is_multiplied_out(tmp_path: Path):
    module = copy.deepcopy(zoo.load(MODEL).module)
    prune.l1_unstructured(module.get_submodule("stage2.1.compress"), "weight", 0.5)
    imported = import_weights(saved(tmp_path, module.state_dict()))
    assert torch.equal(imported.state[WEIGHT], module.get_submodule("stage2.1.compress").weight)
    assert (imported.state[WEIGHT] == 0).float().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("name", ["code", "constants.pkl", "data", "models"])
def test_the_name_of_an_archive_s_folder_means_nothing(name: str, tmp_path: Path):
    path = tmp_path / f"{name}.pth"
    torch.save(trained(), path)
    assert agrees(import_weights(path))


def test_a_folder_is_told_what_it_holds(tmp_path: Path):
    saved(tmp_path, trained())
    with pytest.raises(UsageError, match=r"is a folder.*\(weights\.pth\)"):
        import_weights(tmp_path)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_leftovers_of_training_are_left_out_and_said(prefix: str, tmp_path: Path):
    leftovers = {
        "criterion.weight": torch.ones(10),
        "loss_fn.centers": torch.ones(10, 4),
        "train_acc.correct": torch.ones(1),
        "total_ops": torch.zeros(1, dtype=torch.float64),
        f"{prefix}stage2.0.total_params": torch.zeros(1, dtype=torch.float64),
        "n_averaged": torch.tensor(3),
        "temperature": torch.tensor(1.0),
    }
    state = {prefix + k: v for k, v in trained().items()} | leftovers
    imported = import_weights(saved(tmp_path, state))
    assert agrees(imported)
    assert "criterion.weight" in " ".join(imported.notes)


def test_an_average_beside_the_weights_in_one_state_dict_is_left_out(tmp_path: Path):
    state = {f"ema_model.module.{k}": v for k, v in trained(1).items()}
    state |= {f"model.{k}": v for k, v in trained(0).items()}
    imported = import_weights(saved(tmp_path, state))
    assert agrees(imported, seed=0)
    assert "left out" in " ".join(imported.notes)


@pytest.mark.parametrize("name", ["fc2.weight", "stage2.0.attention.weight", "head.weight"])
def test_a_layer_too_many_is_not_left_out(name: str, tmp_path: Path):
    for prefix in ("", "net."):
        state = {prefix + k: v for k, v in trained().items()} | {name: torch.ones(4, 4)}
        with pytest.raises(UsageError, match=f"unexpected.*{name}"):
            import_weights(saved(tmp_path, state))


@pytest.mark.parametrize(
    "keys",
    [
        ("features.0.0.weight", "features.1.conv.0.0.weight", "classifier.1.weight"),
        ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "classifier.weight"),
        ("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "head.weight"),
        ("backbone.body.0.weight", "rpn.head.conv.weight", "roi_heads.box.weight"),
    ],
)
def test_another_network_is_not_compared_with_shufflenets(keys: tuple[str, ...], tmp_path: Path):
    path = saved(tmp_path, {key: torch.ones(2, 2) for key in keys})
    for card in (None, zoo.architecture(MODEL)):
        with pytest.raises(UsageError) as raised:
            import_weights(path, card)
        assert "nearest" not in str(raised.value)
        assert "jaxony" not in str(raised.value)


def test_a_network_with_a_few_faults_is_told_what_it_is_nearest_to(tmp_path: Path):
    state = dict(trained())
    del state[WEIGHT]
    with pytest.raises(UsageError, match=rf"1 missing \({WEIGHT}\).*nearest.*native"):
        import_weights(saved(tmp_path, state))


# --- numbers


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2, torch.float8_e4m3fn]
)
def test_other_floats_become_float32(dtype: torch.dtype, tmp_path: Path):
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in trained().items()}
    expected = state[WEIGHT].float()
    for path in (saved(tmp_path, state), tmp_path / "w.safetensors"):
        if path.suffix == ".safetensors":
            save_file(state, path)
        assert torch.equal(import_weights(path).state[WEIGHT], expected)


def test_views_of_one_storage_are_read_as_torch_reads_them(tmp_path: Path):
    flat = torch.arange(24.0)
    views = {
        "weight": flat[2:14].view(3, 4).t(),
        "b.weight": flat[5::3],
        "c.weight": flat[1].expand(4, 2),
        "d.weight": torch.zeros(0, 3),
        "e.weight": nn.Parameter(flat[:4]),
    }
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        path = saved(tmp_path, views, **options)
        expected = torch.load(path, weights_only=True)
        (found,) = find_state_dicts(path)
        tensors = found.read().tensors
        assert list(tensors) == list(expected)
        assert all(torch.equal(tensors[key], expected[key]) for key in views)
        assert all(tensor.is_contiguous() for tensor in tensors.values())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_state_dict_of_numpy_arrays_is_read(protocol: int, tmp_path: Path):
    arrays = {key: tensor.numpy() for key, tensor in trained().items()}
    arrays[WEIGHT] = np.asfortranarray(arrays[WEIGHT].astype(np.float64))
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": arrays}, protocol))
    assert agrees(import_weights(path))


def test_a_state_dict_that_was_pickled_without_torch_is_read(tmp_path: Path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"model": collections.OrderedDict(trained())}))
    assert agrees(import_weights(path))


def quantised(weight: Tensor) -> Tensor:
    rows = len(weight)
    return torch.quantize_per_channel(
        weight, torch.ones(rows) / 100, torch.zeros(rows), 0, torch.qint8
    )


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (quantised, "is quantised"),
        (Tensor.to_sparse, "is sparse"),
        (lambda weight: weight.to("meta"), "meta device"),
        (lambda weight: weight.to(torch.complex64), "complex"),
        (Tensor.char, "integers"),
        (lambda weight: weight * torch.nan, "NaN"),
        (lambda weight: weight.numpy().astype(np.int32), "NumPy"),
        (lambda weight: weight[0, 0, 0].expand(1000, 1000, 1000, 1000), "claims"),
        (lambda weight: weight[:3], "of the wrong shape"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_is_no_weight_is_named(
    made: Callable[[Tensor], Tensor], reason: str, tmp_path: Path
):
    path = saved(tmp_path, {**trained(), WEIGHT: made(trained()[WEIGHT])})
    with pytest.raises(UsageError, match=reason) as raised:
        import_weights(path)
    assert WEIGHT in str(raised.value)
    assert "\n" not in str(raised.value)


# --- files


def archive(members: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return made.getvalue()


def tarred() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tape:
        tape.addfile(tarfile.TarInfo("weights.pth"))
    return made.getvalue()


def npz() -> bytes:
    made = io.BytesIO()
    np.savez(made, a=np.zeros(2))
    return made.getvalue()


LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2800000\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS.encode(), r"Git LFS pointer \(to 2800000 bytes\).*git lfs pull"),
        (b"/annex/objects/SHA256E-s1", "git-annex pointer"),
        (b"outs:\n- md5: 0\n  path: w.pth\n", "DVC pointer"),
        (b"\n <!DOCTYPE html><html><title>Warning</title></html>", "HTML page"),
        (b"\xef\xbb\xbf<HTML><head></head></HTML>", "HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (gzip.compress(b"x" * 99, mtime=0), "gzip.*gunzip"),
        (b"BZh91AY", "bzip2"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (tarred(), "tar archive"),
        (npz(), r"NumPy archive"),
        (b"\x93NUMPY\x01\x00", "NumPy array"),
        (b"\x89HDF\r\n\x1a\n\x00", "HDF5"),
        (b"\x1c\x00\x00\x00TFL3\x00", "TFLite"),
        (b'{"a": 1}', "JSON"),
        (b"name = 'x'\n[description]\nfamily = 'shufflenet'\n", "card"),
        (b'name: "CaffeNet"\nlayer {\n  name: "data"\n', "Caffe"),
        (b"import torch\n", "text file"),
        ("übersicht\n".encode("utf-16"), "text file"),
        (b"\x0a\x08CaffeNet\xa2\x06\x10\x0a\x04data", "Caffe model"),
        (b"\x08\x08\x12\x07pytorch\x1a\x031.0\x3a\x10abc", "ONNX"),
        (b"\x00" * 4096, "zeros"),
        (b"", "empty"),
        (b"\xde\xad\xbe\xef" * 9, "no kind that is known"),
        (archive({"a/code/x.py": "", "a/data.pkl": "", "a/constants.pkl": ""}), "TorchScript"),
        (archive({"w/archive_format": "pt2", "w/models/model.json": "{}"}), r"\.pt2"),
        (archive({"config.json": "", "metadata.json": "", "model.weights.h5": ""}), "Keras"),
        (archive({"inner/weights.pth": ""}), "unpack it and give"),
        (archive({"a/data.pkl": ""})[:-5], "cut short or damaged"),
        (struct.pack("<Q", 50) + b'{"a":', "damaged"),
        (pickle.dumps([1, 2, 3]), "no tensors that have names"),
    ],
)
def test_a_file_that_is_something_else_is_named_for_what_it_is(
    content: bytes, message: str, tmp_path: Path
):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        import_weights(path)
    assert "\n" not in str(raised.value)


@pytest.mark.filterwarnings("ignore")
def test_programs_of_torch_are_told_from_state_dicts(tmp_path: Path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "weights.pt"))
    with pytest.raises(UsageError, match="TorchScript"):
        import_weights(tmp_path / "weights.pt")
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(exported, tmp_path / "weights.pt2")
    with pytest.raises(UsageError, match=r"\.pt2"):
        import_weights(tmp_path / "weights.pt2")


def test_an_onnx_file_is_known_by_its_bytes(tmp_path: Path):
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["x2"])], "g", [value], [])
    path = tmp_path / "weights.pth"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(UsageError, match="ONNX"):
        import_weights(path)


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/", "/no/such.pth", "a\0b", "x" * 5000]
)
def test_what_is_no_file_is_refused_at_once(path: str):
    for read in (import_weights, lambda given: zoo.weights_identity(given, MODEL)):
        with pytest.raises(UsageError) as raised:
            read(Path(path))
        assert "\n" not in str(raised.value)


# --- shards


def shards(tmp_path: Path, suffix: str) -> Path:
    parts = [dict(list(trained().items())[start::3]) for start in range(3)]
    names = [f"model-{number + 1:05d}-of-00003.{suffix}" for number in range(3)]
    for part, name in zip(parts, names, strict=True):
        save = save_file if suffix == "safetensors" else torch.save
        save(part, tmp_path / name)
    weight_map = {key: name for part, name in zip(parts, names, strict=True) for key in part}
    index = tmp_path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_whole_by_their_index_and_by_any_of_them(suffix: str, tmp_path: Path):
    index = shards(tmp_path, suffix)
    assert agrees(import_weights(index))
    shard = tmp_path / f"model-00002-of-00003.{suffix}"
    assert agrees(import_weights(shard))
    before = zoo.weights_identity(index, MODEL)
    assert import_weights(index).sha256 == before
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    assert zoo.weights_identity(index, MODEL) != before


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_incomplete_shards_are_named(suffix: str, tmp_path: Path):
    index = shards(tmp_path, suffix)
    lost = tmp_path / f"model-00003-of-00003.{suffix}"
    other = tmp_path / f"model-00001-of-00003.{suffix}"
    content = lost.read_bytes()
    lost.unlink()
    for given in (index, other):
        with pytest.raises(UsageError, match=f"3 shards, of which 1 is missing .{lost.name}"):
            import_weights(given)
    lost.write_bytes(content[:-1000])
    with pytest.raises(UsageError, match=f"{lost.name}.*(damaged|cut short)"):
        import_weights(index)
    lost.write_bytes(other.read_bytes())
    with pytest.raises(UsageError, match=f"{lost.name} lacks"):
        import_weights(index)


@pytest.mark.parametrize(
    "content",
    [
        '{"weight_map": {"a": "../../etc/passwd"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": "w.index.json"}}',
        '{"weight_map": ' + "[" * 100_000,
        '{"weight_map": 1' + "0" * 5000 + "}",
    ],
    ids=lambda text: text[:40],
)
def test_an_index_is_not_trusted(content: str, tmp_path: Path):
    path = tmp_path / "w.index.json"
    path.write_text(content)
    with pytest.raises(UsageError) as raised:
        import_weights(path)
    assert "\n" not in str(raised.value)
