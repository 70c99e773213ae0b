"""Files that a host's options name: identity files, ``known_hosts``, and the agent's socket."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport.ssh_config_reader import Options

SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
#: Every key that ``ssh`` looks for by itself; those that do not exist are no mistake.
_USUAL_KEYS = frozenset(
    {"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa"}
    | {"id_mldsa44_ed25519"}
)
_NO_FILES = frozenset({"/dev/null", "none"})


def quoted_option(keyword: str, files: Iterable[Path]) -> str:
    """``Keyword="file" "file"`` as it stands in a configuration."""
    quoted = (str(file).replace("\\", "\\\\").replace("%", "%%") for file in files)
    names = (f'"{name}"' if re.search(r"\s", name) else name for name in quoted)
    return f"{keyword}={' '.join(names)}"


def user_known_hosts_of(found: Options) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The user's ``known_hosts`` and the options by which ``ssh`` uses the same.

    Keys are verified here whatever is asked for: where the configuration keeps none, the usual
    files count.
    """
    files = file_list(found, "userknownhostsfile", "")
    if files and any(str(file) not in _NO_FILES for file in files):
        return files, ()
    files = user_known_hosts()
    return files, ("-o", quoted_option("UserKnownHostsFile", files[:1]))


def file_list(found: Options, keyword: str, default: str) -> tuple[Path, ...]:
    """A list of files. ``ssh -G`` prints them side by side, even where a name has blanks."""
    values = found.get(keyword) or [default]
    if len(values) > 1:
        return tuple(Path(value) for value in values)
    files: list[Path] = []
    words = values[0].split(" ")
    while words:
        # The longest run of words that is a file; else one that begins where the next path does.
        count = next(
            (n for n in range(len(words), 1, -1) if Path(" ".join(words[:n])).is_file()),
            next((n for n in range(1, len(words)) if words[n].startswith(("/", "~"))), len(words)),
        )
        files.append(Path(expansion.expand_tilde(" ".join(words[:count]))))
        del words[:count]
    return tuple(file for file in files if str(file) not in {".", "none"})


def expanded_paths(names: Iterable[str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    """Expand ``~``, tokens and variables of file names; ``none`` is left out."""
    return tuple(
        Path(expansion.expand_path(name, tokens)) for name in names if name.lower() != "none"
    )


def identity_files(names: Iterable[str], tokens: Mapping[str, str]) -> Iterable[Path]:
    """The identity files; of those that ``ssh`` looks for by itself, the ones that exist."""
    usual = expansion.home() / ".ssh"
    for path in expanded_paths(names, tokens):
        if path.parent != usual or path.name not in _USUAL_KEYS or path.is_file():
            yield path


def agent_socket_of(setting: str | None, tokens: Mapping[str, str] | None = None) -> Path | None:
    """Path of the socket that ``IdentityAgent`` names, if an agent is to be used."""
    if setting is not None and setting.lower() == "none":
        return None
    if setting is None or setting == "SSH_AUTH_SOCK":
        name = os.environ.get("SSH_AUTH_SOCK")
    elif setting.startswith("$") and not setting.startswith("${"):
        name = os.environ.get(setting[1:])
    else:
        name = expansion.expand_path(setting, tokens or {})
    return Path(name) if name else None


def user_known_hosts() -> tuple[Path, ...]:
    """Paths of the user's ``known_hosts`` files, existing or not."""
    return tuple(expansion.home() / ".ssh" / name for name in ("known_hosts", "known_hosts2"))


def default_keys() -> tuple[Path, ...]:
    """Identity files in the user's ``~/.ssh``, in the order that they are offered."""
    folder = expansion.home() / ".ssh"
    return tuple(path for name in _DEFAULT_KEYS if (path := folder / name).is_file())
