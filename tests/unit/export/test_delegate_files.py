"""The readers of ExecuTorch's and OpenVINO's files on damaged and hostile ones."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.export.flat_tables import Table
from shufflenet_deploy.export.inspection.contents import inspect

FILES = Path(__file__).parents[2] / "data" / "delegates"
PROGRAM, ARCHIVE = FILES / "tiny.pte", FILES / "tiny.openvino"


def test_they_are_known_by_their_bytes() -> None:
    assert formats.kind_of(PROGRAM).name == "executorch"
    assert formats.kind_of(ARCHIVE).name == "openvino"
    assert formats.get("executorch").ending == "pte"


@pytest.mark.parametrize("path", [PROGRAM, ARCHIVE], ids=lambda path: path.name)
def test_a_file_cut_short_is_refused(path: Path, tmp_path: Path) -> None:
    content = path.read_bytes()
    for length in range(100, len(content) - 64, 997):
        cut = tmp_path / path.name
        cut.write_bytes(content[:length])
        with pytest.raises(UsageError, match="export it again"):
            inspect(cut)


def test_wrong_bytes_are_an_error_or_another_network(tmp_path: Path) -> None:
    content = PROGRAM.read_bytes()
    draw = random.Random(7)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(4):
            damaged[draw.randrange(8, len(damaged))] = draw.randrange(256)
        wrong = tmp_path / "wrong.pte"
        wrong.write_bytes(damaged)
        # Nothing but this error: another would be a traceback.
        try:
            inspect(wrong)
        except UsageError:
            refused += 1
    assert 0 < refused < 150


@pytest.mark.parametrize(
    "text",
    [
        '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><net version="11">&a;</net>',
        '<net version="11"><layers><layer id="0" type="Parameter"/>',
        '<net version="11"><layers><layer type="Parameter"/></layers></net>',
        '<net version="11"><layers><layer id="0" name="x" type="Parameter"><output><port id="0">'
        + 2 * "<dim>9999999999</dim>"
        + "</port></output></layer></layers></net>",
    ],
    ids=["entities", "open", "no id", "enormous"],
)
def test_xml_that_no_network_is_in_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.openvino"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.xml", text)
        archive.writestr("model.bin", b"")
    with pytest.raises(UsageError, match="export it again"):
        inspect(path)


def test_shapes_are_stated_by_the_files() -> None:
    for path, name in ((PROGRAM, "input0"), (ARCHIVE, "input")):
        with pytest.raises(UsageError, match="states its shapes"):
            inspect(path, shapes={name: (1, 3, 16, 16)})
        with pytest.raises(UsageError, match=name):
            inspect(path, shapes={"other": (1,)})


def test_offsets_outside_of_a_buffer_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        Table.root(b"\xff\xff\xff\x7f" + bytes(8)).integer(0, 4)
    with pytest.raises(ValueError, match="outside"):
        Table.root(b"\x01")
