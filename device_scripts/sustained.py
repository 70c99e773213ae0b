#!/usr/bin/env python3
r"""Runs several models by turns for a long time and prints exactly one JSON object about it.

    python3 sustained.py --agent agent.pyz --secs 600 --runtime litert --model a.tflite \
        --also b.tflite --threads 1

The turns are short, so that all models see the same heat, and nothing pauses between them. The
first inference of a turn, which follows another model's, is kept separately. Between turns, at
intervals, the frequencies, the temperatures and the firmware's throttle bits are recorded.

Needs what ``agent.pyz`` needs, and that file: the models are loaded and called by it. Its options
are understood too, as far as they concern a process and not how long it measures.
"""

import argparse
import gc
import importlib
import sys
import time

SCHEMA = 1
NAME = "shufflenet-deploy sustained"


def load_agent(path):
    """The package of the agent, from its one file."""
    sys.path.insert(0, path)
    return importlib.import_module("agent")


def turn(invoke, secs):
    """The first inference of a turn, then others for so long, at least one; durations in ns."""
    clock = time.perf_counter_ns
    began = clock()
    invoke()
    first = clock() - began
    samples = []
    until = began + int(secs * 1e9)
    while True:
        before = clock()
        invoke()
        after = clock()
        samples.append(after - before)
        if after >= until:
            return first, samples


def trace_point(agent, at_ns):
    """Frequencies, temperatures and throttle bits at this moment."""
    now = agent.conditions()
    return {
        "at_ns": at_ns,
        "frequency_khz": now["frequency_khz"],
        "temperature_c": now["temperature_c"],
        "throttled": now["throttled"],
    }


def alternate(agent, invokes, options):
    """Let models take turns, there and back, until the time is over; slices and trace."""
    clock = time.perf_counter_ns
    slices, trace = [], [trace_point(agent, 0)]
    started = clock()
    noted = 0
    order = list(range(len(invokes)))
    while clock() - started < options.secs * 1e9:
        for subject in order:
            at_ns = clock() - started
            first, samples = turn(invokes[subject], options.slice_secs)
            slices.append({"subject": subject, "at_ns": at_ns, "first": first, "samples": samples})
            if clock() - started - noted >= options.trace_secs * 1e9:
                noted = clock() - started
                trace.append(trace_point(agent, noted))
        order.reverse()
    trace.append(trace_point(agent, clock() - started))
    return slices, trace


def measure(agent, options, rest):
    """Load the models one beside the other and let them take turns."""
    shared = agent.parse_arguments(rest)
    if shared.cpus:
        agent.pin(shared.cpus)
    invokes, version = [], None
    for path in [shared.model, *options.also]:
        engine, _, _ = agent.open_model(agent.ENGINES[shared.runtime], path, shared.threads)
        agent.bind(engine, shared)
        invokes.append(engine.invoker())
        version = engine.version
    try:
        gc.collect()
        gc.disable()
        for invoke in invokes:
            invoke()
        slices, trace = alternate(agent, invokes, options)
    except (MemoryError, agent.Failed):
        raise
    except Exception as error:  # every runtime has a tree of its own
        message = "inference failed: %s: %s" % (type(error).__name__, error)
        raise agent.Failed("crashed", message) from error
    return {"version": version, "slices": slices, "trace": trace, "cpus": agent.affinity()}


def main():
    """Read the options of this program and hand the others over to the agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("--agent", required=True, metavar="FILE", help="agent.pyz")
    add("--also", action="append", default=[], metavar="FILE", help="another model")
    add("--secs", type=float, default=600.0, help="how long all of it takes")
    add("--slice-secs", type=float, default=1.0, help="how long a turn takes")
    add("--trace-secs", type=float, default=2.0, help="between two notes of the conditions")
    options, rest = parser.parse_known_args()
    agent = load_agent(options.agent)
    head = {"schema": SCHEMA, "program": NAME}
    agent.print_one_object(lambda: agent.reported(head, lambda: measure(agent, options, rest)))


if __name__ == "__main__":
    main()
