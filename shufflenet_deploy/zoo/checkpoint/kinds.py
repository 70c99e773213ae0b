"""File type detection by magic numbers: a readable checkpoint, or another type and what to do.

Names decide nothing: downloads, Git LFS and renamed files make them wrong.
"""

from __future__ import annotations

import json
import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo.checkpoint.limits import MAX_FILE_BYTES
from shufflenet_deploy.zoo.checkpoint.torch_file import is_root_member, opened_archive

_HEAD_BYTES = 4096
_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".index.json")
_WANTED = "give a .pth, .pt or .safetensors file"
_CONVERT = "save the weights from its own framework as a PyTorch state dict"


class Kind(Enum):
    """Checkpoint formats that can be read."""

    SAFETENSORS = auto()
    ARCHIVE = auto()
    STREAM = auto()
    INDEX = auto()


#: (offset, bytes, what such a file is, what to do)
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x1f\x8b", "compressed with gzip", "unpack it: gunzip {name}"),
    (0, b"BZh", "compressed with bzip2", "unpack it: bunzip2 {name}"),
    (0, b"\xfd7zXZ\x00", "compressed with xz", "unpack it: unxz {name}"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it: unzstd {name}"),
    (0, b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it: unlz4 {name}"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (257, b"ustar", "a tar archive", "unpack it: tar xf {name}"),
    (4, b"TFL3", "a TFLite model", _WANTED),
    (4, b"ET12", "an ExecuTorch program (.pte)", _WANTED),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", _CONVERT),
    (0, b"GGUF", "a GGUF model", _WANTED),
    (0, b"\x7fELF", "a program or library", _WANTED),
    (0, b"%PDF", "a PDF document", _WANTED),
    (0, b"SQLite format 3\x00", "an SQLite database", _WANTED),
    (0, b"\x89PNG", "an image (PNG)", _WANTED),
    (0, b"\xff\xd8\xff", "an image (JPEG)", _WANTED),
    (0, b"MATLAB 5.0 MAT-file", "a MATLAB file", _CONVERT),
    (0, b"7767517", "an ncnn network description", _WANTED),
    (0, struct.pack("<Q", 0x112), "an MXNet parameter file", _CONVERT),
    (0, b"/annex/objects/", "a git-annex pointer", "fetch them: git annex get {name}"),
)


#: (beginnings of members, what such a zip is, what to do)
_ARCHIVES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("constants.pkl", "code/"),
        "a TorchScript program (torch.jit.save)",
        "save its weights: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')",
    ),
    (
        ("archive_format", "serialized_exported_program.json", "models/model.json"),
        "an exported program (.pt2, torch.export.save)",
        "save its weights: torch.save(torch.export.load(FILE).state_dict, 'weights.pth')",
    ),
    ((".data/extern_modules",), "a torch.package archive", "save its network's state_dict()"),
    (("model.weights.h5",), "a Keras model (.keras)", _CONVERT),
    (("MAR-INF/",), "a TorchServe archive (.mar)", "unpack it and give the weights inside"),
    (("Manifest.json",), "a Core ML package", _CONVERT),
)


def kind_of(path: Path) -> Kind:
    """Detect the format of the file at ``path``.

    Raises:
        UsageError: it is missing, empty, too large, or something else; what, and what to do.
    """
    size, head = _beginning(path)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        found = re.search(rb"^size (\d{1,15})$", head, re.MULTILINE)
        lost = f" (to {int(found[1])} bytes)" if found else ""
        raise _other(path, f"a Git LFS pointer{lost}", "fetch them: git lfs pull")
    for offset, signature, what, fix in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            raise _other(path, what, fix)
    if _is_safetensors(head, size):
        return Kind.SAFETENSORS
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _archive_kind(path)
    if text := _as_text(head):
        return _text_kind(path, text)
    if _is_pickle(head):
        return Kind.STREAM
    if what := _protobuf_kind(head):
        raise _other(path, what, _WANTED if "ONNX" in what else _CONVERT)
    raise UsageError(
        f"{path} is of no kind that is known here, or damaged; {_WANTED}, or fetch it again"
    )


def _beginning(path: Path) -> tuple[int, bytes]:
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            inside = sorted(one.name for one in path.iterdir() if one.name.endswith(_SUFFIXES))
            which = f" ({', '.join(inside[:3])})" if inside else ""
            raise UsageError(f"{path} is a folder; give the file of weights inside it{which}")
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"{path} is a device or pipe, not a file; {_WANTED}")
        if about.st_size > MAX_FILE_BYTES:
            raise UsageError(
                f"{path} has {about.st_size / 2**30:.1f} GiB, and no more than"
                f" {MAX_FILE_BYTES >> 30} GiB are read; save the state_dict() alone"
            )
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {path}: check its path") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the weights {path}: {why}") from error
    if not head:
        raise UsageError(f"{path} is empty; fetch it again")
    if not head.strip(b"\x00"):
        raise UsageError(f"{path} begins with zeros alone: the download broke off; fetch it again")
    return about.st_size, head


