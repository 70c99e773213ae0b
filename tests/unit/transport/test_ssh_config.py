"""Hosts as users type them, and parity of configurations with ``ssh -G``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import masked
from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport import ssh_options
from shufflenet_deploy.transport.ssh_config import aliases, resolve, route_of
from shufflenet_deploy.transport.ssh_destination import Destination
from shufflenet_deploy.transport.ssh_expansion import home
from shufflenet_deploy.transport.ssh_route import SshSettings


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
     "pi@-x", "-pi@board", "a b", "board/path", "[::1", "pi @board", "[-oX]:22", "board:\u0662"],
)  # fmt: skip
def test_what_is_no_host(typed):
    with pytest.raises(UsageError):
        Destination.parse(typed)


@pytest.mark.parametrize(
    "typed",
    [
        *(f"a{char}b" for char in "'`\"$\\;&<>|(){}\x07\x1b\x7f\u200b"),
        *(f"[a{char}b]:22" for char in "'`\"$\\;&<>|(){}"),
        *(f"a{char}b@board" for char in "'`\";&<>|(){}\x07"),
        "a\\@board",
        "$(touch${IFS}x)",
    ],
)
def test_what_could_reach_a_shell_is_refused(typed):
    """The characters that OpenSSH 9.6 refuses in names of hosts and users."""
    with pytest.raises(UsageError) as caught:
        Destination.parse(typed)
    assert str(caught.value).isprintable()


def test_a_host_name_of_the_configuration_reaches_no_shell_either(write):
    config = write("Host pi\n  HostName $(id)\n  ProxyCommand nc %h %p\n")
    with pytest.raises(UsageError, match="ProxyCommand"):
        resolve("pi", config)


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
    printed = subprocess.run(
        ["ssh", "-G", "-F", str(config), host], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
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


@pytest.fixture(params=["ssh -G", "our own reading"])
def either(request, monkeypatch):
    """The configuration is asked of ``ssh``, then read without one."""
    if request.param != "ssh -G":
        monkeypatch.setattr(ssh_options, "ssh_program", lambda: None)


@pytest.mark.usefixtures("either")
def test_files_are_expanded(write):
    route = resolve("board", write(CONFIG))
    assert [str(path) for path in route.known_hosts[:2]] == [
        f"{home()}/.ssh/known_boards",
        "/tmp/with space",
    ]
    assert [str(path) for path in route.identity_files] == [f"{home()}/.ssh/id_everybody"]


#: Configurations that are met in the field, and where each leads.
FIELD = {
    "a Match block after the hosts": ("Match all\n  Compression no", {}),
    "as Fedora and RHEL ship it": ("Match final all\n  ForwardX11Trusted yes", {}),
    "Match canonical": ("Match canonical all\n  User nobody", {}),
    "canonical names without domains": ("CanonicalizeHostname yes", {}),
    "canonical names that are not found": (
        "CanonicalizeHostname yes\nCanonicalDomains lab.invalid",
        {},
    ),
    "canonical names without a way back": (
        "CanonicalizeHostname yes\nCanonicalDomains lab.invalid\nCanonicalizeFallbackLocal no",
        {},
    ),
    "comments behind values": ("Host pi # Bob's\n  Port 2222 # forwarded", {"port": 2222}),
    "tokens": (
        "Host pi\n  IdentityFile /lab/%h_%p_%r\n  UserKnownHostsFile /lab/known/%h",
        {
            "identity_files": (Path("/lab/192.0.2.7_22_pi"),),
            "known_hosts": (Path("/lab/known/192.0.2.7"),),
        },
    ),
    "variables": (
        "Host pi\n  IdentityFile ${LAB}/id_pi\n  UserKnownHostsFile ${LAB}/known",
        {"identity_files": (Path("/lab/id_pi"),), "known_hosts": (Path("/lab/known"),)},
    ),
    "blanks in paths": (
        'Host pi\n  UserKnownHostsFile "/lab/my keys/known" /lab/other',
        {"known_hosts": (Path("/lab/my keys/known"), Path("/lab/other"))},
    ),
    "blanks in relative paths": (
        'Host pi\n  UserKnownHostsFile "my keys" other "a b"',
        {"known_hosts": (Path("my keys"), Path("other"), Path("a b"))},
    ),
    "units of time": ("Host pi\n  ConnectTimeout 1m30s", {"connect_timeout_secs": 90.0}),
    "an agent of its own": (
        "Host pi\n  IdentityAgent ${LAB}/agent",
        {"agent_socket": Path("/lab/agent")},
    ),
    "no keys kept": (
        "Host pi\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null",
        {"known_hosts": (home() / ".ssh/known_hosts", home() / ".ssh/known_hosts2")},
    ),
    "certificates": (
        "Host pi\n  CertificateFile ~/%n-cert.pub",
        {"certificate_files": (home() / "pi-cert.pub",)},
    ),
    "what OpenSSH alone follows": (
        "Host pi\n  KnownHostsCommand /bin/keys %H\n  AddressFamily inet",
        {"only_openssh": ("KnownHostsCommand", "AddressFamily")},
    ),
}


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("name", FIELD)
def test_configurations_of_the_field(write, monkeypatch, name):
    monkeypatch.setenv("LAB", "/lab")
    lines, wanted = FIELD[name]
    config = write(f"{lines}\nHost pi\n  HostName 192.0.2.7\n  User pi\nHost *.lab !x bench\n")
    assert aliases(config) == ("bench", "pi")
    route = resolve("pi", config)
    for field, value in {"hostname": "192.0.2.7", "user": "pi", **wanted}.items():
        found = getattr(route, field)
        assert (found[: len(value)] if field == "known_hosts" else found) == value


def test_whatever_stands_there_hosts_are_listed(write, tmp_path):
    config = write(
        "Host one two\nPort eighty\nMatch nonsense\nHost \"open\nHost Bob's $(id)\nHost\n"
        f"Include {tmp_path}/config {tmp_path}/none ~nobody/x\nBogus\nHost three # four\n"
    )
    assert aliases(config) == ("one", "three", "two")


def test_what_is_typed_wins(write):
    route = resolve("me@board:99", write(CONFIG))
    assert (route.user, route.port, route.hostname) == ("me", 99, "board.example")
    assert route.ssh_argv[-3:] == ("-p", "99", "me@board")


def test_included_blocks_end_with_their_file(write, tmp_path):
    write("Host foo\n  Port 1\n", "inner")
    inner = tmp_path / "inner"
    config = write(f"Include {inner}\nPort 2\nHost bar\n  Include {inner}\n  User bar\n")
    assert resolve("anything", config).port == 2
    assert resolve("bar", config).user == "bar"


@pytest.mark.usefixtures("either")
def test_a_configuration_that_includes_itself(write, tmp_path):
    config = write(f"Include {tmp_path}/config\n")
    with pytest.raises(UsageError, match="include"):
        resolve("pi", config)


@pytest.mark.usefixtures("either")
def test_a_configuration_that_cannot_be_parsed(write):
    with pytest.raises(UsageError, match=r"cannot understand .*config.* line 1"):
        resolve("pi", write("Host\n"))
    with pytest.raises(UsageError, match=r"(?i)port.*eighty"):
        resolve("pi", write("Port eighty\n"))


@pytest.mark.usefixtures("either")
def test_no_configuration_by_name(monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_SSH_CONFIG", "none")
    assert resolve("pi@board").hostname == "board"
    assert aliases() == ()


def test_a_configuration_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("SHUFFLENET_DEPLOY_SSH_CONFIG", str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no ssh configuration"):
        resolve("pi")


@pytest.mark.usefixtures("either")
def test_no_configuration_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(expansion, "home", lambda: tmp_path)
    monkeypatch.delenv("SHUFFLENET_DEPLOY_SSH_CONFIG", raising=False)
    route = resolve("pi@board.lan:2222")
    assert (route.user, route.hostname, route.port) == ("pi", "board.lan", 2222)
    assert route.host_key_name == "[board.lan]:2222"
    assert route.identity_files == ()
    assert route.known_hosts[0].name == "known_hosts"


def test_a_described_connection_consults_nothing_else(tmp_path):
    settings = SshSettings(
        hostname="::1", port=2222, user="root", identity_file=tmp_path / "key",
        known_hosts=tmp_path / "known",
    )  # fmt: skip
    route = route_of(settings)
    assert route.agent_socket is None
    assert route.known_hosts == (tmp_path / "known",)
    assert route.address == "[::1]:2222"


def test_a_password_in_a_host_is_refused_in_words_that_masking_leaves():
    with pytest.raises(UsageError) as raised:
        Destination.parse("pi:hunter2@board")
    assert "hunter2" not in str(raised.value)
    assert masked(str(raised.value)) == str(raised.value)
