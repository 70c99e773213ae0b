"""Query of OpenSSH's configuration: the options of a host as ``ssh -G`` prints them.

Where there is no ``ssh`` that knows ``-G``, ``ssh_config_reader`` reads the files to the same form.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport import ssh_config_reader as reader
from shufflenet_deploy.transport.ssh_config_lines import ConfigError, sources
from shufflenet_deploy.transport.ssh_destination import Destination

_RESOLVE_SECS = 30.0


def ssh_program() -> str | None:
    """Find the executable of OpenSSH's client, if it is installed."""
    return shutil.which("ssh")


def options_of(
    destination: Destination, config: Path | None = None, *, by_openssh: bool = True
) -> reader.Options:
    """Resolve a host's options: by ``ssh -G``, or with the reader of this package.

    Raises:
        UsageError: the configuration cannot be read.
    """
    program = ssh_program() if by_openssh else None
    if program is not None:
        options = _asked(program, destination, config)
        if options is not None:
            return options
    try:
        return reader.read_options(
            sources(config), destination.host, user=destination.user, port=destination.port
        )
    except ConfigError as error:
        raise UsageError(f"cannot understand the ssh configuration: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read the ssh configuration: {error}") from error


def _asked(program: str, destination: Destination, config: Path | None) -> reader.Options | None:
    """Run ``ssh -G``; None where that ``ssh`` is another program, or too old for it."""
    argv = [program, *config_options(config), *destination_options(destination), "-G"]
    try:
        done = subprocess.run(
            [*argv, "--", destination.host],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_RESOLVE_SECS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"`{shlex.join(argv)} {destination.host}` fails: {error}") from error
    options: reader.Options = {}
    for line in os.fsdecode(done.stdout).splitlines():
        keyword, _, value = line.partition(" ")
        options.setdefault(keyword.lower(), []).append(value)
    if done.returncode == 0 and "hostname" in options:
        _separate(options, destination, config)
        return options
    complaint = done.stderr.decode("utf-8", "replace").strip()
    if re.search(r"usage:|(unknown|illegal|invalid) option", complaint, re.IGNORECASE):
        return None
    first = next(iter(complaint.splitlines()), f"status {done.returncode}").strip()
    if open_file := re.fullmatch(r"Bad owner or permissions on (.+)", first):
        closing = shlex.join(("chmod", "go-w", open_file[1]))
        first += f": it must be yours, and nobody else's to write: {closing}"
    raise UsageError(f"cannot understand the ssh configuration: {first}")


def _separate(options: reader.Options, destination: Destination, config: Path | None) -> None:
    """Separate the files of a list, which ``ssh -G`` joins with blanks whatever their names."""
    doubtful = [
        keyword
        for keyword in ("userknownhostsfile", "globalknownhostsfile")
        if any(word[:1] not in {"/", "~"} for word in options.get(keyword, [""])[0].split(" ")[1:])
    ]
    if not doubtful:
        return
    try:
        read = reader.read_options(
            sources(config), destination.host, user=destination.user, port=destination.port
        )
    except (ConfigError, OSError):
        return
    for keyword in doubtful:
        if " ".join(read.get(keyword, ())) == options[keyword][0]:
            options[keyword] = read[keyword]


def config_options(config: Path | None) -> tuple[str, ...]:
    """Options by which ``ssh`` reads the chosen configuration file."""
    return ("-F", str(config)) if config is not None else ()


def destination_options(typed: Destination) -> tuple[str, ...]:
    """Options of ``ssh`` for the user and port that were typed."""
    user = ("-l", typed.user) if typed.user else ()
    port = ("-p", str(typed.port)) if typed.port else ()
    return (*user, *port)


def value_of(found: reader.Options, keyword: str, *, none: bool = False) -> str | None:
    """The value of a keyword, if there is one; ``none`` counts as one where ``none`` is True."""
    value = found.get(keyword, [""])[0] if found.get(keyword) else ""
    return value if value and (none or value.lower() != "none") else None
