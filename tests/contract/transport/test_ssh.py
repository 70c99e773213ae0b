"""SSH specifics: keys of hosts and users, jumps, servers that lack something, cut links."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from dataclasses import replace
from functools import partial
from getpass import getuser

import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.errors import (
    AuthenticationError,
    CommandTimeout,
    ConnectError,
    HostKeyError,
    TargetError,
    TransferError,
    UsageError,
)


@pytest.fixture(params=["paramiko", "openssh"])
def connect(request):
    """Connects with each client."""
    return partial(transport.connect, ssh_client=request.param)


def hello(connection) -> str:
    with connection as link:
        return link.run(["echo", "hello"]).text.strip()


@pytest.fixture
def config(sshd, tmp_path, monkeypatch):
    """Writes an ssh_config after the one that knows the alias ``pi``, and makes it the user's."""

    def write(*lines: str):
        path = tmp_path / "ssh_config"
        path.write_text("\n".join([*lines, "", sshd.config.read_text()]))
        monkeypatch.setenv("SHUFFLENET_DEPLOY_SSH_CONFIG", str(path))
        return path

    return write


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(os.urandom(4 << 20))
    return path


# --- keys of the host ------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused(connect, sshd, tmp_path):
    empty = tmp_path / "known_hosts"
    empty.touch()
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(sshd.folder / "host_key.pub")], check=True, capture_output=True
    ).stdout.split()[1]
    with pytest.raises(HostKeyError) as caught:
        hello(connect(replace(sshd.settings, known_hosts=empty)))
    message = str(caught.value)
    assert shown.decode() in message
    assert f"ssh -p {sshd.port}" in message
    assert f"{sshd.user}@127.0.0.1 exit" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert empty.read_text() == ""


def test_a_changed_host_key_is_refused(connect, sshd, new_key, tmp_path):
    other = new_key("other").with_suffix(".pub").read_text().split()[:2]
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sshd.port} {' '.join(other)}\n")
    with pytest.raises(HostKeyError, match="HAS CHANGED") as caught:
        hello(connect(replace(sshd.settings, known_hosts=known)))
    assert f"{known}:1" in str(caught.value)
    assert f"ssh-keygen -f {known} -R '[127.0.0.1]:{sshd.port}'" in str(caught.value)
    assert not caught.value.transient


def test_a_revoked_host_key_is_refused(connect, sshd, tmp_path):
    known = tmp_path / "known_hosts"
    text = sshd.known_hosts.read_text()
    known.write_text(text + "@revoked " + text)
    with pytest.raises(HostKeyError, match="revoked"):
        hello(connect(replace(sshd.settings, known_hosts=known)))


