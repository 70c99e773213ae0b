"""Parity of known_hosts with ``ssh-keygen -F`` on the same file."""

from __future__ import annotations

import subprocess

import pytest

from shufflenet_deploy.transport.known_hosts import fingerprint, host_key_name, known_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL5LYY8u3Tp6yP0a6TRvTBFnLIPzWqHnbRbMxA2VjhVn"

TEXT = f"""\
# a comment
plain.example {KEY} with a comment
one.example,192.0.2.7,[two.example]:2222 {KEY}
*.lab,!bad.lab {KEY}
board-?.home {KEY}
@revoked plain.example {KEY}
@cert-authority *.corp {KEY}
UPPER.example {KEY}
short line
2001:db8::1 {KEY}
"""


@pytest.mark.parametrize(
    "name",
    [
        *("plain.example", "one.example", "192.0.2.7", "[two.example]:2222", "two.example"),
        *("a.lab", "bad.lab", "board-1.home", "board-12.home", "x.corp", "upper.example"),
        *("2001:db8::1", "nowhere", "t"),
    ],
)
def test_the_same_lines_as_ssh_keygen(tmp_path, name):
    path = tmp_path / "known_hosts"
    path.write_text(TEXT)
    found = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(path)], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    theirs = {int(line.split()[-1 if line.split()[-1].isdigit() else -2]) for line in found[::2]}
    assert {key.line for key in known_keys([path], name)} == theirs


def test_hashed_names(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text(f"plain.example {KEY}\n[two.example]:2222 {KEY}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(path)], check=True, capture_output=True)
    assert path.read_text().count("|1|") == 2
    assert len(known_keys([path], "plain.example")) == 1
    assert len(known_keys([path], "[two.example]:2222")) == 1
    assert known_keys([path], "two.example") == []


def test_revoked_keys_are_marked(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text(TEXT)
    assert [(key.line, key.revoked) for key in known_keys([path], "plain.example")] == [
        (2, False),
        (6, True),
    ]


def test_broken_files_list_nothing(tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\xff\xfe\n|1|notbase64|x ssh-rsa AAAA\n|1| ssh-rsa AAAA\n")
    assert known_keys([tmp_path / "missing", tmp_path, broken], "x") == []


def test_the_usual_port_is_left_out():
    assert host_key_name("pi", 22) == "pi"
    assert host_key_name("pi", 2222) == "[pi]:2222"


def test_fingerprints_are_openssh_s(tmp_path):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True
    )
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(tmp_path / "key")], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    import base64  # noqa: PLC0415

    blob = base64.b64decode((tmp_path / "key.pub").read_text().split()[1])
    assert fingerprint(blob) == shown
