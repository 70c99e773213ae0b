"""Parity with OpenSSH: host keys, user keys, algorithms; and advice that can be typed."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from getpass import getuser
from pathlib import Path

import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.errors import (
    AuthenticationError,
    HostKeyError,
    NegotiationError,
    UsageError,
)


def keygen(*words: object, folder=None) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", *map(str, words)], check=True, cwd=folder, capture_output=True
    )


@pytest.fixture
def alias(tmp_path, monkeypatch):
    """Makes ``pi`` an alias of a server: lines for its block -> nothing; later lines are usual."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def make(server, *lines: str):
        config = tmp_path / "config"
        config.write_text("\n".join(["Host pi", *lines, server.config.read_text()]))
        monkeypatch.setenv("SHUFFLENET_DEPLOY_SSH_CONFIG", str(config))
        return config

    return make


def client_used(host: str = "pi", client: transport.SshClient = "auto") -> str:
    """Log in; whose client it was."""
    with transport.connect(host, ssh_client=client) as link:
        assert link.run(["echo", "hello"]).text == "hello\n"
        assert isinstance(link, transport.SshTransport)
        return link.client


def eventually(holds) -> bool:
    deadline = time.monotonic() + 20
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(holds())


def public_key(server) -> str:
    return " ".join((server.folder / "host_key.pub").read_text().split()[:2])


# --- host keys -------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_an_entry_without_a_port_is_for_every_port(sshd, alias, tmp_path, client):
    known = tmp_path / "known"
    known.write_text(f"127.0.0.1 {public_key(sshd)}\n")
    alias(sshd, f"UserKnownHostsFile {known}")
    assert client_used(client=client) == client
    keygen("-H", "-f", known)
    assert client_used(client=client) == client


def test_another_key_without_a_port_says_nothing_of_this_one(sshd, alias, new_key, tmp_path):
    known = tmp_path / "known"
    known.write_text(f"127.0.0.1 {new_key('k').with_suffix('.pub').read_text()}")
    alias(sshd, f"UserKnownHostsFile {known}")
    with pytest.raises(HostKeyError, match="is unknown"):
        client_used(client="paramiko")


def test_a_key_revoked_for_every_port(sshd, alias, tmp_path):
    known = tmp_path / "known"
    known.write_text(f"{sshd.known_hosts.read_text()}@revoked * {public_key(sshd)}\n")
    alias(sshd, f"UserKnownHostsFile {known}")
    for client in ("paramiko", "openssh"):
        with pytest.raises(HostKeyError, match="revoked"):
            client_used(client=client)


def test_any_number_of_files_lists_keys(sshd, alias, tmp_path):
    names = [tmp_path / f"known {number}" for number in range(4)]
    names[3].write_text(sshd.known_hosts.read_text())
    alias(sshd, "UserKnownHostsFile " + " ".join(f'"{name}"' for name in names))
    assert client_used() == "paramiko"
    assert client_used(client="openssh") == "openssh"


@pytest.fixture
def certified(sshd_with, tmp_path):
    """A server that shows a certificate of its key, and the authority's public key."""
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "ca")
    keygen("-t", "ed25519", "-N", "", "-f", tmp_path / "shown")
    keygen("-s", tmp_path / "ca", "-I", "pi", "-h", "-n", "127.0.0.1", tmp_path / "shown.pub")
    server = sshd_with(
        f"HostKey {tmp_path / 'shown'}", f"HostCertificate {tmp_path / 'shown-cert.pub'}"
    )
    return server, (tmp_path / "ca.pub").read_text()


def test_a_certificate_of_the_host(certified, alias, tmp_path):
    server, authority = certified
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {authority}")
    alias(server, f"UserKnownHostsFile {known}")
    assert client_used() == "openssh"
    known.write_text(f"@cert-authority * {authority}@revoked * {authority}")
    with pytest.raises(HostKeyError):
        client_used()
    known.write_text(f"@cert-authority * {authority}")
    with pytest.raises(HostKeyError, match="leave out --ssh-client paramiko"):
        client_used(client="paramiko")
    known.write_text(f"@cert-authority *.elsewhere {authority}")
    with pytest.raises(HostKeyError, match="is unknown"):
        client_used()


