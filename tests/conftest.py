"""Fixtures for everybody: a real sshd on loopback, and targets over it and over ``local``."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from getpass import getuser
from pathlib import Path

import hypothesis
import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.target import Target
from shufflenet_deploy.transport import SshSettings

_START_SECS = 10.0

# The same inputs in every run, so that a change is blamed only for what it breaks;
# HYPOTHESIS_PROFILE=random looks for new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("random", derandomize=False)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers share the processors: pools of threads in each, and in what each starts, would
    # only wait for one another. Said before anything imports what reads it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests have caches of their own; the C libraries that zig builds from source, half a minute each,
# are the same in all of them.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("ZIG_GLOBAL_CACHE_DIR", str(_CACHE / "zig"))

#: Files that take half a minute or more where there are two processors, the longest first.
_LONGEST = (
    "e2e/board/test_computing.py",
    "e2e/board/test_counting.py",
    "e2e/board/test_android.py",
    "e2e/board/test_counting_native.py",
    "e2e/board/test_life.py",
    "contract/codegen/test_parallel_schedule.py",
    "e2e/bench/test_bench_command.py",
    "contract/codegen/test_generated_c.py",
    "e2e/test_export.py",
    "e2e/fleet/test_fleet.py",
    "e2e/fleet/test_faults.py",
    "e2e/test_deploying_page.py",
    "e2e/test_small_install.py",
    "contract/accuracy/test_evaluate.py",
    "contract/codegen/test_random_networks.py",
    "contract/target/test_target.py",
    "contract/codegen/test_int8_x86.py",
    "contract/target/test_self_contained.py",
    "e2e/test_eval.py",
    "e2e/test_every_command.py",
    "e2e/test_native.py",
    "e2e/bench/test_tune_lowering.py",
    "e2e/test_emit_c.py",
    "e2e/test_examples.py",
    "contract/codegen/test_int8_zoo.py",
    "contract/bench/test_sustained_session.py",
    "contract/codegen/test_int8_random.py",
    "contract/bench/test_session.py",
    "contract/transport/test_ssh_clients.py",
    "contract/cli/test_doctor_command.py",
    "contract/export/test_inspection.py",
    "contract/export/test_zoo_formats.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker is left alone with one at the end."""
    tests = Path(__file__).parent
    ranks = {tests / name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@dataclass(frozen=True, kw_only=True)
class Sshd:
    """A running sshd of our own and what a client needs to log in to it.

    ``config`` is an ssh_config that knows it under the alias ``pi``; ``folder`` holds the keys.
    """

    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path
    config: Path
    folder: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def settings(self) -> SshSettings:
        """For ``transport.connect``."""
        return SshSettings(
            hostname=self.host,
            port=self.port,
            user=self.user,
            identity_file=self.identity,
            known_hosts=self.known_hosts,
        )

    @property
    def address(self) -> str:
        """``user@host:port``, as typed after ``--host``."""
        return f"{self.user}@{self.host}:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """For a command line under test: makes ``--host pi`` reach this server."""
        return {"SHUFFLENET_DEPLOY_SSH_CONFIG": str(self.config)}


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """For what a run is to print even where its tests pass, in whichever process: see below."""
    return lambda text: record_property("shown", text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests had to show."""
    reports = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call"
    ]
    for report in reports:
        for name, text in report.user_properties:
            if name == "shown":
                terminalreporter.write_line(f"{report.nodeid}\n{text}\n")