def _other(path: Path, what: str, fix: str) -> UsageError:
    fix = fix.format(name=path.name) if "{name}" in fix else fix
    return UsageError(f"{path} is {what}, not PyTorch weights; {fix}")


def _is_safetensors(head: bytes, size: int) -> bool:
    """A length, then a JSON object of that length."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    return 2 <= int.from_bytes(head[:8], "little") < max(size, 100 << 20)


def _is_pickle(head: bytes) -> bool:
    return head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


# --- zip archives


def _archive_kind(path: Path) -> Kind:
    try:
        with opened_archive(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise UsageError(
            f"{path} is a zip archive, as PyTorch writes, that is cut short or damaged;"
            " fetch it again"
        ) from error
    if what := _foreign_archive(names):
        raise _other(path, *what)
    if any(is_root_member(name, "data.pkl") for name in names):
        return Kind.ARCHIVE
    inside = [name for name in names if name.endswith((".pth", ".pt", ".safetensors"))]
    fix = f"unpack it and give {_short(inside[0])}" if inside else _WANTED
    raise _other(path, "a zip archive without weights of PyTorch's own", fix)


def _foreign_archive(names: list[str]) -> tuple[str, str] | None:
    """Other contents of zip archives than a state dict, by members (or prefixes of their names)."""
    rooted = len({name.partition("/")[0] for name in names}) == 1
    tails = {name.partition("/")[2] for name in names} if rooted else set(names)
    for members, what, fix in _ARCHIVES:
        if any(tail.startswith(members) for tail in tails):
            return what, fix
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)", _CONVERT
    return None


# --- texts


def _as_text(head: bytes) -> str:
    """The beginning of a file that is text; "" when it is none."""
    for encoding in ("utf-8-sig", "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ""):
        try:
            text = head.decode(encoding) if encoding else ""
        except UnicodeDecodeError as error:
            # A character cut in two by the end of the head is no fault of the file.
            text = head[: error.start].decode("utf-8", "replace") if error.start > 4090 else ""
        if text and not re.search(r"[\x00-\x08\x0e-\x1f]", text):
            return text.lstrip()
    return ""


def _text_kind(path: Path, text: str) -> Kind:
    lower = text[:2000].lower()
    if lower.startswith(("<!doctype html", "<html", "<head", "<body")) or "<html" in lower:
        raise _other(
            path,
            "an HTML page",
            "the server sent a page (a warning, a login) instead: download them anew",
        )
    if lower.startswith("<"):
        what = "an OpenVINO network description" if "<net " in lower else "an XML document"
        raise _other(path, what, "download the weights themselves")
    if lower.startswith(("{", "[")):
        if '"weight_map"' in text or path.name.endswith(".index.json"):
            return Kind.INDEX
        raise _other(path, "a JSON file", "give the weights, or the index of their shards")
    if re.search(r"^(layers?|input_param|input)\s*[:{]", text, re.MULTILINE) and "name:" in text:
        raise _other(path, "a Caffe network description (.prototxt)", _CONVERT)
    if re.search(r"^\[description\]|^family\s*=", text, re.MULTILINE):
        raise _other(path, "a card of a model", "give it to --model")
    if lower.startswith("outs:") and "md5:" in lower:
        raise _other(path, "a DVC pointer", "fetch them: dvc pull")
    raise _other(path, "a text file", _WANTED)


# --- protocol buffers: ONNX, Caffe, TensorFlow


def _protobuf_kind(head: bytes) -> str:
    """Type of a protobuf message, by its first field numbers; "" when it is none of these."""
    fields = list(_fields(head))
    if not fields:
        return ""
    number, wire, value = fields[0]
    numbers = {one for one, _, _ in fields}
    if number == 1 and isinstance(value, int) and 1 <= value <= 64:
        # ir_version; saved_model_schema_version; specificationVersion.
        saved_model = value == 1 and numbers == {1, 2}
        onnx = numbers <= {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25} and len(numbers) > 1
        return "a TensorFlow SavedModel" if saved_model else "an ONNX model" if onnx else ""
    if number == 1 and isinstance(value, bytes) and wire == 2:
        named = bool(value) and all(32 <= byte < 127 for byte in value)
        if named and numbers & {2, 3, 4, 5, 8, 100}:
            return "a Caffe model (.caffemodel)"
        return "a TensorFlow graph" if not named and numbers == {1} else ""
    return "a Caffe model (.caffemodel)" if wire == 2 and number in (2, 100) else ""


def _fields(head: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of the top-level fields that ``head`` holds the beginning of."""
    place = 0
    while place < len(head):
        tag, place = _varint(head, place)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1000:
            return
        if wire == 0:
            value, place = _varint(head, place)
            yield number, wire, value
        elif wire == 2:
            length, place = _varint(head, place)
            yield number, wire, head[place : place + length]
            place += length
        elif wire in (1, 5):
            yield number, wire, 0
            place += 8 if wire == 1 else 4
        else:
            return


def _varint(head: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(head):
            break
        byte = head[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
    return value, place


def _short(text: str) -> str:
    return json.dumps(text[:80])