def test_a_certificate_for_another_host(sshd_with, alias, tmp_path):
    for name in ("ca", "shown"):
        keygen("-t", "ed25519", "-N", "", "-f", tmp_path / name)
    keygen("-s", tmp_path / "ca", "-I", "pi", "-h", "-n", "elsewhere", tmp_path / "shown.pub")
    server = sshd_with(
        f"HostKey {tmp_path / 'shown'}", f"HostCertificate {tmp_path / 'shown-cert.pub'}"
    )
    (tmp_path / "known").write_text(f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}")
    alias(server, f"UserKnownHostsFile {tmp_path / 'known'}")
    with pytest.raises(HostKeyError, match=r"certificate .*is invalid: .*principal"):
        client_used()


def test_keys_that_a_command_tells(sshd, alias, tmp_path):
    script = tmp_path / "keys"
    script.write_text(f"#!/bin/sh\necho \"$1\" '{public_key(sshd)}'\n")
    script.chmod(0o755)
    alias(sshd, f"KnownHostsCommand {script} %H", f"UserKnownHostsFile {tmp_path / 'none'}")
    assert client_used() == "openssh"
    with pytest.raises(UsageError, match="KnownHostsCommand"):
        client_used(client="paramiko")


# --- keys of the user --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ecdsa", "rsa", "ed25519"])
@pytest.mark.parametrize("form", ["PKCS8", "PEM", "RFC4716"])
def test_every_format_of_ssh_keygen(sshd, alias, tmp_path, kind, form):
    key = tmp_path / "key"
    keygen("-t", kind, "-m", form, "-N", "", "-f", key)
    authorized = sshd.folder / "authorized_keys"
    authorized.write_text(authorized.read_text() + key.with_suffix(".pub").read_text())
    alias(sshd, f"IdentityFile {key}", "IdentitiesOnly yes", "Match all", "IdentityFile none")
    config = alias(sshd)
    config.write_text(
        config.read_text().replace(f"IdentityFile {sshd.identity}", f"IdentityFile {key}")
    )
    assert client_used() == "paramiko"


def test_a_key_of_openssl(sshd, alias, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(key)], check=True)
    key.chmod(0o600)
    authorized = sshd.folder / "authorized_keys"
    from shufflenet_deploy.transport.ssh_keys import private_key  # noqa: PLC0415

    found = private_key(key)
    authorized.write_text(f"{authorized.read_text()}{found.get_name()} {found.get_base64()}\n")
    config = alias(sshd)
    config.write_text(config.read_text().replace(str(sshd.identity), str(key)))
    assert client_used() == "paramiko"


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
def test_the_public_half_in_every_format(new_key, form, tmp_path):
    from shufflenet_deploy.transport.ssh_keys import public_blob  # noqa: PLC0415

    key = new_key("key", kind="rsa")
    plain = public_blob(key)
    text = subprocess.check_output(["ssh-keygen", "-e", "-m", form, "-f", f"{key}.pub"])
    key.with_suffix(".pub").write_bytes(text)
    found = public_blob(key)
    assert plain is not None
    # ssh-keygen itself cannot read a public PEM of PKCS 1 back; nor need we.
    assert found == plain or form == "PEM"


@pytest.mark.parametrize(
    ("kind", "client", "named"),
    [("ed25519", "paramiko", True), ("ed25519", "openssh", False), ("rsa", "paramiko", False)],
)
def test_a_certificate_of_the_user(sshd_with, new_key, alias, tmp_path, kind, client, named):
    authority = new_key("ca")
    server = sshd_with(f"TrustedUserCAKeys {authority}.pub")
    key = new_key("mine", kind=kind)
    keygen("-s", authority, "-I", "me", "-n", getuser(), f"{key}.pub")
    certificate = tmp_path / "mine-cert.pub"
    lines = []
    if named:
        certificate = certificate.rename(tmp_path / "elsewhere.pub")
        lines = [f"CertificateFile {certificate}"]
    config = alias(server, *lines)
    config.write_text(config.read_text().replace(str(server.identity), str(key)))
    assert client_used(client=client) == client


