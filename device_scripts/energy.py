#!/usr/bin/env python3
"""Reads this machine's sensors of power and energy while another program measures.

    python3 energy.py -- python3 agent.pyz --runtime onnxruntime --model model.onnx

Idle before, the program, idle after: sensors are read all the time, on the clock by which the
program notes when its sampling began and ended. Prints the program's one JSON object with "energy"
added to it, and ends with its exit status. Needs Python 3.7 or newer and nothing else.

Sensors: hwmon (power*_input, energy*_input, and voltage times current of an INA3221), batteries
that discharge (power_supply), the power management chip of a Raspberry Pi 5, and RAPL (powercap).
"""

import argparse
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = "/"

# Readings of a program take milliseconds: none more often than this.
PROGRAM_NS = 100000000


def read_integer(path):
    """The integer in a small file; None where there is none."""
    try:
        with open(path) as stream:
            return int(stream.read())
    except (OSError, ValueError):
        return None


def read_word(path):
    """The text of a small file; "" where it cannot be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Sensor:
    """One figure over time. ``kind`` is "power" (microwatts) or "energy" (microjoules, growing).

    ``read`` returns it as an integer, None when it has none. ``update_ns`` is the sensor's own
    interval where the kernel tells it, ``least_ns`` the shortest time between two readings.
    """

    def __init__(self, name, kind, read, update_ns=None, least_ns=0):
        self.name, self.kind, self.read = name, kind, read
        self.update_ns, self.least_ns = update_ns, least_ns
        self.at_ns, self.values = [], []
        self._due_ns = 0

    def note(self):
        """Read it once, at the middle of the time that the reading takes."""
        began = time.perf_counter_ns()
        if began < self._due_ns:
            return
        value = self.read()
        ended = time.perf_counter_ns()
        self._due_ns = began + self.least_ns
        if value is not None:
            self.at_ns.append((began + ended) // 2)
            self.values.append(value)

    def report(self):
        """The trace, and the smallest step between two readings as its resolution."""
        ordered = sorted(set(self.values))
        steps = [after - before for before, after in zip(ordered, ordered[1:])]
        return {
            "name": self.name,
            "kind": self.kind,
            "update_ns": self.update_ns,
            "resolution": min(steps) if steps else None,
            "at_ns": self.at_ns,
            "values": self.values,
        }


def hwmon_sensors():
    """Power and energy of every chip below /sys/class/hwmon."""
    for folder in sorted(glob.glob(ROOT + "sys/class/hwmon/hwmon[0-9]*")):
        chip = read_word(folder + "/name") or os.path.basename(folder)
        interval = read_integer(folder + "/update_interval")
        update_ns = interval * 1000000 if interval else None
        numbers = {}
        for path in sorted(glob.glob(folder + "/*_input")):
            match = re.match(r"(power|energy|curr|in)(\d+)_input$", os.path.basename(path))
            if match:
                numbers.setdefault(match.group(1), []).append(int(match.group(2)))
        for kind in ("power", "energy"):
            for number in sorted(numbers.get(kind, ())):
                path = "%s/%s%d" % (folder, kind, number)
                name = read_word(path + "_label") or "%s%d" % (kind, number)
                yield Sensor(
                    "%s %s" % (chip, name),
                    kind,
                    lambda path=path: read_integer(path + "_input"),
                    update_ns,
                )
        if "power" in numbers or not chip.startswith("ina"):
            continue
        for number in sorted(set(numbers.get("curr", ())) & set(numbers.get("in", ()))):
            name = read_word("%s/in%d_label" % (folder, number)) or "channel %d" % number
            read = _product(
                "%s/in%d_input" % (folder, number), "%s/curr%d_input" % (folder, number), 1
            )
            yield Sensor("%s %s" % (chip, name), "power", read, update_ns)


def _product(volts, amperes, per):
    """Reads power from a voltage and a current; their product over ``per`` is in microwatts."""

    def read():
        voltage, current = read_integer(volts), read_integer(amperes)
        if voltage is None or current is None:
            return None
        return abs(voltage * current) // per

    return read


def battery_sensors():
    """The power that a discharging battery gives: the whole device's."""
    for folder in sorted(glob.glob(ROOT + "sys/class/power_supply/*")):
        if read_word(folder + "/type") != "Battery":
            continue
        if read_word(folder + "/status") != "Discharging":
            continue
        # Microvolts times microamperes are 10^-12 W.
        read = _product(folder + "/voltage_now", folder + "/current_now", 1000000)
        if read() is not None:
            yield Sensor("battery %s" % os.path.basename(folder), "power", read)


