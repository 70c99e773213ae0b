"""A target over each transport: installing, environments, the lock, cleaning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shufflenet_deploy import transport
from shufflenet_deploy.atomic_files import sha256_file
from shufflenet_deploy.errors import TargetError, UsageError
from shufflenet_deploy.target import Mode, Target, TransferStats


@dataclass(frozen=True, kw_only=True)
class Payload:
    name: str
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, Callable[[], Path]] = field(default_factory=dict)


SMALL = Payload(
    name="small",
    requirements=("six==1.16.0", "packaging==24.1"),
    imports=("six", "packaging.version"),
)
SHOW = "import six, packaging; print(six.__version__, packaging.__version__)"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache, monkeypatch):
    """Downloads of these tests go where nothing is yet, and stay for the next test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "shufflenet.onnx"
    path.write_bytes(os.urandom(500_000))
    return path


def test_facts_are_this_machine_s(target):
    facts = target.facts()
    assert facts.host == target.transport.host
    assert facts.transport == target.transport.kind
    assert facts.arch == os.uname().machine
    assert facts.kernel == f"Linux {os.uname().release}"
    assert [core.index for core in facts.cores] == sorted(os.sched_getaffinity(0)) or facts.cores
    assert facts.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert facts.libc == os.confstr("CS_GNU_LIBC_VERSION")
    assert facts.python is not None
    assert facts.free_bytes is not None
    assert facts.free_bytes > 0


def test_asking_for_facts_writes_nothing(target):
    target.facts()
    assert not Path(target.root).exists()


def test_install_pushes_once(target, model):
    remote = target.install(model)
    assert remote == f"{target.root}/objects/{sha256_file(model)}/shufflenet.onnx"
    assert Path(remote).read_bytes() == model.read_bytes()
    assert target.traffic == TransferStats(files_pushed=1, bytes_pushed=500_000)
    assert target.install(model) == remote
    assert target.traffic == TransferStats(files_pushed=1, bytes_pushed=500_000, files_present=1)


def test_the_next_session_pushes_nothing(target, model):
    remote = target.install(model)
    before = Path(remote).stat()
    with Target(target.transport, root=target.root) as again:
        assert again.install(model) == remote
        assert again.traffic == TransferStats(files_present=1)
    assert Path(remote).stat().st_ino == before.st_ino


@pytest.mark.parametrize("damage", [b"", b"x" * 500_000])
def test_a_damaged_object_is_pushed_again(target, model, damage):
    remote = target.install(model)
    Path(remote).write_bytes(damage)
    with Target(target.transport, root=target.root) as again:
        again.install(model)
        assert again.traffic.files_pushed == 1
    assert Path(remote).read_bytes() == model.read_bytes()


def test_a_changed_file_has_another_path(target, model):
    first = target.install(model)
    model.write_bytes(b"other")
    assert target.install(model) != first
    assert Path(first).stat().st_size == 500_000


def test_a_program_stays_executable(target, tmp_path):
    program = tmp_path / "hello"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    assert target.invoke([target.install(program)]).text == "hello\n"


