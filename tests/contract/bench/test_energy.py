"""Energy of a real measurement beside sensors of our own, whose waveform is known."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from agent_on_disk import AGENT

from shufflenet_deploy import bench
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.bench import energy as bench_energy
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.records import NO_SENSOR, BenchmarkSpec, Measurement
from shufflenet_deploy.report import energy_figures, render
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.runtime import agent_log
from shufflenet_deploy.stats.energy import energy

SCRIPT = resource("device_scripts", "energy.py")
#: /sys is this folder for whoever runs behind these words, and for nobody else.
INSIDE = ("unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c")
MOUNT = 'mount --bind "$1" /sys || exit 9; shift; exec "$@"'
RAPL = Path("/sys/class/powercap/intel-rapl:0/energy_uj")


@pytest.fixture
def module(monkeypatch, tmp_path):
    """The script as a module, whose /sys is a folder of the test."""
    spec = importlib.util.spec_from_file_location("energy_script", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "ROOT", f"{tmp_path}/")
    monkeypatch.setattr(loaded.shutil, "which", lambda _: None)
    return loaded


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def values(module):
    return {one.name: (one.kind, one.read(), one.update_ns) for one in module.sensors()}


# --- which sensors there are ---------------------------------------------------------------------


def test_chips_of_hwmon(module, tmp_path):
    hwmon = tmp_path / "sys/class/hwmon"
    write(hwmon / "hwmon0", name="ina226", power1_input=2_500_000, update_interval=140)
    write(hwmon / "hwmon1", name="ina3221", in1_input=5000, curr1_input=400, in1_label="VDD_IN")
    write(hwmon / "hwmon1", in2_input=3300, in7_input=12, power_reading=3)
    write(hwmon / "hwmon2", name="board", energy1_input=77, power1_input="nonsense")
    write(hwmon / "hwmon3", name="cpu_thermal", in1_input=5000, curr1_input=400)
    assert values(module) == {
        "ina226 power1": ("power", 2_500_000, 140_000_000),
        "ina3221 VDD_IN": ("power", 2_000_000, None),
        "board energy1": ("energy", 77, None),
    }


def test_a_battery_counts_while_it_discharges(module, tmp_path):
    battery = tmp_path / "sys/class/power_supply/bms"
    write(
        battery, type="Battery", status="Discharging", voltage_now=3_900_000, current_now=-500_000
    )
    assert values(module) == {"battery bms": ("power", 1_950_000, None)}
    write(battery, status="Charging")
    assert values(module) == {}


def test_counters_of_rapl_are_summed_and_begin_again_at_zero(module, tmp_path):
    powercap = tmp_path / "sys/class/powercap"
    for number in range(2):
        place = powercap / f"intel-rapl:{number}"
        write(place, name=f"package-{number}", energy_uj=900, max_energy_range_uj=1000)
        write(powercap / f"intel-rapl:{number}:0", name="core", energy_uj=1)
    write(powercap / "intel-rapl:1:1", name="dram", energy_uj=5, max_energy_range_uj=1000)
    dram, package = module.sensors()
    assert (dram.name, dram.read(), package.name, package.read()) == (
        *("RAPL dram", 5),
        *("RAPL package", 1800),
    )
    write(powercap / "intel-rapl:0", energy_uj=100)
    assert package.read() == 2000
    write(powercap / "intel-rapl:0", energy_uj=50)
    assert package.read() == 2950


def test_the_rails_of_a_raspberry_pi_5(module, tmp_path, monkeypatch):
    program = tmp_path / "vcgencmd"
    rails = "3V3_SYS_A current(0)=0.1A\n VDD_CORE_A current(1)=2.0A\n EXT5V_V volt(24)=5.1V\n"
    rails += " 3V3_SYS_V volt(2)=3.3V\n VDD_CORE_V volt(3)=0.75V\n"
    program.write_text(f"#!/bin/sh\necho '{rails}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(module.shutil, "which", lambda _: str(program))
    assert values(module) == {"PMIC rails": ("power", 1_830_000, None)}


# --- a waveform that is known --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of sensor below the folder of a test, and its readings as ``(name, kind, update_ns)``.

    ``files`` hold what stays, ``changing`` what follows from the power (uW) and the energy so far
    (uJ), each text always of one width, so that a reader never sees a half.
    """

    folder: str
    files: Mapping[str, object]
    changing: Mapping[str, Callable[[int, int], str]]
    readings: tuple[tuple[str, str, int | None], ...]


