"""Our own reading of ssh_config, held to what ``ssh -G`` prints for generated configurations."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport import ssh_options
from shufflenet_deploy.transport.ssh_config import aliases, resolve
from shufflenet_deploy.transport.ssh_destination import Destination
from shufflenet_deploy.transport.ssh_options import options_of

#: What decides where a connection goes and whom it trusts.
COMPARED = (
    *("hostname", "port", "user", "identityfile", "certificatefile", "identitiesonly"),
    *("identityagent", "userknownhostsfile", "hostkeyalias", "proxyjump", "proxycommand"),
    *("connecttimeout", "compression", "knownhostscommand"),
)
#: What ``ssh`` prints where nothing is set.
USUAL = {"connecttimeout": ["none"], "identitiesonly": ["no"], "compression": ["no"]}

HOSTS = ("pi", "board", "board.lan", "192.0.2.7", "2001:db8::1", "PI")
USERS = ("root", "pi", "alice")
PATTERNS = (
    *("*", "pi", "p?", "board*", "*.lan", "!pi", "!board.lan", "pi,board", "192.0.2.*", "Pi"),
    *("board.lan", "b[o]ard", "2001:*"),
)
VALUES = {
    "HostName": ("192.0.2.7", "%h.lan", "board.lan", "Board.LAN", "2001:DB8::0:1", "a%%b"),
    "User": ("pi", "alice", '"bob"', "'q'", "eve#1"),
    "Port": ("22", "2222", "022", "ssh"),
    "IdentityFile": (
        *("~/.ssh/id_pi", "/k/%h_%p_%r", "${LAB}/id", '"/my keys/id"', "none", "/my\\ keys/id"),
        *("/k/one", "/k/two", r"/a\b", "/c#d"),
    ),
    "CertificateFile": ("/k/one-cert.pub", "~/c.pub", "none"),
    "IdentitiesOnly": ("yes", "no", "true", "FALSE"),
    "IdentityAgent": ("none", "SSH_AUTH_SOCK", "/run/%u/agent", "${LAB}/agent", "~/agent"),
    "UserKnownHostsFile": (
        *("/lab/%h", "/a /b /c", '"/my keys/known" /b', "none", "${LAB}/known", "~/.ssh/k"),
        *("/lab/%k_%n_%r_%%", "/dev/null", "/a # /b", "/lab/%L_%l_%i_%d"),
    ),
    "HostKeyAlias": ("the-board", "The-Board"),
    "ProxyJump": ("first", "pi@first:2200,second", "none", "ssh://pi@first:22", "[2001:db8::2]:22"),
    "ProxyCommand": ("nc %h %p", "none", 'sh -c "nc # %h"', "None"),
    "ConnectTimeout": ("7", "1m30", "2h", "none", "0", "90S"),
    "Compression": ("yes", "no"),
    "KnownHostsCommand": ("/usr/bin/keys %H", "none"),
    "CanonicalizeHostname": ("yes", "no", "always"),
    "CanonicalizeMaxDots": ("0", "2"),
    "ForwardX11": ("yes",),
    "LocalForward": ("8080 localhost:80",),
}
WRONG = (
    *("HostName %x", "User a b", "Port 0", "Port x", "Port 65536", "IdentitiesOnly maybe"),
    *("UserKnownHostsFile ${NOWHERE}/x", "UserKnownHostsFile %z", "UserKnownHostsFile none /a"),
    *("ConnectTimeout 1x", "CanonicalizeHostname none", 'User "', "Host", "Match", "Port"),
    *("Match all host pi", "Match host", "Match nothing x", "Match host pi all", 'Host "a b'),
)
CRITERIA = (
    *("all", "final", "canonical", "!final", "final all", "host pi", "host=board.lan"),
    *("host *.lan,!pi", "originalhost pi", "user root", "user pi,alice", "localuser root"),
    *("exec true", 'exec "test %h = pi"', "!exec false", "!host pi", "final host 192.0.2.7"),
    *('originalhost "b*" user root', "host pi # all", "!all"),
)


@st.composite
def settings_lines(draw) -> str:
    keyword = draw(st.sampled_from(sorted(VALUES)))
    value = draw(st.sampled_from(VALUES[keyword]))
    spelling = draw(st.sampled_from((keyword, keyword.lower(), keyword.upper())))
    between = draw(st.sampled_from((" ", " ", "=", " = ", "\t")))
    before = draw(st.sampled_from(("", "  ", "\t")))
    behind = draw(st.sampled_from(("", "", "", " ", " # its note", ' # "', "\r")))
    return f"{before}{spelling}{between}{value}{behind}"


BLOCKS = st.one_of(
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3).map(
        lambda words: "Host " + " ".join(words)
    ),
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(
        lambda words: "Host " + " ".join(f'"{word}"' for word in words) + " # Bob's board"
    ),
    st.sampled_from(CRITERIA).map(lambda text: f"Match {text}"),
)
OTHERS = st.sampled_from(
    ("", "# a comment", "Include INNER*", "Include NOTHING", "Include INNER1 INNER2")
)
LINES = st.lists(st.one_of(settings_lines(), settings_lines(), BLOCKS, OTHERS), max_size=12)
MISTAKES = st.one_of(st.just([]), st.just([]), st.sampled_from(WRONG).map(lambda line: [line]))


def found(typed: Destination, config: Path, *, by_openssh: bool):
    """Options of one reading; None for a refusal."""
    try:
        options = options_of(typed, config, by_openssh=by_openssh)
    except UsageError:
        return None
    read = {keyword: options.get(keyword) or USUAL.get(keyword, []) for keyword in COMPARED}
    read["userknownhostsfile"] = [" ".join(read["userknownhostsfile"])]
    if len(read["identityfile"]) > 4 and read["identityfile"][0] == "~/.ssh/id_rsa":
        read["identityfile"] = []  # nothing was named
    if read["proxyjump"] == ["none"]:
        read["proxyjump"] = []  # so it stands there if a comment follows
    return read


def routed(typed: str, config: Path, *, by_openssh: bool):
    """Route of a connection and its trusted keys; None for a refusal."""
    with pytest.MonkeyPatch.context() as patch:
        if not by_openssh:
            patch.setattr(ssh_options, "ssh_program", lambda: None)
        try:
            route = resolve(typed, config)
        except UsageError:
            return None
    return [
        (
            *(hop.hostname, hop.port, hop.user, hop.identity_files, hop.certificate_files),
            *(hop.identities_only, hop.agent_socket, hop.known_hosts, hop.host_key_name),
            *(hop.plain_key_name, hop.proxy_command, hop.connect_timeout_secs, hop.compression),
            *(hop.only_openssh, hop.ssh_options, hop.ssh_argv),
        )
        for hop in route.hops
    ]


@settings(max_examples=30, deadline=None)
@given(LINES, MISTAKES, st.sampled_from(HOSTS), st.sampled_from(("", "pi@")))
def test_the_same_routes_as_with_ssh(lines, mistake, host, user):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB", "/lab")
        config = Path(folder, "config")
        config.write_text("\n".join([*lines, *mistake]), newline="")
        theirs = routed(user + host, config, by_openssh=True)
        assert routed(user + host, config, by_openssh=False) == theirs


@settings(max_examples=200, deadline=None)
@given(LINES, MISTAKES, LINES, LINES, st.sampled_from(HOSTS), st.sampled_from((None, *USERS)))
@example(["Host pi", "Include INNER1", "User x"], [], ["Host b*", "User y"], [], "pi", None)
@example(["Match final all", "Port 3"], [], [], [], "pi", None)
@example(["ConnectTimeout none", "ConnectTimeout 7"], [], [], [], "pi", None)
@example(["CanonicalizeHostname yes", "Host 192.0.2.7", "User x"], [], [], [], "pi", None)
def test_the_same_as_ssh(lines, mistake, first, second, host, user):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAB", "/lab")
        for name, content in (("inner1", first), ("inner2", second)):
            flat = [line for line in content if not line.startswith("Include")]
            Path(folder, name).write_text("\n".join(flat), newline="")
        config = Path(folder, "config")
        text = "\n".join([*lines, *mistake])
        config.write_text(text.replace("INNER", f"{folder}/inner"), newline="")
        typed = Destination(host, user, None)
        theirs = found(typed, config, by_openssh=True)
        assert found(typed, config, by_openssh=False) == theirs
        aliases(config)