@contextlib.contextmanager
def running_sshd(folder: Path, *options: str, inside: tuple[str, ...] = ()) -> Iterator[Sshd]:
    """Start an sshd that accepts one fresh key; ``options`` are lines for its configuration.

    ``inside`` is an argv that executes the one behind it, say, in a namespace.
    """
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None or shutil.which("ssh-keygen") is None:
        pytest.fail(
            "these tests talk to a real sshd: "
            "apt-get install --no-install-recommends openssh-server openssh-client"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it drops its privileges
    host_key, identity = folder / "host_key", folder / "id_ed25519"
    for key in (host_key, identity):
        generate_key(key)
    (folder / "authorized_keys").write_bytes(identity.with_suffix(".pub").read_bytes())
    port = free_port()
    (folder / "sshd_config").write_text(
        "\n".join(
            [
                # The first value of a keyword counts, so that a test can overrule what follows.
                *options,
                f"Port {port}",
                "ListenAddress 127.0.0.1",
                f"HostKey {host_key}",
                f"AuthorizedKeysFile {folder / 'authorized_keys'}",
                f"PidFile {folder / 'sshd.pid'}",
                "StrictModes no",
                "UsePAM no",
                "PasswordAuthentication no",
                "KbdInteractiveAuthentication no",
                "PermitRootLogin yes",
                "MaxStartups 100",
                "LogLevel VERBOSE",
                # Keeps bash from reading the developer's ~/.bashrc for every single program.
                "SetEnv SHLVL=5",
                "",
            ]
        )
    )
    public = host_key.with_suffix(".pub").read_text().split()[:2]
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{port} {' '.join(public)}\n")
    config = folder / "ssh_config"
    config.write_text(
        f"Host pi\n  HostName 127.0.0.1\n  Port {port}\n  User {getuser()}\n"
        f"  IdentityFile {identity}\n  IdentitiesOnly yes\n  UserKnownHostsFile {known_hosts}\n"
    )
    log = folder / "sshd.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*inside, program, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    try:
        _await_port(port, process, log)
        yield Sshd(
            host="127.0.0.1",
            port=port,
            user=getuser(),
            identity=identity,
            known_hosts=known_hosts,
            config=config,
            folder=folder,
            process=process,
        )
    finally:
        process.terminate()
        process.wait(timeout=10)


def generate_key(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> None:
    """A key pair; the public half goes to ``path`` with ``.pub`` behind it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
    )


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    process.kill()
    process.wait()
    pytest.fail(f"sshd did not start on port {port}:\n{log.read_text()}")


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An OpenSSH server with its own keys on a free port of loopback."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def running() -> Callable[..., contextlib.AbstractContextManager[Sshd]]:
    """``running_sshd``, for servers that several tests share."""
    return running_sshd


@pytest.fixture
def sshd_with(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Starts further servers: lines for their configuration -> a running sshd."""
    with contextlib.ExitStack() as stack:
        count = itertools.count(1)
        yield lambda *options, inside=(): stack.enter_context(
            running_sshd(tmp_path / f"sshd-{next(count)}", *options, inside=inside)
        )


@pytest.fixture
def new_key(tmp_path: Path) -> Callable[..., Path]:
    """Makes key pairs: ``new_key(name, passphrase="", kind="ed25519") -> private key``."""

    def make(name: str, *, passphrase: str = "", kind: str = "ed25519") -> Path:
        generate_key(tmp_path / name, passphrase=passphrase, kind=kind)
        return tmp_path / name

    return make


@pytest.fixture
def ssh_target(sshd: Sshd, tmp_path: Path) -> Iterator[Target]:
    """This machine as a target over real SSH; everything of ours lies in ``tmp_path``."""
    with (
        transport.connect(sshd.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        yield target


@pytest.fixture
def local_target(tmp_path: Path) -> Iterator[Target]:
    """This machine as a target without a link; everything of ours lies in ``tmp_path``."""
    with transport.connect("local") as link, Target(link, root=str(tmp_path / "target")) as target:
        yield target


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A real adb server on a port of its own, with a key of its own."""
    if shutil.which("adb") is None:
        pytest.fail("these tests talk through a real adb: apt-get install adb")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ANDROID_SDK_HOME", str(tmp_path_factory.mktemp("adb")))
        patch.delenv("ANDROID_SERIAL", raising=False)
        yield
        subprocess.run(["adb", "kill-server"], check=False, capture_output=True)
