"""The inventory: names, groups and tags of two files, and what is wrong with one."""

from __future__ import annotations

import pytest

from shufflenet_deploy.bench import Suite
from shufflenet_deploy.cli.inventory import with_defaults
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.fleet import Host, read_inventory
from shufflenet_deploy.fleet.inventory import INVENTORY_VARIABLE

USERS = """
[hosts.pi3]
address = "pi@10.0.0.3"
tags = ["a53", "shelf"]

[hosts.pi4]
address = "pi@10.0.0.4"
cpus = "0-2"
governor = "performance"
cooldown = 2
max-temperature = 70
payload = "venv"
folder = "/data/bench"

[groups]
shelf-and-phone = ["@shelf", "adb:123", "pi3"]
"""


@pytest.fixture
def inventory(tmp_path, monkeypatch):
    """Reads an inventory of the user and one of the project."""

    def read(user="", project=""):
        (tmp_path / "user.toml").write_text(user)
        (tmp_path / "hosts.toml").write_text(project)
        monkeypatch.setenv(INVENTORY_VARIABLE, str(tmp_path / "user.toml"))
        monkeypatch.chdir(tmp_path)
        return read_inventory()

    return read


def targets(inventory, *words):
    return [host.target for host in inventory.expand(words)]


def test_names_groups_tags_and_others(inventory):
    known = inventory(USERS)
    assert targets(known, "pi4", "pi@elsewhere") == ["pi@10.0.0.4", "pi@elsewhere"]
    assert targets(known, "@shelf") == ["pi@10.0.0.3"]
    assert targets(known, "@shelf-and-phone", "pi3") == ["pi@10.0.0.3", "adb:123"]


def test_the_project_overrules_the_user(inventory):
    known = inventory(USERS, '[hosts.pi3]\naddress = "pi@here"\n')
    assert targets(known, "pi3", "pi4") == ["pi@here", "pi@10.0.0.4"]


def test_one_target_by_two_names_comes_once(inventory):
    known = inventory(USERS, '[hosts.twin]\naddress = "pi@10.0.0.3"\n')
    assert targets(known, "twin", "pi3") == ["pi@10.0.0.3"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[hosts.pi3]\nadress = 'x'", "adress"),
        ("hosts = 3", "hosts is no table"),
        ("[hosts]\npi = 3", "hosts.pi is no table"),
        ("[host.pi3]\naddress = 'x'", "unknown key 'host'"),
        ("[hosts.'../x']\naddress = 'x'", "../x"),
        ("[groups]\na = 'pi3'", "groups.a is no list"),
        ("[hosts.pi3]\nfolder = 'here'", "folder"),
        ("[hosts.pi3]\ncooldown = nan", "cooldown"),
        ("[hosts.pi3", "hosts.toml"),
        ("[labgrid]\ncoordinater = 'x'", "labgrid has one key"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(inventory, text, said):
    with pytest.raises(UsageError) as caught:
        inventory("", text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"), [("a = ['@b']\nb = ['@a']", "holds itself"), ("a = ['@c']", "or tag @c")]
)
def test_a_group_of_itself_or_of_strangers_is_refused(inventory, text, said):
    with pytest.raises(UsageError, match=said):
        inventory(f"[groups]\n{text}").expand(["@a"])


def test_a_near_name_is_offered(inventory):
    with pytest.raises(UsageError, match="did you mean @shelf"):
        inventory(USERS).expand(["@shelv"])


def test_defaults_of_a_host_apply_where_the_suite_has_none(inventory):
    (host,) = inventory(USERS).expand(["pi4"])
    suite = Suite(models=("alexnet",), resolutions=("64x64",), governor="powersave")
    mine = with_defaults(suite, host)
    assert (mine.governor, mine.max_temperature_c, mine.payload) == ("powersave", 70, "venv")
    assert (mine.spec.cpus, mine.spec.cooldown_secs) == ((0, 1, 2), 2)
    assert with_defaults(suite, Host(name="local")) == suite


def test_wrong_cores_are_the_inventorys(inventory):
    (host,) = inventory("[hosts.pi]\ncpus = 'fast'").expand(["pi"])
    with pytest.raises(UsageError, match=r"hosts\.pi of the inventory"):
        with_defaults(Suite(models=("alexnet",), resolutions=("64x64",)), host)


def test_the_coordinator_of_a_lab(inventory):
    assert inventory().coordinator == ""
    lab = '[labgrid]\ncoordinator = "lab:20408"\n'
    assert inventory(lab).coordinator == "lab:20408"
    assert inventory(lab, lab.replace("lab:", "ours:")).coordinator == "ours:20408"