#: The counter of RAPL begins again at zero more than once in a test: at 2 to 5 W after 2.2 J.
RAPL_RANGE = 2_200_000
#: A core of a Raspberry Pi 5 at 0.8 V, and a rail that takes 0.33 W all the time.
RAILS = (
    "3V3_SYS_A current(0)=0.1000A\nVDD_CORE_A current(1)={amperes:010.6f}A\n"
    "3V3_SYS_V volt(2)=3.3V\nVDD_CORE_V volt(3)=0.8V\n"
)
SOURCES = {
    "hwmon": Source(
        folder="sys/class/hwmon/hwmon0",
        files={"name": "ina226", "update_interval": 4},
        changing={
            "power1_input": lambda power, _: f"{power:012d}\n",
            "energy1_input": lambda _, joules: f"{joules:012d}\n",
        },
        readings=(
            ("ina226 power1", "power", 4_000_000),
            ("ina226 energy1", "energy", 4_000_000),
        ),
    ),
    "power_supply": Source(
        folder="sys/class/power_supply/bms",
        files={"type": "Battery", "status": "Discharging", "voltage_now": 4_000_000},
        changing={"current_now": lambda power, _: f"{-power // 4:012d}\n"},
        readings=(("battery bms", "power", None),),
    ),
    "pmic": Source(
        folder="bin",
        files={"vcgencmd": '#!/bin/sh\n[ "$1" = pmic_read_adc ] && cat "$(dirname "$0")/rails"'},
        changing={
            "rails": lambda power, _: RAILS.format(amperes=(power - 330_000) / 0.8e6),
        },
        readings=(("PMIC rails", "power", None),),
    ),
    "rapl": Source(
        folder="sys/class/powercap/intel-rapl:0",
        files={"name": "package-0", "max_energy_range_uj": RAPL_RANGE},
        changing={"energy_uj": lambda _, joules: f"{joules % RAPL_RANGE:012d}\n"},
        readings=(("RAPL package", "energy", 1_000_000),),
    ),
}


