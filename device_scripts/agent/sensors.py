"""State of the machine at this moment, from /proc and /sys."""

import glob
import os
import shutil
import subprocess
import time

# Plausible readings of sensors; protocol.json states the same limits for all programs and the host.
MAX_DEGREES_READING = 200
MIN_C, MAX_C = -50, 200
MIN_KHZ, MAX_KHZ = 1000, 20000000


def conditions():
    """State of the machine at this moment; what it does not report is left out or null."""
    memory = _meminfo()
    swap = None
    if "SwapTotal" in memory and "SwapFree" in memory:
        swap = memory["SwapTotal"] - memory["SwapFree"]
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "governors": _per_core("scaling_governor", str),
        "frequency_khz": _per_core("scaling_cur_freq", _khz),
        "temperature_c": _temperatures(),
        "throttled": _throttled(),
        "load_1min": _load(),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": swap,
        "battery": _battery(),
    }


def read_text(path):
    """Text of a small file without the white space around it; None where it cannot be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _per_core(name, convert):
    found = {}
    for path in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/" + name)):
        text = read_text(path)
        if text:
            try:
                found[path.split("/")[5][3:]] = convert(text)
            except ValueError:
                continue
    return found


def _khz(text):
    """A core's frequency in kHz; raises ValueError for one at which no core runs."""
    khz = int(text)
    if not MIN_KHZ <= khz <= MAX_KHZ:
        raise ValueError(text)
    return khz


def _celsius(reading):
    """Degrees Celsius of a thermal zone's reading; raises ValueError for a broken sensor."""
    # The kernel reports millidegrees; some phones' drivers report degrees.
    celsius = reading if abs(reading) <= MAX_DEGREES_READING else reading / 1000.0
    if celsius == 0 or not MIN_C < celsius < MAX_C:
        raise ValueError(reading)
    return celsius


def _temperatures():
    found = {}
    for zone in sorted(glob.glob("/sys/class/thermal/thermal_zone[0-9]*")):
        text = read_text(zone + "/temp")
        try:
            celsius = _celsius(float(text or ""))
        except ValueError:
            continue
        name = read_text(zone + "/type") or "zone"
        if name in found:
            name += "-" + zone.rsplit("zone", 1)[1]
        found[name] = celsius
    return found


def _throttled():
    """Throttle bits of a Raspberry Pi's firmware, from the program or from sysfs; else None."""
    program = shutil.which("vcgencmd")
    if program:
        try:
            text = subprocess.run(
                [program, "get_throttled"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=5,
            ).stdout.decode("ascii", "replace")
            return int(text.strip().rpartition("=")[2], 16)
        except (OSError, ValueError, subprocess.SubprocessError):
            pass
    text = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        return int(text or "", 16)
    except ValueError:
        return None


def _load():
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _meminfo():
    found = {}
    for line in (read_text("/proc/meminfo") or "").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def _battery():
    for supply in sorted(glob.glob("/sys/class/power_supply/*")):
        if read_text(supply + "/type") != "Battery":
            continue
        level = read_text(supply + "/capacity")
        return {
            "percent": int(level) if level and level.isdigit() else None,
            "status": read_text(supply + "/status"),
            "temperature_c": _battery_celsius(read_text(supply + "/temp")),
        }
    return None


def _battery_celsius(tenths):
    try:
        celsius = int(tenths or "") / 10.0
    except ValueError:
        return None
    return celsius if celsius != 0 and MIN_C < celsius < MAX_C else None
