"""The program: options, one measurement, and the one JSON object it prints."""

import argparse
import faulthandler
import gc
import json
import os
import signal
import sys
import time

from .distributions import version_of
from .engine import open_model
from .engines import ENGINES
from .failures import Failed, kind_of, one_line
from .load import BackgroundLoad
from .process import affinity, peak_rss_bytes, pin, platform_facts, set_oom_score
from .sampling import CpuUsage, clock_facts, sample, sample_at_rate, timed, warm_up
from .sensors import conditions
from .tensors import bind, write_output

SCHEMA = 1
AGENT = "shufflenet-deploy"
_DESCRIPTION = "Runs one exported model on this machine and prints one JSON object about it."

# Thread pools read these when they are loaded; the runtimes' own thread counts are set explicitly.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Parser(argparse.ArgumentParser):
    """Reports a wrong option like every other failure: as JSON."""

    def error(self, message):
        """Raise instead of printing usage and exiting."""
        raise Failed("usage", message)


def parse_arguments(argv):
    """Read the command line; raises Failed("usage") when it is wrong."""
    parser = Parser(prog="agent", description=_DESCRIPTION, allow_abbrev=False)
    add = parser.add_argument
    add("--list", action="store_true", help="print the runtimes and conditions found here")
    add("--runtime", choices=sorted(ENGINES))
    add("--model", metavar="FILE", help="a file for the runtime")
    add("--threads", type=_positive, default=1)
    add("--cpus", type=_cores, metavar="0,1,...", help="cores to run on (default: any)")
    add("--warmup-runs", type=int, default=5)
    add("--warmup-secs", type=float, default=0.5)
    add("--warmup-max-secs", type=float, default=2.0, help="limit while windows disagree")
    add("--min-runs", type=_positive, default=30)
    add("--min-secs", type=float, default=1.0)
    add("--max-secs", type=float, default=30.0)
    add("--input", metavar="FILE.npy", help="input data (default: seeded uniform values)")
    add("--output", metavar="FILE.npy", help="write the first output of the last inference")
    add("--seed", type=int, default=0)
    add("--shapes", type=_shapes, default={}, metavar="JSON", help='open inputs: {"x":[1,3,9,9]}')
    add("--rate", type=_rate, metavar="HZ", help="inferences per second (default: back to back)")
    add("--background-load", type=int, default=0, metavar="N", help="busy processes meanwhile")
    options = parser.parse_args(argv)
    if not options.list and (options.runtime is None or options.model is None):
        raise Failed("usage", "--runtime and --model are needed (or --list)")
    return options


def _positive(text):
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _rate(text):
    value = float(text)
    if not 0 < value <= 1e6:
        raise ValueError(text)
    return value


def _cores(text):
    return frozenset(int(word) for word in text.split(","))