def test_an_agent_of_its_own(sshd, alias, tmp_path):
    sock = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        while not sock.exists():
            time.sleep(0.02)
        subprocess.run(
            ["ssh-add", str(sshd.identity)],
            env={**os.environ, "SSH_AUTH_SOCK": str(sock)},
            check=True,
            capture_output=True,
        )
        config = alias(sshd, f"IdentityAgent {sock}")
        config.write_text(re.sub(r"  (IdentityFile|IdentitiesOnly).*\n", "", config.read_text()))
        for client in ("paramiko", "openssh"):
            assert client_used(client=client) == client
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("form", ["RFC4716", "PKCS8", "PEM"])
def test_an_encrypted_key_in_every_format(form, tmp_path):
    from shufflenet_deploy.transport.ssh_keys import (  # noqa: PLC0415
        EncryptedKeyError,
        private_key,
        public_blob,
    )

    key = tmp_path / "key"
    keygen("-t", "ecdsa", "-m", form, "-N", "secret", "-f", key)
    with pytest.raises(EncryptedKeyError):
        private_key(key)
    beside = public_blob(key)
    assert beside
    key.with_suffix(".pub").unlink()
    # Only OpenSSH's own format states in the clear which key it is.
    assert public_blob(key) == (beside if form == "RFC4716" else None)


def test_a_server_that_knows_old_signatures_only(sshd_with, alias, new_key):
    key = new_key("rsa", kind="rsa")
    server = sshd_with("PubkeyAcceptedAlgorithms ssh-rsa")
    (server.folder / "authorized_keys").write_bytes(key.with_suffix(".pub").read_bytes())
    config = alias(server, "PubkeyAcceptedAlgorithms ssh-rsa")
    config.write_text(config.read_text().replace(str(server.identity), str(key)))
    assert client_used() == "openssh"


def test_a_key_on_a_token_is_for_openssh(sshd, alias, tmp_path):
    key = tmp_path / "id_ed25519_sk"
    key.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----\n")
    key.chmod(0o600)
    key.with_name("id_ed25519_sk.pub").write_text("sk-ssh-ed25519@openssh.com AAAA me\n")
    config = alias(sshd)
    config.write_text(config.read_text().replace(str(sshd.identity), str(key)))
    link = transport.connect("pi")
    with pytest.raises(AuthenticationError):
        link.__enter__()
    assert isinstance(link, transport.SshTransport)
    assert link.client == "openssh"
    with pytest.raises(AuthenticationError, match=r"paramiko can use.*--ssh-client openssh"):
        client_used(client="paramiko")


def test_a_way_of_logging_in_that_openssh_alone_has(sshd_with, alias, new_key):
    """GSSAPI is enabled on both sides: OpenSSH is tried, and without a ticket fails as well."""
    server = sshd_with("GSSAPIAuthentication yes")
    config = alias(server, "GSSAPIAuthentication yes")
    config.write_text(config.read_text().replace(str(server.identity), str(new_key("wrong"))))
    with pytest.raises(AuthenticationError, match="accepts not the key offered"):
        client_used()
    assert (server.folder / "sshd.log").read_text().count("Failed publickey") >= 2