def rapl_sensors():
    """The counters of Intel's and AMD's processors: packages, memory, and the whole platform."""
    groups = {}
    for folder in sorted(glob.glob(ROOT + "sys/class/powercap/intel-rapl:*")):
        name = re.sub(r"-\d+$", "", read_word(folder + "/name"))
        if name in ("package", "dram", "psys") and read_integer(folder + "/energy_uj") is not None:
            groups.setdefault(name, []).append(folder)
    for name, folders in sorted(groups.items()):
        # The processors bring the counters up to date about once a millisecond.
        yield Sensor("RAPL " + name, "energy", _Counters(folders).read, 1000000)


class _Counters:
    """The sum of counters that begin again at zero when they reach their range."""

    def __init__(self, folders):
        self._places = [
            (folder + "/energy_uj", read_integer(folder + "/max_energy_range_uj") or 0)
            for folder in folders
        ]
        self._last = {}
        self._turns = {}

    def read(self):
        total = 0
        for path, span in self._places:
            value = read_integer(path)
            if value is None:
                return None
            if value < self._last.get(path, 0):
                self._turns[path] = self._turns.get(path, 0) + span
            self._last[path] = value
            total += value + self._turns.get(path, 0)
        return total


def pmic_sensors():
    """The rails of a Raspberry Pi 5: the sum of voltage times current over all of them."""
    program = shutil.which("vcgencmd")
    if program and _rails(program) is not None:
        yield Sensor("PMIC rails", "power", lambda: _rails(program), least_ns=PROGRAM_NS)


def _rails(program):
    try:
        text = subprocess.run(
            [program, "pmic_read_adc"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=5,
        ).stdout.decode("ascii", "replace")
    except (OSError, subprocess.SubprocessError):
        return None
    found = {"A": {}, "V": {}}
    for rail, unit, value in re.findall(r"(\w+)_([AV]) \w+\(\d+\)=([0-9.]+)[AV]", text):
        try:
            found[unit][rail] = float(value)
        except ValueError:
            return None
    both = set(found["A"]) & set(found["V"])
    if not both:
        return None
    return int(sum(found["A"][rail] * found["V"][rail] for rail in both) * 1e6)


def sensors():
    """Every sensor that gives a figure here."""
    found = []
    for kind in (hwmon_sensors, battery_sensors, pmic_sensors, rapl_sensors):
        found += [sensor for sensor in kind() if sensor.read() is not None]
    return found


def read_until(found, interval_ns, is_done):
    """Read all sensors at an interval until ``is_done``; the first and the last moment."""
    began = time.perf_counter_ns()
    due = began
    while True:
        for sensor in found:
            sensor.note()
        if is_done():
            return [began, time.perf_counter_ns()]
        due += interval_ns
        left = due - time.perf_counter_ns()
        if left > 0:
            time.sleep(left / 1e9)
        else:
            due = time.perf_counter_ns()


def read_for(found, interval_ns, secs):
    """Read all sensors for so long; the first and the last moment."""
    end = time.perf_counter_ns() + int(secs * 1e9)
    return read_until(found, interval_ns, lambda: time.perf_counter_ns() >= end)


def run(argv, found, options):
    """Run the program between two idle times.

    Returns what it printed, its exit status, and both idle times.
    """
    interval_ns = int(options.interval_ms * 1e6)
    before = read_for(found, interval_ns, options.idle_secs)
    with tempfile.TemporaryFile() as stdout:
        process = subprocess.Popen(argv, stdout=stdout)

        def end(_number, _frame):
            process.terminate()

        signal.signal(signal.SIGTERM, end)
        try:
            read_until(found, interval_ns, lambda: process.poll() is not None)
        except BaseException:
            process.kill()
            process.wait()
            raise
        stdout.seek(0)
        printed = stdout.read()
    after = read_for(found, interval_ns, options.idle_secs) if process.returncode == 0 else before
    status = process.returncode
    return printed, 128 - status if status < 0 else status, before, after


def main(argv):
    """Read sensors while the program behind ``--`` runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--interval-ms", type=float, default=20.0, help="between two readings")
    parser.add_argument("--idle-secs", type=float, default=2.0, help="before and after, each")
    parser.add_argument("program", nargs="+", help="behind --: the program that measures")
    options = parser.parse_args(argv)
    found = sensors()
    if not found:
        options.idle_secs = 0.0
    printed, status, before, after = run(options.program, found, options)
    if status == 0:
        whole = json.loads(printed.decode("utf-8"))
        whole["energy"] = {
            "interval_ns": int(options.interval_ms * 1e6),
            "idle_before_ns": before,
            "idle_after_ns": after,
            "sensors": [sensor.report() for sensor in found],
        }
        printed = (json.dumps(whole) + "\n").encode("utf-8")
    sys.stdout.buffer.write(printed)
    sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