def test_hashed_known_hosts(sshd, tmp_path):
    known = tmp_path / "known_hosts"
    known.write_text(sshd.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    assert hello(transport.connect(replace(sshd.settings, known_hosts=known))) == "hello"


def test_the_kind_of_key_that_is_known_is_asked_for(sshd_with, new_key, tmp_path):
    rsa = new_key("host_rsa", kind="rsa")
    server = sshd_with(f"HostKey {rsa}")
    known = tmp_path / "known_hosts"
    public = rsa.with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{server.port} {' '.join(public)}\n")
    assert hello(transport.connect(replace(server.settings, known_hosts=known))) == "hello"


def test_host_key_alias(sshd, config, tmp_path):
    known = tmp_path / "known_hosts"
    known.write_text("the-board " + " ".join(sshd.known_hosts.read_text().split()[1:]) + "\n")
    config("Host pi", "HostKeyAlias the-board", f"UserKnownHostsFile {known}")
    assert hello(transport.connect("pi")) == "hello"


# --- keys of the user ------------------------------------------------------------------------


def test_a_wrong_key_is_refused(sshd, connect, new_key):
    settings = replace(sshd.settings, identity_file=new_key("wrong"))
    with pytest.raises(AuthenticationError, match=r"append .*wrong\.pub to") as caught:
        hello(connect(settings))
    assert f"{sshd.user}@127.0.0.1:{sshd.port}" in str(caught.value)
    assert not caught.value.transient
    assert caught.value.exit_code == 2


def test_a_missing_key_is_named(connect, sshd, tmp_path):
    settings = replace(sshd.settings, identity_file=tmp_path / "nowhere")
    with pytest.raises(AuthenticationError, match=r"there is no key at .*nowhere"):
        hello(connect(settings))


def test_a_file_that_is_no_key_is_named(connect, sshd, tmp_path):
    (tmp_path / "text").write_text("hello\n")
    with pytest.raises(AuthenticationError, match="text is not a private key"):
        hello(connect(replace(sshd.settings, identity_file=tmp_path / "text")))


def test_an_encrypted_key_needs_the_agent(connect, sshd, config, new_key, tmp_path, monkeypatch):
    key = new_key("encrypted", passphrase="correct horse")
    authorized = sshd.folder / "authorized_keys"
    authorized.write_text(authorized.read_text() + key.with_suffix(".pub").read_text())
    config(
        *("Host locked", "HostName 127.0.0.1", f"Port {sshd.port}", f"IdentityFile {key}"),
        *("IdentitiesOnly yes", f"UserKnownHostsFile {sshd.known_hosts}"),
    )
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with pytest.raises(AuthenticationError, match=r"encrypted: load it .*ssh-add .*encrypted`"):
        hello(connect("locked"))
    with agent(tmp_path / "agent", key, "correct horse", tmp_path):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        assert hello(connect("locked")) == "hello"
    # A dangling SSH_AUTH_SOCK is as good as none.
    with pytest.raises(AuthenticationError, match="ssh-add"):
        hello(connect("locked"))


@contextlib.contextmanager
def agent(sock, key, passphrase, folder):
    """An ssh-agent that holds one key."""
    askpass = folder / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    askpass.chmod(0o755)
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(sock)], stdout=subprocess.DEVNULL)
    try:
        while not sock.exists():
            time.sleep(0.02)
        env = {
            **os.environ,
            "SSH_AUTH_SOCK": str(sock),
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": ":0",
        }
        subprocess.run(["ssh-add", str(key)], env=env, check=True, capture_output=True)
        yield
    finally:
        process.terminate()
        process.wait()


def test_a_server_without_public_keys_says_what_to_enable(connect, sshd_with):
    server = sshd_with("PubkeyAuthentication no", "PasswordAuthentication yes")
    with pytest.raises(AuthenticationError, match="PubkeyAuthentication"):
        hello(connect(server.settings))


# --- the way there ---------------------------------------------------------------------------


def test_an_alias_of_the_configuration(sshd, config):
    config()
    assert hello(transport.connect("pi")) == "hello"


def test_the_typed_user_and_port_win(sshd, config):
    config("Host pi", "Port 1", "User nobody-here")
    assert hello(transport.connect(f"{getuser()}@pi:{sshd.port}")) == "hello"


def test_proxy_jump_chain(connect, sshd, config):
    config(
        *("Host first", f"HostName 127.0.0.1\nPort {sshd.port}\nUser {getuser()}"),
        *("Host deep", "HostName 127.0.0.1", f"Port {sshd.port}", "ProxyJump first,pi"),
        *("Host first deep", f"IdentityFile {sshd.identity}"),
        f"UserKnownHostsFile {sshd.known_hosts}",
    )
    log = sshd.folder / "sshd.log"
    before = log.read_text().count("Accepted publickey")
    assert hello(connect("deep")) == "hello"
    assert log.read_text().count("Accepted publickey") == before + 3


def test_a_jump_that_leads_nowhere(connect, config):
    config("Host far", "HostName 127.0.0.1", "Port 1", "ProxyJump pi")
    with pytest.raises(ConnectError, match=r"jump host cannot reach 127.0.0.1:1"):
        hello(connect("far"))


def test_jumps_in_circles_are_refused(config):
    config("Host a", "ProxyJump b", "Host b", "ProxyJump a")
    with pytest.raises(UsageError, match="a -> b -> a"):
        transport.connect("a")