#: What makes sense at a terminal, and would keep a program from its work.
AT_A_TERMINAL = (
    *("ControlMaster auto", "ControlPath FOLDER/shared-%C", "ControlPersist yes"),
    *("RequestTTY force", "RemoteCommand sleep 99", "SessionType none", "StdinNull yes"),
    *("ForkAfterAuthentication yes", "PermitLocalCommand yes", "LocalCommand touch FOLDER/local"),
    *("LocalForward FOLDER/forward 127.0.0.1:2", "ExitOnForwardFailure yes", "LogLevel QUIET"),
    *("ForwardAgent yes", "AddKeysToAgent yes", "ServerAliveInterval 0", "VisualHostKey yes"),
)


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
@pytest.mark.parametrize("hops", [0, 1])
def test_whatever_the_configuration_asks_for_at_a_terminal(sshd, alias, tmp_path, client, hops):
    lines = [line.replace("FOLDER", str(tmp_path)) for line in AT_A_TERMINAL]
    config = alias(sshd, *lines)
    if hops:
        config.write_text(
            config.read_text().replace("Host pi\n", "Host pi hop\n")
            + "Match originalhost pi\n  ProxyJump hop\n"
        )
    assert client_used(client=client) == client
    assert not (tmp_path / "local").exists()
    assert not list(tmp_path.glob("shared-*"))


