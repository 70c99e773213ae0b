"""Hosts as users type them, and configurations judged beside what ``ssh -G`` makes of them."""

from __future__ import annotations

import subprocess

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport.ssh_config import Destination, SshSettings, resolve, route_of


@pytest.mark.parametrize(
    ("typed", "host", "user", "port"),
    [
        ("pi", "pi", None, None),
        ("pi@board", "board", "pi", None),
        ("pi@board.lan:2222", "board.lan", "pi", 2222),
        ("ssh://pi@board:22/", "board", "pi", 22),
        ("192.0.2.7", "192.0.2.7", None, None),
        ("[2001:db8::1]:2222", "2001:db8::1", None, 2222),
        ("pi@[::1]", "::1", "pi", None),
        ("2001:db8::1", "2001:db8::1", None, None),
        ("pi@fe80::1%eth0", "fe80::1%eth0", "pi", None),
        ("me@corp.example@board", "board", "me@corp.example", None),
    ],
)
def test_hosts(typed, host, user, port):
    assert Destination.parse(typed) == Destination(host, user, port)


@pytest.mark.parametrize(
    "typed",
    ["", "@board", "pi@", "board:", "board:x", "board:0", "board:65536", "-oProxyCommand=x",
     "pi@-x", "-pi@board", "a b", "board/path", "[::1", "pi @board"],
)  # fmt: skip
def test_what_is_no_host(typed):
    with pytest.raises(UsageError):
        Destination.parse(typed)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="ssh-copy-id") as caught:
        Destination.parse("pi:secret@board")
    assert "secret" not in str(caught.value)


@pytest.fixture
def write(tmp_path):
    def make(text: str, name: str = "config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


CONFIG = """\
Include extra/*.conf
User everybody
Host board
    HostName %h.example
    Port=2222
    IdentityFile ~/.ssh/id_%r
    IdentitiesOnly yes
    UserKnownHostsFile ~/.ssh/known_boards "/tmp/with space"
    ConnectTimeout 7
    HostKeyAlias board-one
    Compression yes
Host jumping
    ProxyJump pi@first:2200,second
Host commanded
    ProxyCommand nc %h %p
Host plain-*
    User plain
"""


def openssh(config, host: str) -> dict[str, list[str]]:
    said = subprocess.run(
        ["ssh", "-G", "-F", str(config), host], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("host", ["board", "jumping", "commanded", "plain-1", "extra", "other"])
def test_the_same_as_openssh(write, tmp_path, host):
    write("Host extra\n  HostName extra.example\n  User from-extra\n", "extra/a.conf")
    config = write(CONFIG.replace("extra/*", f"{tmp_path}/extra/*"))
    theirs, ours = openssh(config, host), resolve(host, config)
    assert ours.hostname == theirs["hostname"][0]
    assert str(ours.port) == theirs["port"][0]
    assert ours.user == theirs["user"][0]
    assert ours.identities_only is (theirs["identitiesonly"] == ["yes"])
    assert ours.compression is (theirs["compression"] == ["yes"])
    if "connecttimeout" in theirs and theirs["connecttimeout"] != ["none"]:
        assert ours.connect_timeout_secs == float(theirs["connecttimeout"][0])
    if "hostkeyalias" in theirs:
        assert ours.host_key_name == theirs["hostkeyalias"][0]
    if "proxyjump" in theirs:
        hops = [f"{hop.user}@{hop.hostname}:{hop.port}" for hop in ours.jumps]
        assert hops == ["pi@first:2200", "everybody@second:22"]
    command = theirs.get("proxycommand", ["none"])[0]
    command = command.replace("%h", ours.hostname).replace("%p", str(ours.port))
    assert (ours.proxy_command or "none") == command


def test_files_are_expanded(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    route = resolve("board", write(CONFIG))
    assert [str(path) for path in route.known_hosts[:2]] == [
        f"{tmp_path}/.ssh/known_boards",
        "/tmp/with space",
    ]


def test_what_is_typed_wins(write):
    route = resolve("me@board:99", write(CONFIG))
    assert (route.user, route.port, route.hostname) == ("me", 99, "board.example")
    assert route.ssh_argv[-3:] == ("-p", "99", "me@board")


def test_included_blocks_end_with_their_file(write):
    write("Host foo\n  Port 1\n", "inner")
    config = write("Include inner\nPort 2\nHost bar\n  Include inner\n  User bar\n")
    assert resolve("anything", config).port == 2
    assert resolve("bar", config).user == "bar"


def test_a_configuration_that_includes_itself(write, tmp_path):
    config = write(f"Include {tmp_path}/config\n")
    with pytest.raises(UsageError, match="includes itself"):
        resolve("pi", config)


def test_a_configuration_that_cannot_be_parsed(write):
    with pytest.raises(UsageError, match=r"cannot understand .*config"):
        resolve("pi", write("Host\n"))
    with pytest.raises(UsageError, match="port eighty"):
        resolve("pi", write("Port eighty\n"))


def test_a_configuration_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_SSH_CONFIG", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no ssh configuration"):
        resolve("pi")


def test_no_configuration_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SHUFFLENET_DEPLOY_SSH_CONFIG", raising=False)
    route = resolve("pi@board.lan:2222")
    assert (route.user, route.hostname, route.port) == ("pi", "board.lan", 2222)
    assert route.host_key_name == "[board.lan]:2222"
    assert route.identity_files == ()
    assert str(route.known_hosts[0]) == f"{tmp_path}/.ssh/known_hosts"


def test_a_described_connection_consults_nothing_else(tmp_path):
    settings = SshSettings(
        hostname="::1", port=2222, user="root", identity_file=tmp_path / "key",
        known_hosts=tmp_path / "known",
    )  # fmt: skip
    route = route_of(settings)
    assert not route.use_agent
    assert route.known_hosts == (tmp_path / "known",)
    assert route.address == "[::1]:2222"