def test_proxy_command(connect, sshd, config):
    config(
        "Host behind",
        "HostName 127.0.0.1",
        f"Port {sshd.port}",
        f"IdentityFile {sshd.identity}",
        f"UserKnownHostsFile {sshd.known_hosts}",
        f"ProxyCommand ssh -F {sshd.config} -W %h:%p pi",
    )
    assert hello(connect("behind")) == "hello"


def test_nothing_listens(connect, sshd):
    with pytest.raises(ConnectError, match="refused the connection") as caught:
        hello(connect(replace(sshd.settings, port=1)))
    assert caught.value.transient


def test_something_else_than_ssh_answers(connect, sshd, relay):
    other = relay(1)  # accepts, and hangs up
    with pytest.raises(ConnectError, match="SSH handshake"):
        hello(connect(replace(sshd.settings, port=other.port)))


def test_a_failed_connection_leaves_no_thread(sshd, new_key):
    before = threading.active_count()
    with pytest.raises(AuthenticationError):
        hello(transport.connect(replace(sshd.settings, identity_file=new_key("wrong"))))
    assert threading.active_count() <= before


# --- servers that lack something -------------------------------------------------------------


def test_no_sftp_subsystem(connect, sshd, file, tmp_path):
    sftp = ["sftp", "-q", "-b", "/dev/null", "-F", str(sshd.config), "pi"]
    assert subprocess.run(sftp, check=False, capture_output=True).returncode == 255
    with connect(sshd.settings) as link:
        link.push(file, str(tmp_path / "there"))
        link.pull(str(tmp_path / "there"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_a_small_board_s_tools_suffice(sshd_with, tools, file, tmp_path, ended):
    """Neither setsid nor timeout nor Python; sha256 from the next best program."""
    folder = tools("sh", "env", "cat", "rm", "mv", "chmod", "sleep", "echo", "openssl")
    server = sshd_with(f"SetEnv PATH={folder}")
    with transport.connect(server.settings) as link:
        link.push(file, str(tmp_path / "there"))
        link.pull(str(tmp_path / "there"), tmp_path / "back")
        with pytest.raises(CommandTimeout, match="was killed"):
            link.run(
                [
                    "sh",
                    "-c",
                    f"echo $$ >{tmp_path}/pid; sleep 300 & echo $! >>{tmp_path}/pid; wait",
                ],
                timeout_s=1,
            )
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert all(ended(int(pid)) for pid in (tmp_path / "pid").read_text().split())


def test_no_program_for_sha256(sshd_with, tools, file, tmp_path):
    server = sshd_with(f"SetEnv PATH={tools('sh', 'env', 'cat', 'rm', 'mv', 'chmod')}")
    with (
        transport.connect(server.settings) as link,
        pytest.raises(TargetError, match="neither sha256sum"),
    ):
        link.push(file, str(tmp_path / "there"))
    assert not list(tmp_path.glob("*there*"))


def test_one_channel_at_a_time_is_enough(connect, sshd_with, tmp_path, ended):
    server = sshd_with("MaxSessions 1")
    with connect(server.settings) as link:
        with pytest.raises(CommandTimeout, match="was killed"):
            link.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; sleep 300; :"], timeout_s=1)
        assert ended(int((tmp_path / "pid").read_text()))
        assert link.run(["echo", "on"]).text == "on\n"


def test_what_login_files_print_is_not_the_program_s(sshd_with, tools):
    noisy = tools("env", "cat", "sleep", sh='echo welcome; echo warning >&2; exec /bin/sh "$@"')
    server = sshd_with(f"SetEnv PATH={noisy}")
    with transport.connect(server.settings) as link:
        result = link.run(["cat"], stdin=b"alone")
    assert (result.stdout, result.stderr) == (b"alone", b"")


def test_a_forced_command_is_recognised(connect, sshd_with):
    server = sshd_with("ForceCommand echo only this")
    with (
        connect(server.settings) as link,
        pytest.raises(TargetError, match=r"only this.*login shell"),
    ):
        link.run(["true"])


def test_a_command_line_too_long_says_so(sshd):
    with transport.connect(sshd.settings) as link, pytest.raises(UsageError, match="command line"):
        link.run(["echo", "x" * 200_000])


# --- faults ----------------------------------------------------------------------------------


def test_disk_full(full_disk, file):
    server, folder = full_disk
    with transport.connect(server.settings) as link:
        with pytest.raises(TargetError, match=rf"disk of .* is full at {folder}/there.*4\.2 MB"):
            link.push(file, f"{folder}/there")
        assert list(folder.iterdir()) == []
        assert link.run(["echo", "fine"]).text == "fine\n"


def test_a_read_only_folder(sshd, file):
    with (
        transport.connect(sshd.settings) as link,
        pytest.raises(TargetError, match="/sys/kernel/there"),
    ):
        link.push(file, "/sys/kernel/there")


def through(relay_, sshd, tmp_path):
    """Settings that reach the sshd through a relay, whose address has the same key."""
    known = tmp_path / "relay_known_hosts"
    key = " ".join(sshd.known_hosts.read_text().split()[1:])
    known.write_text(f"[127.0.0.1]:{relay_.port} {key}\n")
    return replace(sshd.settings, port=relay_.port, known_hosts=known)


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_cut_in_the_middle_of_a_push(connect, sshd, relay, file, tmp_path):
    goal = tmp_path / "goal"
    goal.mkdir()
    (goal / "there").write_text("old")
    cut = relay(sshd.port, limit_bytes=1 << 20)
    connection = connect(through(cut, sshd, tmp_path))
    with connection as link, pytest.raises(TransferError, match="lost in the middle") as caught:
        link.push(file, str(goal / "there"))
    assert caught.value.transient
    assert (goal / "there").read_text() == "old"
    for _ in range(100):  # the target itself removes the unfinished file
        if names(goal) == ["there"]:
            break
        time.sleep(0.05)
    assert names(goal) == ["there"]
    cut.limit_bytes = float("inf")
    with connection as link:  # the same object connects again
        link.push(file, str(goal / "there"))
    assert (goal / "there").read_bytes() == file.read_bytes()


def test_a_cut_in_the_middle_of_a_pull(connect, sshd, relay, file, tmp_path):
    cut = relay(sshd.port)
    (tmp_path / "back").write_text("old")
    with connect(through(cut, sshd, tmp_path)) as link:
        os.mkfifo(tmp_path / "slow")
        with (tmp_path / "slow").open("r+b", buffering=0) as pipe:
            pipe.write(b"the first half")
            threading.Timer(0.5, cut.hang_up).start()
            with pytest.raises(TransferError, match="lost"):
                link.pull(str(tmp_path / "slow"), tmp_path / "back")
            # What still reads there would wait for the next writer for ever.
            (tmp_path / "slow").unlink()
    assert (tmp_path / "back").read_text() == "old"


def test_a_cut_while_a_program_runs(connect, sshd, relay, tmp_path):
    cut = relay(sshd.port)
    with connect(through(cut, sshd, tmp_path)) as link:
        threading.Timer(0.5, cut.hang_up).start()
        with pytest.raises(ConnectError, match="lost while sleep ran") as caught:
            link.run(["sleep", "30"])
        assert caught.value.transient
        with pytest.raises(ConnectError):
            link.run(["true"])


def test_the_server_of_the_connection_dies(connect, sshd):
    with connect(sshd.settings) as link:
        # The session leader's parent is the sshd of this connection.
        up = "set -- ${l##*) }; "
        ask = f"read -r l </proc/$$/stat; {up} read -r l </proc/$4/stat; {up} echo $2"
        server = int(link.run(["sh", "-c", ask]).text)
        assert server != sshd.process.pid
        threading.Timer(0.5, os.kill, (server, signal.SIGKILL)).start()
        with pytest.raises(ConnectError, match="lost"):
            link.run(["sleep", "30"])


def test_the_program_is_killed_from_outside(connect, sshd, tmp_path):
    with connect(sshd.settings) as link:
        killer = threading.Timer(0.7, lambda: os.kill(int((tmp_path / "pid").read_text()), 9))
        killer.start()
        result = link.run(["sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 30"])
        assert result.signal == signal.SIGKILL


def test_using_it_before_entering_is_an_error(sshd):
    with pytest.raises(ConnectError, match="not connected"):
        transport.connect(sshd.settings).run(["true"])