class Waveform(threading.Thread):
    """Lets a source show a power (uW) that goes to and fro, and the energy so far (uJ)."""

    def __init__(self, source: Source, root: Path) -> None:
        super().__init__()
        folder = root / source.folder
        write(folder, **source.files)
        for program in folder.glob("vcgencmd"):
            program.chmod(0o755)
        self.source = source
        self.files = [os.open(folder / name, os.O_WRONLY | os.O_CREAT) for name in source.changing]
        self.steps: list[tuple[int, int]] = []
        self.ended = threading.Event()
        self._put(time.perf_counter_ns(), 2_000_000, 0)

    def _put(self, now, power, joules):
        for file, text in zip(self.files, self.source.changing.values(), strict=True):
            os.pwrite(file, text(power, joules).encode(), 0)
        self.steps.append((now, power))

    def run(self):
        began = last = time.perf_counter_ns()
        joules, power = 0.0, 2_000_000
        while not self.ended.wait(0.002):
            now = time.perf_counter_ns()
            joules += power * (now - last) / 1e9
            last = now
            power = (2_000_000, 5_000_000)[(now - began) // 150_000_000 % 2]
            self._put(now, power, int(joules))

    @property
    def longest_pause_secs(self):
        times = [at for at, _ in self.steps]
        return max(after - before for before, after in pairwise(times)) / 1e9

    def joules(self, begin_ns, end_ns):
        """The true energy between two moments."""
        total = 0.0
        steps = list(self.steps)  # It goes on meanwhile.
        times = [at for at, _ in steps[1:]] + [time.perf_counter_ns()]
        for (at, power), until in zip(steps, times, strict=True):
            total += power * max(0, min(until, end_ns) - max(at, begin_ns)) / 1e9
        return total / 1e6


@pytest.fixture(params=SOURCES)
def waveform(request, tmp_path, monkeypatch):
    (tmp_path / "sys").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    thread = Waveform(SOURCES[request.param], tmp_path)
    thread.start()
    yield thread
    thread.ended.set()
    thread.join()


def beside(*argv, inside=(), status=0):
    words = [*inside, sys.executable, str(SCRIPT), "--idle-secs", "0.4", "--", *map(str, argv)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return done.stdout


def agent(model, *words):
    options = ("--warmup-secs", "0", "--min-secs", "1.2", "--runtime", "onnxruntime")
    return (sys.executable, AGENT, *options, "--model", model, *words)


def test_the_known_energy_lies_within_the_stated_bounds(waveform, tmp_path, tiny_onnx):
    inside = (*INSIDE, MOUNT, "sh", str(tmp_path / "sys"))
    report = agent_log.parse_log(beside(*agent(tiny_onnx), inside=inside))
    told = report.outcome.energy
    readings = tuple((one.name, one.kind, one.update_ns) for one in told.sensors)
    assert readings == waveform.source.readings
    begin, end = told.steady_ns
    assert 1.2e9 <= end - begin < 10e9
    assert told.idle_before_ns[1] <= begin
    assert end <= told.idle_after_ns[0]
    true = waveform.joules(begin, end)
    for sensor in told.sensors:
        found = energy(sensor, begin, end)
        # A machine that is busy writes the counter later than the file says.
        slack = waveform.longest_pause_secs * 5 if sensor.kind == "energy" else 0
        assert found.low - slack <= true <= found.high + slack
        # The management chip is asked ten times a second, at any moment of a wave of 300 ms.
        assert found.joules == pytest.approx(true, rel=0.3 if "PMIC" in sensor.name else 0.1)
    cell = energy_figures.of_processes([(told, len(report.outcome.samples))])
    assert 2 <= cell.idle_before_watts <= 5
    assert 2 <= cell.watts <= 5
    assert cell.updates_per_sec > 1


def test_without_sensors_it_says_so_and_changes_nothing_else(tmp_path, tiny_onnx):
    (tmp_path / "sys").mkdir()
    inside = (*INSIDE, MOUNT, "sh", str(tmp_path / "sys"))
    report = agent_log.parse_log(beside(*agent(tiny_onnx, "--min-secs", "0"), inside=inside))
    assert (report.outcome.energy.sensors, report.outcome.energy.reason) == ((), NO_SENSOR)


def test_a_failure_of_the_program_passes_through(tmp_path):
    printed = beside(*agent(tmp_path / "none.onnx"), status=1)
    assert json.loads(printed)["error"]["kind"] == "model-missing"
    beside(sys.executable, "-c", "import os; os.kill(os.getpid(), 9)", status=137)


def test_the_program_ends_with_the_one_that_reads(tmp_path):
    file = tmp_path / "pid"
    code = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    words = [sys.executable, str(SCRIPT), "--idle-secs", "0", "--", sys.executable, "-c", code]
    with subprocess.Popen(words) as reading:
        while not (file.exists() and file.read_text()):
            time.sleep(0.02)
        reading.terminate()
    assert reading.returncode == 143
    assert not Path("/proc", file.read_text()).exists()


def test_a_bench_keeps_the_reason_where_there_is_no_sensor(
    local_target, tiny_onnx, record_of, tmp_path
):
    suite = Suite.of(
        {
            "models": ["tiny"],
            "resolutions": ["32x32"],
            "baseline": None,
            "retries": 0,
            "spec": {"warmup-secs": 0.0, "min-secs": 0.0, "processes": 1, "energy": True},
        },
        source="test",
    )
    with Journal(tmp_path / "journal.sqlite") as journal:
        runs = list(
            bench.run(suite, local_target, journal, lambda cell: record_of(tiny_onnx, cell))
        )
        assert journal.runs() == runs
    (run,) = runs
    table = Table.from_runs(runs, baseline="")
    (_, entry), *_ = table.blocks[0].entries()
    if run.outcome.energy.sensors:
        assert entry.energy.joules > 0
    else:
        assert entry.energy.reason == NO_SENSOR
        assert NO_SENSOR in " ".join(render.terminal(table, width=200).split())
    assert "energy_joules" in render.csv(table)


def test_a_native_program_where_there_is_no_python_says_so():
    ready = SimpleNamespace(python=(), cell=None)
    spec = BenchmarkSpec(energy=True)
    context = SimpleNamespace(target=SimpleNamespace(python=()), spec_of=lambda _: spec)
    assert bench_energy.beside(("program",), ready, context) == (("program",), 0.0)
    outcome = Measurement(samples=(1,), first=1, load=1)
    explained = bench_energy.explained(outcome, ready, context)
    assert explained.energy.reason == bench_energy.NO_PYTHON


@pytest.mark.parametrize("has_rapl", [RAPL.exists() and os.access(RAPL, os.R_OK)])
def test_rapl_where_the_machine_has_it(tiny_onnx, has_rapl):
    report = agent_log.parse_log(beside(*agent(tiny_onnx)))
    names = {one.name for one in report.outcome.energy.sensors}
    assert ("RAPL package" in names) == has_rapl
    if has_rapl:
        cell = energy_figures.of_processes([(report.outcome.energy, len(report.outcome.samples))])
        assert 0.1 < cell.watts < 1000
