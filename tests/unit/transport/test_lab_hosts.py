"""Hosts of a lab as they are typed, alone and in lists."""

from __future__ import annotations

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.host_names import joined
from shufflenet_deploy.transport.lab import Wanted


def test_a_place_or_tags():
    assert Wanted.parse("labgrid:pi4-1").filters == {"name": "pi4-1"}
    tags = Wanted.parse("labgrid:core=a76,os=raspbian")
    assert tags.filters == {"core": "a76", "os": "raspbian"}
    assert str(tags) == "core=a76,os=raspbian"


@pytest.mark.parametrize("text", ["", "a b", "core=", "core=a76,pi4", "Core=a76", "a/b"])
def test_what_is_neither(text):
    with pytest.raises(UsageError, match="labgrid:PLACE"):
        Wanted.parse(f"labgrid:{text}")


def test_tags_stay_together_in_a_list_of_hosts():
    words = ["pi4", "labgrid:core=a76", "os=raspbian", "labgrid:one", "board:a72"]
    assert joined(words) == ["pi4", "labgrid:core=a76,os=raspbian", "labgrid:one", "board:a72"]
