"""This process and the machine it runs on: cores, memory, facts for the record."""

import os
import platform
import resource

from .failures import Failed
from .sensors import read_text


def peak_rss_bytes():
    """Largest resident size of this process so far.

    The kernel's ru_maxrss survives exec, so that a large parent would show in it; VmHWM does not.
    """
    for line in (read_text("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def affinity():
    """The cores this process may run on; None where the system does not report them."""
    try:
        return sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return None


def pin(cpus):
    """Keep this process and all threads it will start on the given cores."""
    try:
        os.sched_setaffinity(0, cpus)
    except AttributeError as error:
        message = "this system cannot pin a process to cores: leave --cpus out"
        raise Failed("usage", message) from error
    except (OSError, ValueError) as error:
        message = "cannot run on cores %s: this process may use %s of %s"
        wanted = ",".join(str(cpu) for cpu in sorted(cpus))
        raise Failed("usage", message % (wanted, affinity(), os.cpu_count())) from error


def set_oom_score():
    """Set the highest OOM score, so that the kernel kills this process, not the login service."""
    try:
        with open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("1000")
    except OSError:
        pass


def platform_facts():
    """Python, numpy and machine, for the record."""
    facts = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }
    try:
        import numpy as np

        facts["numpy"] = np.__version__
    except ImportError:
        facts["numpy"] = None
    return facts
