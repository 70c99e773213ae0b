"""Counts of unchanged files are found again, and only those."""

from __future__ import annotations

import pytest

from shufflenet_deploy.cost import Count
from shufflenet_deploy.cost.cache import Circumstances, CountCache

COUNT = Count(
    cpu="cortex-a76",
    model="shufflenet-g3-0.5x",
    runtime="native",
    version="0.1.0",
    precision="fp16",
    resolution="224x224",
    instructions=5_843_952,
    spread=0.0004,
    multiply_adds=37_800_000,
    artifact="ab" * 32,
)
UNDER = Circumstances(
    artifact=COUNT.artifact,
    runtime=("native",),
    agent="",
    image="0123456789abcdef",
    cpu=COUNT.cpu,
    qemu="7.2.22",
    protocol="2",
)


def test_what_was_counted_is_found_again(tmp_path):
    cache = CountCache(tmp_path / "counts")
    assert cache.get(UNDER) is None
    cache.put(UNDER, COUNT)
    assert CountCache(tmp_path / "counts").get(UNDER) == COUNT


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("artifact", "cd" * 32),
        ("runtime", ("onnxruntime", "onnxruntime==1.32.0")),
        ("agent", "ef" * 32),
        ("image", "fedcba9876543210"),
        ("cpu", "cortex-a72"),
        ("qemu", "8.0.0"),
        ("protocol", "3"),
    ],
)
def test_what_has_changed_is_not(tmp_path, field, value):
    cache = CountCache(tmp_path)
    cache.put(UNDER, COUNT)
    assert cache.get(UNDER.model_copy(update={field: value})) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"count": 1e400}', b"[" * 5000])
def test_a_broken_entry_is_counted_anew(tmp_path, content):
    cache = CountCache(tmp_path)
    cache.put(UNDER, COUNT)
    (entry,) = tmp_path.glob("*.json")
    entry.write_bytes(content)
    assert cache.get(UNDER) is None


def test_an_entry_under_another_name_is_not_believed(tmp_path):
    cache = CountCache(tmp_path)
    cache.put(UNDER, COUNT)
    (entry,) = tmp_path.glob("*.json")
    other = UNDER.model_copy(update={"cpu": "cortex-a72"})
    entry.rename(tmp_path / f"{other.digest}.json")
    assert cache.get(other) is None


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "counts").write_text("a file is in the way")
    cache = CountCache(tmp_path / "counts")
    cache.put(UNDER, COUNT)
    assert cache.get(UNDER) is None
