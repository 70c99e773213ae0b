"""Handler of unexpected exceptions: one line, a log and exit code 70.

Errors of ``errors.py`` never get here, nor does any input that is known to be wrong: the tests see
to it. An exception that does is a fault of this program; the log has what a report of it needs.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

import shufflenet_deploy
from shufflenet_deploy.printing import first_line, masked, printable

#: EX_SOFTWARE of sysexits.h.
UNEXPECTED = 70

#: Errors of a file that the user can fix: its name, its place, its permissions.
_MISTAKES = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    errno.ETXTBSY,
}


def one_line(text: object) -> str:
    """A message as a terminal takes it: one line, no control characters, no credentials."""
    return masked(printable(" ".join(str(text).split()), keep=""))


def of_file(error: OSError) -> tuple[str, int] | None:
    """The line and the exit code of an unusable file; None for any other error."""
    name = error.filename
    if name is None or error.errno is None or isinstance(error, ConnectionError):
        return None
    shown = first_line(os.fsdecode(name) if isinstance(name, str | bytes) else str(name), 200)
    status = 2 if error.errno in _MISTAKES else 1
    return f"cannot use {shown}: {error.strerror}", status


def log_unexpected(error: BaseException) -> str:
    """Write the log of an unexpected exception; the line that names the log."""
    where = "".join(
        f" at {Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)[-1:]
    )
    what = first_line(one_line(error), 120)
    fault = f"{type(error).__name__}{where}{': ' if what else ''}{what}"
    return f"a fault of shufflenet-deploy, not of yours: {fault}; {_logged(error)}"


def _logged(error: BaseException) -> str:
    text = "\n".join(
        (
            f"shufflenet-deploy {shufflenet_deploy.__version__}, Python {sys.version}",
            f"argv: {one_line(sys.argv[1:])}",
            masked("".join(traceback.format_exception(error))),
        )
    )
    name = f"fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for folder in (_log_folder, tempfile.gettempdir):
        try:
            path = Path(folder()) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(text)
        except (OSError, ValueError, RuntimeError):
            continue
        return f"please report it with {path}"
    return "no log could be written, so please report it with this line"


def _log_folder() -> str:
    import platformdirs  # noqa: PLC0415 - needed where something went wrong only

    return platformdirs.user_log_dir("shufflenet-deploy")