def test_installing_what_is_not_there(target, tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        target.install(tmp_path / "missing")


def test_cores_are_respected(target):
    core = target.facts().cores[-1].index
    show = "import os; print(sorted(os.sched_getaffinity(0)))"
    result = target.invoke([sys.executable, "-c", show], cpus=[core])
    assert result.text.strip() == f"[{core}]"


def test_a_core_that_is_not_there(target):
    with pytest.raises(UsageError, match="has no core 4096: choose among 0"):
        target.invoke(["true"], cpus=[4096])


# --- environments ----------------------------------------------------------------------------


def test_the_system_s_python_serves_when_it_has_exactly_that(local_target):
    import packaging  # noqa: PLC0415

    payload = Payload(
        name="own", requirements=(f"packaging=={packaging.__version__}",), imports=("packaging",)
    )
    environment = local_target.environment(payload)
    assert environment.how is Mode.SYSTEM
    assert environment.python == (sys.executable,)
    assert not Path(local_target.root).exists()


@pytest.mark.parametrize(
    ("requirement", "module", "message"),
    [
        ("packaging==20.0", "packaging", r"packaging is .*, not ==20\.0"),
        ("no-such-thing==1", "no_such_thing", "no-such-thing is not installed"),
        ("packaging>1", "packaging.nothing", "import packaging.nothing: ModuleNotFoundError"),
    ],
)
def test_what_the_system_s_python_lacks_is_named(local_target, requirement, module, message):
    payload = Payload(name="lacking", requirements=(requirement,), imports=(module,))
    with pytest.raises(TargetError, match=message):
        local_target.environment(payload, mode=Mode.SYSTEM)


def test_pushed_wheels(target):
    environment = target.environment(SMALL, mode=Mode.WHEELS)
    assert environment.how is Mode.WHEELS
    pushed = target.traffic
    assert pushed.files_pushed == 1
    result = target.invoke([*environment.python, "-c", SHOW], env=environment.env)
    assert result.text == "1.16.0 24.1\n"
    with Target(target.transport, root=target.root) as again:
        assert again.environment(SMALL, mode=Mode.WHEELS) == environment
        # Wheels that are there are taken before anything is installed anew.
        assert again.environment(SMALL).python == environment.python
        assert again.traffic.bytes_pushed == 0
        assert again.traffic.files_present >= 1
    left = sorted(path.name for path in Path(target.root, "incoming").iterdir())
    assert left == []


def test_a_virtual_environment_with_the_target_s_pip(ssh_target):
    environment = ssh_target.environment(SMALL, mode=Mode.VENV)
    assert environment.how is Mode.VENV
    assert ssh_target.traffic.files_pushed == 0
    assert ssh_target.invoke([*environment.python, "-c", SHOW]).text == "1.16.0 24.1\n"


#: A Python that reports version 3.7. The pip of its virtual environments knows no wheels of its
#: machine before it has been upgraded.
OLD_PYTHON = """\
real={real}
if [ "$1" = -m ] && [ "$2" = venv ]; then
    "$real" "$@" && mv "$4/bin/python" "$4/bin/real" && cat >"$4/bin/python" <<'END' || exit 1
#!/bin/sh
case "$*" in
"-m pip install "*"--upgrade pip>="*) touch "${{0%/*}}/upgraded"; exit ;;
"-m pip install "*)
    [ -e "${{0%/*}}/upgraded" ] || {{
        echo "ERROR: No matching distribution found for six==1.16.0" >&2
        exit 1
    }} ;;
esac
exec "${{0%/*}}/real" "$@"
END
    chmod 755 "$4/bin/python"
    exit
fi
[ "$1" = -c ] || exec "$real" "$@"
"$real" "$@" | sed -e "s:$real:$0:" -e 's/"version": "3[0-9.]*"/"version": "3.7.3"/'
"""


def test_a_pip_that_is_too_old_for_the_wheels_is_upgraded(sshd_with, tools, tmp_path):
    shim = tools(python3=OLD_PYTHON.format(real=sys.executable))
    # An inner shell reads no login files, which may put another Python first.
    server = sshd_with(f"SetEnv PATH={shim}:/usr/bin:/bin SHLVL=2")
    with (
        transport.connect(server.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        assert target.facts().python == "3.7.3"
        environment = target.environment(SMALL, mode=Mode.VENV)
        assert environment.how is Mode.VENV
        assert target.invoke([*environment.python, "-c", SHOW]).text == "1.16.0 24.1\n"
        assert list(Path(target.root, "environments").glob("*-venv/bin/upgraded"))


def test_without_an_index_on_the_target_wheels_are_pushed(sshd_with, tmp_path):
    # pip of the target looks at a closed port; pip of this machine does not.
    server = sshd_with("SetEnv PIP_INDEX_URL=http://127.0.0.1:1/simple PIP_CONFIG_FILE=/dev/null")
    with (
        transport.connect(server.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        stages = []
        environment = target.environment(SMALL, on_stage=stages.append)
        assert environment.how is Mode.WHEELS
        assert [stage.split()[0] for stage in stages] == [
            "installing",
            "fetching",
            "pushing",
            "unpacking",
        ]
        assert not list(Path(target.root, "environments").glob("*-venv*"))


def test_no_such_wheel(target):
    payload = Payload(name="none", requirements=("six==0.0.1",), imports=("six",))
    with pytest.raises(TargetError, match=r"no wheels of six==0\.0\.1 for .*Python 3"):
        target.environment(payload, mode=Mode.WHEELS)


def test_modules_that_do_not_import_are_named_and_nothing_stays(target):
    payload = Payload(name="bad", requirements=("six==1.16.0",), imports=("six.nothing",))
    with pytest.raises(TargetError, match=r"does not work there: import six\.nothing"):
        target.environment(payload, mode=Mode.WHEELS)
    assert list(Path(target.root, "environments").iterdir()) == []


def test_a_target_without_python_says_so(sshd_with, tools, tmp_path):
    names = ("sh", "env", "uname", "cat", "tr", "grep", "df", "rm", "mkdir", "ls", "find")
    server = sshd_with(f"SetEnv PATH={tools(*names)}")
    with (
        transport.connect(server.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        assert target.facts().python is None
        assert target.facts().arch == os.uname().machine
        with pytest.raises(TargetError, match=r"has no Python 3\.7 or newer"):
            target.environment(SMALL)


# --- disk ------------------------------------------------------------------------------------


def test_low_disk_is_noticed_before_the_push(sshd_with, tools, model, tmp_path):
    df = "echo Filesystem 1024-blocks Used Available Capacity Mounted; echo x 9 9 1000 9% /"
    server = sshd_with(f"SetEnv PATH={tools(df=df)}:/usr/bin:/bin")
    with (
        transport.connect(server.settings) as link,
        Target(link, root=str(tmp_path / "target")) as target,
    ):
        with pytest.raises(TargetError, match=r"has 1 MB free .* needs 17 MB"):
            target.install(model)
        assert target.traffic.files_pushed == 0


def test_a_disk_that_fills_up(full_disk, model):
    server, folder = full_disk
    with transport.connect(server.settings) as link, Target(link, root=f"{folder}/t") as target:
        with pytest.raises(TargetError, match=r"disk of|SHUFFLENET_DEPLOY_ROOT"):
            target.install(model)
        assert not list(folder.rglob("*.part"))


# --- the lock --------------------------------------------------------------------------------


def test_two_benches_exclude_each_other(target, sshd):
    with (
        transport.connect(sshd.settings) as link,
        Target(link, root=target.root) as other,
    ):
        with target.exclusive():
            with pytest.raises(TargetError, match=rf"measuring for .*process {os.getpid()}.*, for"):
                other.exclusive().__enter__()
            with pytest.raises(TargetError, match="--force"):
                other.clean()
        with other.exclusive():
            pass
        with target.exclusive():
            pass
    assert not Path(target.root, "lock").is_symlink()


def test_waiting_for_the_other(target, sshd):
    messages = []
    with (
        transport.connect(sshd.settings) as link,
        Target(link, root=target.root) as other,
        target.exclusive(),
        pytest.raises(TargetError, match="measuring"),
        other.exclusive(wait_secs=0.5, on_wait=messages.append),
    ):
        pass
    assert f"process {os.getpid()}" in messages[0]


@pytest.mark.parametrize("kind", ["local", "ssh"])
def test_a_lock_ends_with_its_holder(kind, sshd, tmp_path):
    root = str(tmp_path / "target")
    holder = (
        "import sys, time\n"
        "from shufflenet_deploy import transport\n"
        "from shufflenet_deploy.target import Target\n"
        "with transport.connect(sys.argv[1]) as link, Target(link, root=sys.argv[2]) as target:\n"
        "    with target.exclusive():\n"
        "        print('held', flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, "local" if kind == "local" else "pi", root],
        env={**os.environ, **sshd.env},
        stdout=subprocess.PIPE,
    )
    with process, transport.connect(sshd.settings) as link, Target(link, root=root) as target:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(TargetError, match=f"process {process.pid}"):
                target.exclusive().__enter__()
        finally:
            process.send_signal(signal.SIGKILL)
        process.wait()
        with target.exclusive(wait_secs=10):
            pass


def test_a_lock_of_before_a_restart_is_stale(target):
    with target.exclusive():
        held = Path(target.root, "lock").readlink()
    token, server, _boot, *rest = str(held).split(" ")
    Path(target.root, "lock").symlink_to(" ".join(["other" + token, server, "another-boot", *rest]))
    with target.exclusive():
        assert str(Path(target.root, "lock").readlink()) != str(held)


# --- cleaning --------------------------------------------------------------------------------


def test_clean_removes_everything(target, model):
    target.install(model)
    Path(target.root, "objects", ".left.0a1b2c3d4e5f.part").write_bytes(b"x" * 100_000)
    cleaned = target.clean()
    assert cleaned.root == target.root
    assert cleaned.freed_bytes >= 600_000
    assert not Path(target.root).exists()
    assert target.clean().freed_bytes == 0
    target.install(model)  # the same target goes on
    assert target.traffic.files_pushed == 2


def test_clean_refuses_a_foreign_folder(target, model):
    Path(target.root).mkdir()
    precious = Path(target.root, "thesis.tex")
    precious.write_text("precious")
    for action in (target.clean, lambda: target.install(model)):
        with pytest.raises(TargetError, match="holds files that are not ours"):
            action()
    assert precious.read_text() == "precious"
    assert [path.name for path in Path(target.root).iterdir()] == ["thesis.tex"]


def test_an_empty_folder_may_become_ours(target, model):
    Path(target.root).mkdir()
    target.install(model)
    assert "shufflenet-deploy" in Path(target.root, "CACHEDIR.TAG").read_text()


def test_old_leftovers_go_at_the_next_use(target, model):
    target.install(model)
    old = Path(target.root, "objects", ".old.0a1b2c3d4e5f.part")
    young = Path(target.root, "objects", ".young.0a1b2c3d4e5f.part")
    for path in (old, young):
        path.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    with Target(target.transport, root=target.root) as again:
        again.install(model)
    assert not old.exists()
    assert young.exists()


def test_the_folder_lies_in_the_user_s_cache(link, cache, monkeypatch):
    monkeypatch.delenv("SHUFFLENET_DEPLOY_ROOT", raising=False)
    with Target(link) as target:
        # Only an SSH login starts from the account's own environment instead of this one's.
        caches = Path.home() / ".cache" if link.kind == "ssh" else cache
        assert target.root == f"{caches}/shufflenet-deploy/target"
    monkeypatch.setenv("SHUFFLENET_DEPLOY_ROOT", "~/elsewhere")
    with Target(link) as target:
        assert target.root == f"{Path.home()}/elsewhere"


def test_a_relative_folder_is_refused(link, model):
    with Target(link, root="here") as target, pytest.raises(TargetError, match="absolute"):
        target.install(model)


def test_the_clean_command(sshd, tmp_path, model):
    root = tmp_path / "target"
    with transport.connect(sshd.settings) as link, Target(link, root=str(root)) as target:
        target.install(model)
    env = {**os.environ, **sshd.env, "SHUFFLENET_DEPLOY_ROOT": str(root)}

    def clean(*options):
        argv = [sys.executable, "-m", "shufflenet_deploy", "clean", "--host", *options]
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    done = clean("pi", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["host"], printed["root"]) == ("pi", str(root))
    assert printed["freed_bytes"] >= 500_000
    assert not root.exists()
    assert clean("pi").stdout == f"pi: nothing of ours at {root}\n"
    refused = clean("root@127.0.0.1:1")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: 127.0.0.1:1 refused the connection")
    assert refused.stderr.count("\n") == 1
