"""Interruption by a signal, where it is safe.

An extension module runs Python code while it is initialised, and ends the whole process (SIGSEGV,
SIGABRT) where that code raises; some of Python's own code of imports is called where an exception
is ignored. An interruption at such a moment comes a little later instead.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection
from importlib.machinery import ExtensionFileLoader
from types import FrameType

_RETRY_SECS = 0.01

#: Python functions below which extension modules are initialised.
_INITIALISING = frozenset(
    function.__code__
    for function in (ExtensionFileLoader.create_module, ExtensionFileLoader.exec_module)
)


class Interruption:
    """Raises KeyboardInterrupt in the main thread on any of some signals; ``once`` at most if so.

    To be made in the main thread.
    """

    def __init__(self, numbers: Collection[signal.Signals], *, once: bool = False) -> None:
        self._numbers, self._once = numbers, once
        self._put_off = False
        self._install(self._received)

    def ignore(self) -> None:
        """Ignore the signals from now on."""
        self._install(signal.SIG_IGN)

    def _install(self, handler: signal._HANDLER) -> None:
        for number in self._numbers:
            signal.signal(number, handler)

    def _received(self, number: int, frame: FrameType | None) -> None:
        if is_importing(frame):
            if not self._put_off:
                self._put_off = True
                again = threading.Timer(_RETRY_SECS, self._send_again, [number])
                again.daemon = True
                again.start()
            return
        if self._once:
            self.ignore()
        raise KeyboardInterrupt

    def _send_again(self, number: int) -> None:
        self._put_off = False
        # To the main thread, which may be waiting in a system call by then.
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def is_importing(frame: FrameType | None) -> bool:
    """True in the code that imports modules, and in all that an extension module calls by it."""
    if frame is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        return True
    while frame is not None:
        if frame.f_code in _INITIALISING:
            return True
        frame = frame.f_back
    return False
