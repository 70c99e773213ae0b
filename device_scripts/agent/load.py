"""Background load: processes that keep the machine busy while a model is measured."""

import os
import signal

from .sensors import read_text

# Iterations between two looks at whether the process that started it still lives: some 10 ms.
_STEPS = 200000


class BackgroundLoad:
    """So many busy processes, from construction until ``stop``; they end with their parent too.

    They run wherever the scheduler puts them among the cores that this process may use now.
    """

    def __init__(self, count):
        self._pids = []
        try:
            for _ in range(count):
                self._pids.append(_start())
        except OSError:
            self.stop()
            raise

    def __len__(self):
        return len(self._pids)

    def cpu_secs(self):
        """CPU time that the processes have taken so far; None where the kernel does not tell."""
        total = 0
        for pid in self._pids:
            text = read_text("/proc/%d/stat" % pid)
            # The name of the program stands in parentheses, and may hold any character.
            fields = text.rpartition(")")[2].split() if text else []
            if len(fields) < 13:
                return None
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """End all processes and wait for them."""
        for pid in self._pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except OSError:
                continue
        self._pids = []


def _start():
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while os.getppid() == parent:
            for _ in range(_STEPS):
                pass
    finally:
        os._exit(0)
