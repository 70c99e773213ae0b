"""The clock: warm-up, samples, and the CPU usage beside them. Times are ns."""

import os
import resource
import time

from .sensors import read_text

# Two windows of the warm-up agree when their medians differ by less than this share.
AGREEMENT = 0.02

# Readings from which the clock's resolution is derived.
CLOCK_READINGS = 2001


def timed(invoke):
    """Duration of one inference in ns."""
    began = time.perf_counter_ns()
    invoke()
    return time.perf_counter_ns() - began


def warm_up(invoke, runs, secs, max_secs):
    """Infer until both minimums are met and two windows agree, at latest after ``max_secs``.

    Returns the samples in ns, and why it ended: "agreed", "limit", or "minimum" where no window was
    asked for (``max_secs`` not above ``secs``).
    """
    samples = []
    began = time.perf_counter_ns()
    check_at = 0
    while True:
        elapsed = (time.perf_counter_ns() - began) / 1e9
        if len(samples) >= runs and elapsed >= secs:
            if max_secs <= secs:
                return samples, "minimum"
            if elapsed >= max_secs:
                return samples, "limit"
            if len(samples) >= max(6, check_at):
                if windows_agree(samples):
                    return samples, "agreed"
                check_at = len(samples) + max(1, len(samples) // 8)
        samples.append(timed(invoke))


def windows_agree(samples):
    """Test whether the medians of the last quarter and the quarter before are within 2 %."""
    width = max(3, len(samples) // 4)
    last = median(samples[-width:])
    return abs(median(samples[-2 * width : -width]) - last) <= AGREEMENT * last


def median(values):
    """The upper median: a value that occurred."""
    return sorted(values)[len(values) // 2]


def sample(invoke, min_runs, min_secs, max_secs):
    """Infer until both minimums are met, at latest after ``max_secs``; durations in ns."""
    clock = time.perf_counter_ns
    samples = []
    keep = samples.append
    min_ns, max_ns = int(min_secs * 1e9), int(max_secs * 1e9)
    started = clock()
    while True:
        began = clock()
        invoke()
        ended = clock()
        keep(ended - began)
        elapsed = ended - started
        if (elapsed >= min_ns and len(samples) >= min_runs) or elapsed >= max_ns:
            return samples


def sample_at_rate(invoke, rate_hz, min_runs, min_secs, max_secs):
    """Infer once per arrival, at fixed times, until both minimums are met.

    Arrivals come at ``rate_hz`` whatever happens, as images of a camera do. One that comes while
    another is computed waits, and none is dropped.

    Returns the durations of the calls, and the times from each arrival to its result, in ns.
    """
    clock, sleep = time.perf_counter_ns, time.sleep
    period_ns = 1e9 / rate_hz
    min_ns, max_ns = int(min_secs * 1e9), int(max_secs * 1e9)
    durations, latencies = [], []
    started = clock()
    # The first arrival is a period away, so that it is waited for like the others.
    first = started + int(period_ns)
    while True:
        arrival = first + int(len(durations) * period_ns)
        left = arrival - clock()
        while left > 0:
            sleep(left / 1e9)
            left = arrival - clock()
        began = clock()
        invoke()
        ended = clock()
        durations.append(ended - began)
        latencies.append(ended - arrival)
        elapsed = ended - started
        if (elapsed >= min_ns and len(durations) >= min_runs) or elapsed >= max_ns:
            return durations, latencies


def clock_facts():
    """The smallest step the clock was seen to make, and what reading it costs, in ns."""
    clock = time.perf_counter_ns
    readings = [clock() for _ in range(CLOCK_READINGS)]
    steps = sorted(later - earlier for earlier, later in zip(readings, readings[1:]))
    positive = [step for step in steps if step > 0]
    return {
        "resolution_ns": positive[0] if positive else 1,
        "read_ns": (readings[-1] - readings[0]) // (CLOCK_READINGS - 1),
    }


class CpuUsage:
    """CPU usage of this process and of the rest of the machine between two moments.

    ``load`` is a ``BackgroundLoad``, which is told apart from what others do.
    """

    def __init__(self, load):
        self._load = load
        self._load_secs = load.cpu_secs()
        self._wall_ns = time.perf_counter_ns()
        self._busy = _busy_secs()
        self._own = resource.getrusage(resource.RUSAGE_SELF)

    def since(self):
        """Wall and CPU time of this process, how often it was preempted, cores busy otherwise."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        wall_ns = time.perf_counter_ns() - self._wall_ns
        cpu_secs = own.ru_utime + own.ru_stime - self._own.ru_utime - self._own.ru_stime
        busy = _busy_secs()
        load_secs = self._load.cpu_secs()
        background = others = None
        if load_secs is not None and self._load_secs is not None:
            background = (load_secs - self._load_secs) / (wall_ns / 1e9)
        # The kernel counts in ticks of 10 ms: over less than some of them the figure is noise.
        known = self._busy is not None and busy is not None and busy > self._busy
        if known and wall_ns >= 200000000:
            others = (busy - self._busy - cpu_secs) / (wall_ns / 1e9)
            others = max(0.0, others - (background or 0.0))
        return {
            "wall_ns": wall_ns,
            "cpu_ns": int(cpu_secs * 1e9),
            "preempted": own.ru_nivcsw - self._own.ru_nivcsw,
            "others_busy_cores": None if others is None else round(others, 3),
            "background_processes": len(self._load),
            "background_busy_cores": None if background is None else round(background, 3),
        }


def _busy_secs():
    """Seconds all cores together were busy since boot, stolen time included; None if unknown."""
    text = read_text("/proc/stat")
    if text is None or not text.startswith("cpu "):
        return None
    fields = [int(field) for field in text.splitlines()[0].split()[1:9]]
    fields += [0] * (8 - len(fields))
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
