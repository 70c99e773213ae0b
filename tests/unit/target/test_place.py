"""Location of the tool's folder, chosen from a target's output."""

from __future__ import annotations

import pytest

from shufflenet_deploy.target.place import Place, read_place

MOUNTS = """\
/dev/root / ext4 ro,noatime 0 0
tmpfs /tmp tmpfs rw,nosuid,noexec 0 0
tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0
/dev/sda1 /home ext4 rw,noexec,relatime 0 0
/dev/sdb1 /home/ann ext4 rw,relatime 0 0
/dev/sdc1 /mnt/my\\040disk ext4 rw,noexec 0 0
tmpfs /opt tmpfs rw,noexec 0 0
tmpfs /opt tmpfs rw 0 0
"""


def printed(folder: str, *others: str, writable: bool = True) -> str:
    lines = "\n".join(others)
    yes = "yes" if writable else ""
    return (
        f"\n== folder\n{folder}\n\n== writable\n{yes}\n\n== others\n{lines}\n\n== mounts\n{MOUNTS}"
    )


@pytest.mark.parametrize(
    ("folder", "noexec"),
    [
        ("/", False),
        ("/root", False),
        ("/tmp", True),
        ("/tmp/x", True),
        ("/tmpfolder", False),
        ("/home/pi", True),
        ("/home/ann/.cache", False),
        ("/home/anna", True),
        ("/mnt/my disk/x", True),
        ("/opt", False),
    ],
)
def test_the_mount_that_holds_a_folder_decides(folder, noexec):
    assert read_place(printed(folder)).noexec is noexec


def test_another_folder_is_one_that_starts_programs():
    place = read_place(printed("/home/pi", "/tmp", "/dev/shm", "/opt", writable=False))
    assert not place.writable
    assert place.alternative == "/dev/shm/shufflenet-deploy"
    assert place.remedy == "SHUFFLENET_DEPLOY_ROOT=/dev/shm/shufflenet-deploy"


def test_there_may_be_none():
    assert "SHUFFLENET_DEPLOY_ROOT=/" in read_place(printed("/home/pi", "/tmp")).remedy


def test_what_does_not_tell_is_taken_to_start_programs():
    assert read_place("") == Place(folder="/", writable=False, noexec=False)