def test_the_connection_ends_with_the_process_that_made_it(sshd, alias):
    alias(sshd)
    program = (
        "from shufflenet_deploy import transport\n"
        "link = transport.connect('pi', ssh_client='openssh').__enter__()\n"
        "print(link.run(['sh', '-c', 'echo $PPID']).text, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        session = int(process.stdout.readline())
        process.kill()
    assert eventually(lambda: not Path(f"/proc/{session}").exists())


# --- algorithms --------------------------------------------------------------------------------

#: What OpenSSH still has and paramiko does not.
LACKING = ("MACs umac-64-etm@openssh.com", "KexAlgorithms sntrup761x25519-sha512@openssh.com")


@pytest.mark.parametrize("line", LACKING)
def test_what_paramiko_lacks_openssh_does(sshd_with, alias, line):
    extra = ("Ciphers aes128-ctr",) if line.startswith("MACs") else ()
    server = sshd_with(line, *extra)
    alias(server)
    assert client_used() == "openssh"
    with pytest.raises(NegotiationError) as caught:
        client_used(client="paramiko")
    assert line.split()[1] in str(caught.value)
    assert "--ssh-client openssh" in str(caught.value)
    assert (caught.value.exit_code, caught.value.transient) == (2, False)


def test_what_neither_has_is_named(sshd_with, alias):
    server = sshd_with("Ciphers 3des-cbc")
    alias(server)
    with pytest.raises(NegotiationError, match="it allows 3des-cbc") as caught:
        client_used()
    # The advice: allow it, if you must.
    advised = re.search(r"in ~/.ssh/config: (.*)$", str(caught.value))
    assert advised
    alias(server, advised[1])
    assert client_used(client="openssh") == "openssh"


def test_what_the_configuration_allows_is_all_that_is_proposed(sshd, alias):
    alias(
        sshd, "Ciphers chacha20-poly1305@openssh.com,aes256-ctr", "KexAlgorithms ecdh-sha2-nistp256"
    )
    with transport.connect("pi", ssh_client="paramiko") as link:
        link.run(["true"])
    alias(sshd, "Ciphers aes256-cbc")
    with pytest.raises(NegotiationError, match="aes256-cbc"):
        client_used()


# --- advice, typed -----------------------------------------------------------------------------


def typed(command: str, answer: bytes = b"yes\n") -> None:
    """Type a command into a shell at a terminal, and answer what it asks."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", command])
    output, answered, deadline = b"", False, time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            output += os.read(terminal, 4096)
        except OSError:
            break
        if not answered and b"fingerprint])?" in output:
            os.write(terminal, answer)
            answered = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, (command, output)


def advice(error: Exception, pattern: str) -> str:
    found = re.search(pattern, str(error))
    assert found, str(error)
    return found[1]


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
@pytest.mark.parametrize(
    "lines",
    [
        ("StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"),
        ("StrictHostKeyChecking yes", "UserKnownHostsFile FOLDER/known"),
        ("BatchMode yes", 'UserKnownHostsFile "FOLDER/known hosts"', "RemoteCommand sleep 99"),
        ("HostKeyAlias the-board", "UserKnownHostsFile FOLDER/known"),
        (
            *("NoHostAuthenticationForLocalhost yes", "UserKnownHostsFile FOLDER/known"),
            *AT_A_TERMINAL,
        ),
    ],
)
def test_accepting_a_key(sshd, alias, tmp_path, monkeypatch, lines, client):
    from shufflenet_deploy.transport import ssh_expansion  # noqa: PLC0415

    monkeypatch.setattr(ssh_expansion, "home", lambda: tmp_path / "my home")
    (tmp_path / "my home/.ssh").mkdir(parents=True)
    alias(sshd, *(line.replace("FOLDER", str(tmp_path)) for line in lines))
    with pytest.raises(HostKeyError) as caught:
        client_used(client=client)
    typed(advice(caught.value, r"accept it once with: (.*)$"))
    assert client_used(client=client) == client


@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_accepting_the_keys_of_a_chain_of_hops(sshd, alias, tmp_path, client):
    known = tmp_path / "known"
    config = alias(sshd, f"UserKnownHostsFile {known}", "ProxyJump first,second")
    reach = f"  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.user}\n"
    keys = f"  IdentityFile {sshd.identity}\n  UserKnownHostsFile {known}\n"
    config.write_text(
        "Host pi\n  HostKeyAlias key-of-pi\n"
        + "".join(
            f"Host {name}\n  HostKeyAlias key-of-{name}\n{reach}{keys}"
            for name in ("first", "second")
        )
        + config.read_text()
    )
    for name in ("first", "second", "pi"):
        with pytest.raises(HostKeyError) as caught:
            client_used(client=client)
        command = advice(caught.value, r"accept it once with: (.*)$")
        assert command.endswith(f"{name} exit")
        typed(command)
        assert f"key-of-{name} " in known.read_text()
    assert client_used(client=client) == client


@pytest.mark.parametrize("name", ["[127.0.0.1]:PORT", "[127.0.0.1]:*"])
@pytest.mark.parametrize("client", ["paramiko", "openssh"])
def test_forgetting_a_key(sshd, alias, new_key, tmp_path, client, name):
    known = tmp_path / "known hosts"
    other = new_key("other").with_suffix(".pub").read_text()
    known.write_text(f"# mine\n{name.replace('PORT', str(sshd.port))} {other}")
    alias(sshd, f'UserKnownHostsFile "{known}"')
    with pytest.raises(HostKeyError, match="HAS CHANGED") as caught:
        client_used(client=client)
    assert f"{known}:2" in str(caught.value)
    typed(advice(caught.value, r"forget the old key with: (.*)$"))
    with pytest.raises(HostKeyError, match="is unknown") as caught:
        client_used(client=client)
    typed(advice(caught.value, r"accept it once with: (.*)$"))
    assert client_used(client=client) == client


def test_copying_a_key(sshd_with, alias, new_key, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    server = sshd_with("PasswordAuthentication yes")
    key = new_key("my key")
    config = alias(server, "RemoteCommand sleep 99", "SessionType none", "BatchMode yes")
    config.write_text(config.read_text().replace(str(server.identity), f'"{key}"'))
    with pytest.raises(AuthenticationError) as caught:
        client_used()
    command = advice(caught.value, r"copy one there with: (.*)$")
    assert "my key.pub" in command
    # A key that is accepted stands in for the password; nothing is written.
    identity = f"-o IdentityFile={server.identity}"
    typed(command.replace("ssh-copy-id", f"ssh-copy-id -n {identity}"))


def test_unlocking_a_key(sshd, alias, new_key, monkeypatch, tmp_path):
    key = new_key("locked", passphrase="x")
    config = alias(sshd)
    config.write_text(config.read_text().replace(str(sshd.identity), str(key)))
    with pytest.raises(AuthenticationError) as caught:
        client_used()
    command = advice(caught.value, r"load it with `(.*)`$")
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho x\n")
    askpass.chmod(0o755)
    ask = f"SSH_ASKPASS={askpass} SSH_ASKPASS_REQUIRE=force"
    typed(f'export {ask}; {command} && ssh-add -l && kill "$SSH_AGENT_PID"')
