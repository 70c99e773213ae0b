"""A phone: adb, no Python, no tar, nothing of its own but the kernel; from there to the table.

The virtual board plays the phone. An adb daemon runs on it with a toybox-like set of programs, and
the real adb client reaches it through an SSH forward.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shufflenet_deploy import board, transport
from shufflenet_deploy.debian_packages import Apt, members
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import Measurement
from shufflenet_deploy.runtime import get
from shufflenet_deploy.target import Mode, Target

pytestmark = [pytest.mark.board, pytest.mark.timeout(900)]

ADBD = Path(__file__).parents[2] / "fakes" / "adbd.py"
ROOT = "/data/local/tmp/shufflenet-deploy"
#: The most that the runtime may weigh on its way: interpreter and wheels, compressed.
LIMIT_BYTES = 35e6

#: Android's own shell and commands, as Debian has them.
PROGRAMS = {
    "mksh": "./usr/lib/aarch64-linux-musl/bin/mksh",
    "toybox": "./bin/toybox",
}

# Without tar, as on the oldest phones; Python and busybox are out of reach too.
SETUP = """\
set -e
cd /phone
mkdir -p /data/local/tmp /system
mount -t tmpfs -o mode=1777,size=60% data /data/local/tmp
touch /system/build.prop
for name in $(./toybox); do ln -sf toybox "$name"; done
ln -sf mksh sh
rm tar
cat >/phone/getprop <<'END'
#!/phone/sh
case $1 in *release) echo 13 ;; *product.model) echo "Pocket, emulated" ;; esac
END
cat >/phone/dumpsys <<'END'
#!/phone/sh
case $1 in
battery) printf '  status: 3\\n  level: 81\\n  temperature: 274\\n' ;;
power) echo '  mWakefulness=Awake' ;;
esac
END
chmod 755 /phone/getprop /phone/dumpsys
"""


def shell_of_a_phone(folder):
    """The programs, fetched."""
    apt = Apt(folder / "apt", "arm64")
    apt.update()
    packages = [one for one in apt.resolve(tuple(PROGRAMS)) if one.name in PROGRAMS]
    found = {
        member.name: content for deb in apt.fetch(packages) for member, content in members(deb)
    }
    for name, place in PROGRAMS.items():
        (folder / name).write_bytes(found[place])
        yield folder / name


@pytest.fixture(scope="module")
def serial(state, adb_server, tmp_path_factory):
    """The phone's serial number, as adb knows it."""
    machine = board.up(board.BoardSettings.choose(name="phone", cpu="a72", lifetime_secs=1200))
    with transport.connect(machine.ssh_settings()) as link:
        link.run(["mkdir", "/phone"])
        for path in shell_of_a_phone(tmp_path_factory.mktemp("phone")):
            link.push(path, f"/phone/{path.name}", executable=True)
        done = link.run(["sh", "-c", SETUP])
        assert done.exit_code == 0, done.complaint
        link.push(ADBD, "/root/adbd.py")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    forward = ["-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:5555"]
    ssh = machine.ssh_argv()
    command = shlex.join(
        [
            *("env", "PATH=/phone", "/usr/bin/python3", "/root/adbd.py"),
            *("--port", "5555", "--shell", "/phone/sh"),
        ]
    )
    daemon = subprocess.Popen([ssh[0], *forward, *ssh[1:], command], stdout=subprocess.PIPE)
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"5555\n"
        name = f"127.0.0.1:{port}"
        for _ in range(20):
            subprocess.run(["adb", "connect", name], check=False, capture_output=True)
            if any(one.serial == name and one.state == "device" for one in transport.devices()):
                break
            time.sleep(0.5)
        yield name
    finally:
        daemon.kill()
        daemon.communicate()
        board.down("phone")


def test_the_phone_has_nothing(serial):
    with transport.connect(f"adb:{serial}") as link, Target(link) as target:
        facts = target.facts()
        for name in ("python3", "tar", "busybox"):
            assert link.run(["sh", "-c", f"command -v {name}"]).exit_code
    assert (facts.os, facts.board, facts.python) == ("Android 13", "Pocket, emulated", None)


def test_a_native_program_is_all_that_a_phone_needs(serial, artifacts, cli, tmp_path):
    words = ["bench", "--host", f"adb:{serial}", "--journal", str(tmp_path / "runs.sqlite")]
    words += ["--model", "shufflenet-g3-0.25x", "--baseline", "shufflenet-g3-0.5x"]
    words += ["--resolution", "64x64", "--runtime", "native", "--precision", "fp32,int8"]
    words += ["--retries", "0", "--json"]
    words += ["--processes", "1", "--warmup", "1", "--min-runs", "3", "--min-secs", "0"]
    words += ["--artifacts", str(artifacts)]
    first = cli(*words, timeout=400)
    assert first.status == 0, first.err
    told = json.loads(first.out)
    assert (told["measured"], told["failures"]) == (4, [])
    assert told["pushed"]["bytes"] < 20e6
    with transport.connect(f"adb:{serial}") as link:
        names = link.run(["ls", "-R", ROOT]).text
    assert names.count(".native") == 4
    assert "python" not in names
    again = cli(*words)
    assert json.loads(again.out)["pushed"]["files"] == 0


def test_from_the_phone_to_the_table(serial, artifacts, cli, tmp_path):
    journal = tmp_path / "runs.sqlite"
    words = ["bench", "--host", f"adb:{serial}", "--journal", str(journal)]
    words += ["--model", "shufflenet-g3-0.5x", "--baseline", "shufflenet-g3-1x"]
    words += ["--resolution", "64x64", "--retries", "0"]
    words += ["--processes", "1", "--warmup", "1", "--min-runs", "3", "--min-secs", "0"]
    words += ["--artifacts", str(artifacts)]
    first = cli(*words, timeout=800)
    assert first.status == 0, first.err
    sys.stdout.write(f"\n{first.err}\n{first.out}\n")
    assert "busybox follows" in first.err
    assert "onnxruntime self-contained" in first.err
    with Journal(str(journal)) as book:
        runs = book.runs(book.suite("last").id)
    assert len(runs) == 2
    for run in runs:
        assert isinstance(run.outcome, Measurement), run.outcome
        assert run.tool["environment"] == "self-contained"
        assert run.tool["payload_bytes"] < LIMIT_BYTES
        assert run.tool["phone"]["screen"] == "on"
        assert run.tool["phone"]["battery_percent"] == 81
        assert run.tool["phone"]["temperature_c"]["battery"] == 27.4
        assert run.target.os == "Android 13"
    second = cli(*words, "--json")
    assert second.status == 0, second.err
    assert json.loads(second.out)["pushed"]["files"] == 0


def test_nothing_of_the_phone_is_used_but_its_kernel(serial):
    with transport.connect(f"adb:{serial}") as link, Target(link) as target:
        environment = target.environment(get("onnxruntime").payload)
        assert environment.how is Mode.SELF_CONTAINED
        show = "import onnxruntime; print(open('/proc/self/maps').read())"
        done = target.invoke([*environment.python, "-c", show], env=environment.env, timeout_s=200)
    assert done.exit_code == 0, done.complaint
    mapped = {line.split()[-1] for line in done.text.splitlines() if "/" in line}
    assert len(mapped) > 10
    assert [path for path in mapped if not path.startswith(f"{ROOT}/")] == []


def test_clean_leaves_nothing(serial, cli):
    done = cli("clean", "--host", f"adb:{serial}", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["freed_bytes"] > 100e6
    with transport.connect(f"adb:{serial}") as link:
        assert link.run(["ls", "-A", "/data/local/tmp"]).text == ""