def _shapes(text):
    """The shapes of open inputs by name; raises ValueError for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text)
    return {name: [_positive(size) for size in sizes] for name, sizes in found.items()}


def measure(options):
    """Measure one model; returns the report."""
    # Before this process is pinned: the load is free to run anywhere.
    load = BackgroundLoad(options.background_load)
    try:
        return _measure(options, load)
    finally:
        load.stop()


def _measure(options, load):
    if options.cpus:
        pin(options.cpus)
    start = conditions()
    __import__("numpy")
    idle_rss = peak_rss_bytes()
    chosen = ENGINES[options.runtime]
    engine, import_ns, load_ns = open_model(chosen, options.model, options.threads)
    bind(engine, options)
    invoke = engine.invoker()
    try:
        gc.collect()
        gc.disable()
        first_ns = timed(invoke)
        first_output = engine.read_output().copy()
        warmup, ended = warm_up(
            invoke, options.warmup_runs, options.warmup_secs, options.warmup_max_secs
        )
        before = conditions()
        usage = CpuUsage(load)
        # Reading the conditions may have started a program: fill the caches again.
        warmup.append(timed(invoke))
        began_ns = time.perf_counter_ns()
        samples, pace = _sampled(invoke, options)
        ended_ns = time.perf_counter_ns()
        sampling = dict(usage.since(), began_ns=began_ns, ended_ns=ended_ns)
        after = conditions()
        output = engine.read_output()
    except (MemoryError, Failed):
        raise
    except Exception as error:  # every runtime has a tree of its own
        kind = kind_of(error, chosen.failure_signs)
        raise Failed(kind, "inference failed: " + one_line(error)) from error
    if options.output:
        write_output(options.output, output)
    whole = {
        "runtime": {
            "name": options.runtime,
            "version": engine.version,
            "details": engine.details,
        },
        "model": {
            "file": os.path.basename(options.model),
            "bytes": os.path.getsize(options.model),
            "inputs": engine.inputs,
            "outputs": engine.outputs,
        },
        "timed": engine.timed,
        "threads": options.threads,
        "cpus": affinity(),
        "clock": clock_facts(),
        "import_ns": import_ns,
        "load_ns": load_ns,
        "first_ns": first_ns,
        "warmup_ns": warmup,
        "warmup_ended": ended,
        "samples_ns": samples,
        "sampling": sampling,
        "outputs_repeat": output.tobytes() == first_output.tobytes(),
        "idle_rss_bytes": idle_rss,
        "peak_rss_bytes": peak_rss_bytes(),
        "arena_bytes": engine.arena_bytes,
        "conditions": {"start": start, "before": before, "after": after},
        **pace,
    }
    delegation = engine.delegation()
    return whole if delegation is None else dict(whole, delegation=delegation)


def _sampled(invoke, options):
    """The samples, and {} or {"pace": ...} where there is a rate."""
    limits = (options.min_runs, options.min_secs, options.max_secs)
    if options.rate is None:
        return sample(invoke, *limits), {}
    samples, latencies = sample_at_rate(invoke, options.rate, *limits)
    return samples, {"pace": {"rate_hz": options.rate, "latency_ns": latencies}}


def list_runtimes():
    """Every runtime this program knows: its version here, or why it cannot be used."""
    found = []
    for name in sorted(ENGINES):
        try:
            __import__(ENGINES[name].module)
            version = version_of(ENGINES[name].distribution)
            found.append({"name": name, "available": True, "version": version})
        except ImportError as error:
            found.append({"name": name, "available": False, "reason": one_line(error)})
    return found


def report(argv, measuring):
    """The object to print, and the exit status."""

    def measured():
        options = parse_arguments(argv)
        return listed() if options.list else measuring(options)

    whole, status = reported({"schema": SCHEMA, "agent": AGENT}, measured)
    if status:
        whole["conditions_at_failure"] = conditions()
    whole["platform"] = platform_facts()
    return whole, status


def listed():
    """What is found here: runtimes, conditions, cores, clock."""
    return {
        "runtimes": list_runtimes(),
        "conditions": conditions(),
        "cpus": affinity(),
        "clock": clock_facts(),
    }


def reported(head, make):
    """``head`` with what ``make`` returns, or with its error; and the exit status."""
    whole = dict(head)
    try:
        whole.update(make())
        return whole, 0
    except Failed as error:
        whole["error"] = {"kind": error.kind, "message": str(error)}
    except MemoryError as error:
        message = "memory ran out: %s" % one_line(error)
        whole["error"] = {"kind": "out-of-memory", "message": message}
    except ImportError as error:
        whole["error"] = {"kind": "runtime-missing", "message": one_line(error)}
    except Exception as error:  # noqa: BLE001 - the caller reads JSON, never a traceback
        message = "%s: %s" % (type(error).__name__, one_line(error))
        whole["error"] = {"kind": "crashed", "message": message}
    return whole, 1


def main(argv, measuring=measure):
    """Measure as the command line says, print one JSON object, and end the process."""
    if "-h" in argv or "--help" in argv:
        parse_arguments(["--help"])
    print_one_object(lambda: report(argv, measuring))


def print_one_object(make):
    """Print what ``make`` returns, an object and the exit status, and end the process.

    Standard output is kept for it, whatever other libraries print meanwhile.
    """
    own_stdout = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _terminated)
    for variable in POOLS:
        os.environ.setdefault(variable, "1")
    for engine in ENGINES.values():
        for variable, value in engine.environment:
            os.environ.setdefault(variable, value)
    set_oom_score()
    whole, status = make()
    with os.fdopen(own_stdout, "w") as stream:
        stream.write(json.dumps(whole) + "\n")
    # Some runtimes crash while their threads are torn down; the report is out.
    sys.stderr.flush()
    os._exit(status)


def _terminated(_number, _frame):
    raise Failed("terminated", "ended by a signal before it was done")
