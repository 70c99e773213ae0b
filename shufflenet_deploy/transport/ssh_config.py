"""From what the user typed to where a connection goes: ``user@host:port``, or an alias.

Where ``ssh`` is installed, ``ssh -G`` says what ``~/.ssh/config`` and ``/etc/ssh/ssh_config`` mean;
elsewhere they are read by ``ssh_config_reader``. ``SHUFFLENET_DEPLOY_SSH_CONFIG`` names another
file, as ``ssh -F`` does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport import ssh_config_reader as reader
from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport.known_hosts import SSH_PORT, host_key_name
from shufflenet_deploy.transport.shared_disk import SharedDisk

CONFIG_VARIABLE = "SHUFFLENET_DEPLOY_SSH_CONFIG"
_CONNECT_TIMEOUT_SECS = 10.0
_RESOLVE_SECS = 30.0
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
#: Every key that ``ssh`` looks for by itself; those that do not exist are no mistake.
_USUAL_KEYS = frozenset(
    {"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk", "id_xmss", "id_dsa"}
    | {"id_mldsa44_ed25519"}
)
_MOST_JUMPS = 8
#: What OpenSSH 9.6 refuses in names, for they reach the shell of a ProxyCommand.
_HOST_METACHARACTERS = frozenset("'`\"$\\;&<>|(){}")
_USER_METACHARACTERS = frozenset("'`\";&<>|(){}")
#: Settings that only OpenSSH's own client follows, where they say more than one of these words.
_ONLY_OPENSSH = (
    *("KnownHostsCommand", "RevokedHostKeys", "PKCS11Provider", "AddressFamily", "BindAddress"),
    *("BindInterface", "ProxyUseFdpass", "VerifyHostKeyDNS"),
)
_HARMLESS = frozenset({"none", "any", "no", "false", ""})
_ALGORITHMS = frozenset(
    {"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"}
)
_NO_FILES = frozenset({"/dev/null", "none"})


@dataclass(frozen=True, kw_only=True)
class SshSettings:
    """A connection given by a program; no configuration file, agent or default key is consulted.

    ``known_hosts`` None means the user's own files, ``user`` None the name of the local user.
    Large files go by ``disk`` where the target is a virtual machine that has one. Without
    ``keepalive`` a silent connection stays silent: what arrives there costs the target work.
    """

    hostname: str
    port: int = SSH_PORT
    user: str | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    disk: SharedDisk | None = None
    keepalive: bool = True


@dataclass(frozen=True, kw_only=True)
class Route:
    """One hop, fully resolved. ``jumps`` are passed through in order before it is reached.

    ``host_key_name`` is what the host is called in ``known_hosts``, ``plain_key_name`` what it is
    called there by entries for every port. ``agent_socket`` is that of the ssh-agent whose keys are
    offered. ``algorithms`` limits what may be negotiated. ``only_openssh`` names settings that
    OpenSSH's client alone follows, ``ssh_methods`` ways of logging in that it alone has.

    ``ssh_argv`` is what a user types to reach the host with OpenSSH, ``ssh_options`` and
    ``ssh_host`` how a program does, and ``accept_argv`` what a user types to accept its key.
    """

    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent_socket: Path | None
    known_hosts: tuple[Path, ...]
    host_key_name: str
    plain_key_name: str | None = None
    certificate_files: tuple[Path, ...] = ()
    jumps: tuple[Route, ...] = ()
    proxy_command: str | None = None
    connect_timeout_secs: float = _CONNECT_TIMEOUT_SECS
    compression: bool = False
    algorithms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    only_openssh: tuple[str, ...] = ()
    ssh_methods: tuple[str, ...] = ()
    ssh_argv: tuple[str, ...] = ()
    ssh_options: tuple[str, ...] = ()
    ssh_host: str = ""
    accept_argv: tuple[str, ...] = ()
    disk: SharedDisk | None = None
    keepalive: bool = True

    @property
    def hops(self) -> tuple[Route, ...]:
        """Every hop in the order that they are connected to, this one last."""
        return (*(hop for jump in self.jumps for hop in jump.hops), self)

    @property
    def address(self) -> str:
        """``host:port`` for messages."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{name}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """What was typed: ``[ssh://][user@]host[:port]``."""

    host: str
    user: str | None
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read ``user@host:port``, ``[v6]:port``, a bare IPv6 address or an alias.

        Raises:
            UsageError: it is none of these.
        """
        user, at, rest = text.strip().removeprefix("ssh://").rstrip("/").rpartition("@")
        if ":" in user:
            raise UsageError(
                f"'{user.split(':', 1)[0]}:...@{rest}' carries a password, which is not taken "
                "on the command line; copy your key there with ssh-copy-id"
            )
        if rest.count(":") > 1 and not rest.startswith("["):
            match = re.fullmatch(r"(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)(?P<host>)(?P<port>)", rest)
        else:
            match = re.fullmatch(
                r"(?:\[(?P<v6>[^\]\s]+)\]|(?P<host>[^-:\[\]\s/][^:\[\]\s/]*))"
                r"(?::(?P<port>[0-9]{1,5}))?",
                rest,
            )
        if match is None or (at and not _is_user(user)):
            raise UsageError(
                f"{text!r} is not a host: write local, user@host, user@host:port, [IPv6]:port, "
                "or an alias from ~/.ssh/config"
            )
        host = match["v6"] or match["host"]
        refused = sorted(
            _HOST_METACHARACTERS.intersection(host) | _USER_METACHARACTERS.intersection(user)
        )
        if refused or host.startswith("-") or not (host + user).isprintable():
            raise UsageError(
                f"{text!r} is not a host: {' '.join(refused) or 'such characters'} could reach a "
                "shell through ProxyCommand; names have letters, digits, dots and dashes"
            )
        port = int(match["port"]) if match["port"] else None
        if port is not None and not 0 < port < 1 << 16:
            raise UsageError(f"{text!r} has no valid port: write one from 1 to 65535")
        return cls(host, user or None, port)


def _is_user(name: str) -> bool:
    return bool(name) and not (
        name.startswith("-") or name.endswith("\\") or any(map(str.isspace, name))
    )


def route_of(settings: SshSettings) -> Route:
    """The route of a connection that a program described."""
    user = settings.user or expansion.local_user()
    port = ("-p", str(settings.port))
    files: tuple[str, ...] = ()
    if settings.identity_file:
        files += ("-i", str(settings.identity_file))
    if settings.known_hosts:
        files += ("-o", _option("UserKnownHostsFile", (settings.known_hosts,)))
    own: tuple[str, ...] = ("-F", "none", "-l", user)
    if settings.identity_file:
        own += ("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    argv = ("ssh", *port, *files, f"{user}@{settings.hostname}")
    return Route(
        hostname=settings.hostname,
        port=settings.port,
        user=user,
        identity_files=(settings.identity_file,) if settings.identity_file else _default_keys(),
        identities_only=settings.identity_file is not None,
        agent_socket=None if settings.identity_file else _agent_socket(None),
        known_hosts=(settings.known_hosts,) if settings.known_hosts else _user_known_hosts(),
        host_key_name=host_key_name(settings.hostname, settings.port),
        plain_key_name=settings.hostname,
        ssh_argv=argv,
        ssh_options=(*own, *port, *files),
        ssh_host=settings.hostname,
        accept_argv=(*argv, "exit"),
        disk=settings.disk,
        keepalive=settings.keepalive,
    )


def resolve(host: str, config: Path | None = None) -> Route:
    """Look a host up the way ``ssh`` does.

    Raises:
        UsageError: it is not a host, or the configuration cannot be read.
    """
    return _Resolver(config).route(Destination.parse(host), seen=())


def aliases(config: Path | None = None) -> tuple[str, ...]:
    """The hosts that the user's configuration names, patterns left out, sorted.

    What else the configuration holds does not matter.

    Raises:
        UsageError: the configuration cannot be read.
    """
    return _Resolver(config).aliases()


def ssh_program() -> str | None:
    """Where OpenSSH's client is, if it is installed."""
    return shutil.which("ssh")


def options_of(
    destination: Destination, config: Path | None = None, *, by_openssh: bool = True
) -> reader.Options:
    """What the configuration says about a host: asked of ``ssh -G``, or read here.

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
            reader.sources(config), destination.host, user=destination.user, port=destination.port
        )
    except reader.ConfigError as error:
        raise UsageError(f"cannot understand the ssh configuration: {error}") from error
    except OSError as error:
        raise UsageError(f"cannot read the ssh configuration: {error}") from error


def _asked(program: str, destination: Destination, config: Path | None) -> reader.Options | None:
    """What ``ssh -G`` prints; None where that ``ssh`` is another program, or too old to say."""
    argv = [program, *_config_options(config), *_typed_options(destination), "-G"]
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
    said = done.stderr.decode("utf-8", "replace").strip()
    if re.search(r"usage:|(unknown|illegal|invalid) option", said, re.IGNORECASE):
        return None
    first = next(iter(said.splitlines()), f"status {done.returncode}").strip()
    if open_file := re.fullmatch(r"Bad owner or permissions on (.+)", first):
        closing = shlex.join(("chmod", "go-w", open_file[1]))
        first += f": it must be yours, and nobody else's to write: {closing}"
    raise UsageError(f"cannot understand the ssh configuration: {first}")


def _separate(options: reader.Options, destination: Destination, config: Path | None) -> None:
    """Tell the files of a list apart, which ``ssh -G`` prints side by side whatever their names."""
    doubtful = [
        keyword
        for keyword in ("userknownhostsfile", "globalknownhostsfile")
        if any(word[:1] not in {"/", "~"} for word in options.get(keyword, [""])[0].split(" ")[1:])
    ]
    if not doubtful:
        return
    try:
        read = reader.read_options(
            reader.sources(config), destination.host, user=destination.user, port=destination.port
        )
    except (reader.ConfigError, OSError):
        return
    for keyword in doubtful:
        if " ".join(read.get(keyword, ())) == options[keyword][0]:
            options[keyword] = read[keyword]


class _Resolver:
    """One reading of the configuration, asked about a host and each of its jumps."""

    def __init__(self, config: Path | None) -> None:
        self._config = config or (Path(v) if (v := os.environ.get(CONFIG_VARIABLE)) else None)
        # As for `ssh -F`, "none" stands for no configuration at all.
        named = self._config is not None and str(self._config) != "none"
        if self._config is not None and named and not self._config.is_file():
            raise UsageError(f"there is no ssh configuration at {self._config}")
        self._by_openssh = True

    def route(
        self, typed: Destination, *, seen: tuple[str, ...], through: tuple[str, ...] | None = None
    ) -> Route:
        """The route to a host; ``through`` are the hops before it where a chain says so."""
        if typed.host in seen or len(seen) > _MOST_JUMPS:
            raise UsageError(
                f"ProxyJump goes in circles: {' -> '.join((*seen, typed.host))}; "
                "correct ~/.ssh/config"
            )
        found = options_of(typed, self._config, by_openssh=self._by_openssh)
        route = _route_from(found, typed, self._config, through or ())
        hops = _first(found, "proxyjump")
        if through or hops is None:
            return route
        # As with `ssh -J a,b`: the first hop follows its own configuration, the rest is spelt out.
        names = [hop.strip() for hop in hops.split(",")]
        jumps = tuple(
            self.route(
                Destination.parse(name), seen=(*seen, typed.host), through=tuple(names[:index])
            )
            for index, name in enumerate(names)
        )
        return replace(route, jumps=jumps, proxy_command=None)

    def aliases(self) -> tuple[str, ...]:
        try:
            names = reader.host_names(reader.sources(self._config))
        except OSError as error:
            raise UsageError(f"cannot read the ssh configuration: {error}") from error
        return tuple(sorted(filter(_is_host, names)))


def _is_host(name: str) -> bool:
    try:
        Destination.parse(name)
    except UsageError:
        return False
    return True


def _route_from(
    found: reader.Options, typed: Destination, config: Path | None, through: tuple[str, ...]
) -> Route:
    """One hop, without its jumps, from what the configuration says about it."""
    hostname = found["hostname"][0]
    port, user = int(found["port"][0]), found["user"][0]
    alias = _first(found, "hostkeyalias")
    tokens = expansion.connection_tokens(
        hostname=hostname, typed=typed.host, alias=alias, port=port, user=user
    )
    proxy = None if through else _first(found, "proxycommand")
    try:
        identities = tuple(_keys(found.get("identityfile", ()), tokens))
        certificates = _paths(found.get("certificatefile", ()), tokens)
        agent = _agent_socket(_first(found, "identityagent", none=True), tokens)
        proxy = expansion.expand_tokens(proxy, tokens) if proxy else None
        if proxy and _HOST_METACHARACTERS.intersection(hostname):
            raise ValueError(f"HostName {hostname!r} must not reach the shell of a ProxyCommand")
    except ValueError as error:
        raise UsageError(f"cannot understand the ssh configuration: {error}") from error
    users, policy = _user_files(found)
    known = (*users, *_listed(found, "globalknownhostsfile", _SYSTEM_KNOWN_HOSTS))
    timeout = _first(found, "connecttimeout")
    jump = ("-J", ",".join(through)) if through else ()
    name = f"{typed.user}@{typed.host}" if typed.user else typed.host
    ways = (*_config_options(config), *jump)
    # Said only to an ssh that knows the keyword.
    forks = (_first(found, "forkafterauthentication") or "no") != "no"
    stay = ("-o", "ForkAfterAuthentication=no") if forks else ()
    shown_port = ("-p", str(typed.port)) if typed.port else ()
    return Route(
        hostname=hostname,
        port=port,
        user=user,
        identity_files=identities if "identityfile" in found else _default_keys(),
        certificate_files=certificates,
        identities_only=_first(found, "identitiesonly") == "yes",
        agent_socket=agent,
        known_hosts=known,
        host_key_name=alias or host_key_name(hostname, port),
        plain_key_name=None if alias else hostname,
        proxy_command=proxy,
        connect_timeout_secs=float(timeout or 0) or _CONNECT_TIMEOUT_SECS,
        compression=_first(found, "compression") == "yes",
        algorithms={
            keyword: tuple(found[keyword][0].split(",")) for keyword in _ALGORITHMS & found.keys()
        },
        only_openssh=tuple(
            keyword
            for keyword in _ONLY_OPENSSH
            if (_first(found, keyword.lower()) or "").lower() not in _HARMLESS
        ),
        ssh_methods=tuple(
            method
            for keyword, method in (
                ("gssapiauthentication", "gssapi-with-mic"),
                ("hostbasedauthentication", "hostbased"),
            )
            if _first(found, keyword) == "yes"
        ),
        ssh_argv=("ssh", *ways, *shown_port, name),
        ssh_options=(*_config_options(config), *_typed_options(typed), *policy, *stay),
        ssh_host=typed.host,
        accept_argv=("ssh", *ways, *policy, *_asking(found), *shown_port, name, "exit"),
    )


_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


def _config_options(config: Path | None) -> tuple[str, ...]:
    return ("-F", str(config)) if config is not None else ()


def _typed_options(typed: Destination) -> tuple[str, ...]:
    user = ("-l", typed.user) if typed.user else ()
    port = ("-p", str(typed.port)) if typed.port else ()
    return (*user, *port)


def _option(keyword: str, files: Iterable[Path]) -> str:
    """``Keyword="file" "file"`` as it stands in a configuration."""
    quoted = (str(file).replace("\\", "\\\\").replace("%", "%%") for file in files)
    names = (f'"{name}"' if re.search(r"\s", name) else name for name in quoted)
    return f"{keyword}={' '.join(names)}"


def _asking(found: reader.Options) -> tuple[str, ...]:
    """What makes ``ssh`` ask about an unknown key and then end, whatever the configuration says."""
    wanted = {
        "StrictHostKeyChecking": "ask",
        "NoHostAuthenticationForLocalhost": "no",
        "BatchMode": "no",
        "RemoteCommand": "none",
        "SessionType": "default",
        "ForkAfterAuthentication": "no",
        "ControlPath": "none",
    }
    options: list[str] = []
    for keyword, value in wanted.items():
        if (_first(found, keyword.lower(), none=True) or value).lower() != value:
            options += ("-o", f"{keyword}={value}")
    if found.keys() & {"localforward", "remoteforward", "dynamicforward"}:
        options += ("-o", "ClearAllForwardings=yes")
    return tuple(options)


def _first(found: reader.Options, keyword: str, *, none: bool = False) -> str | None:
    """The value of a keyword, if there is one; ``none`` counts as one where ``none`` is True."""
    value = found.get(keyword, [""])[0] if found.get(keyword) else ""
    return value if value and (none or value.lower() != "none") else None


def _user_files(found: reader.Options) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The user's ``known_hosts`` and the options by which ``ssh`` uses the same.

    Keys are verified here whatever is asked for: where the configuration keeps none, the usual
    files count.
    """
    files = _listed(found, "userknownhostsfile", "")
    if files and any(str(file) not in _NO_FILES for file in files):
        return files, ()
    files = _user_known_hosts()
    return files, ("-o", _option("UserKnownHostsFile", files[:1]))


def _listed(found: reader.Options, keyword: str, default: str) -> tuple[Path, ...]:
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


def _paths(names: Iterable[str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    return tuple(
        Path(expansion.expand_path(name, tokens)) for name in names if name.lower() != "none"
    )


def _keys(names: Iterable[str], tokens: Mapping[str, str]) -> Iterable[Path]:
    """The identity files; of those that ``ssh`` looks for by itself, the ones that exist."""
    usual = expansion.home() / ".ssh"
    for path in _paths(names, tokens):
        if path.parent != usual or path.name not in _USUAL_KEYS or path.is_file():
            yield path


def _agent_socket(setting: str | None, tokens: Mapping[str, str] | None = None) -> Path | None:
    """Where the agent listens that ``IdentityAgent`` names, if there is to be one."""
    if setting is not None and setting.lower() == "none":
        return None
    if setting is None or setting == "SSH_AUTH_SOCK":
        name = os.environ.get("SSH_AUTH_SOCK")
    elif setting.startswith("$") and not setting.startswith("${"):
        name = os.environ.get(setting[1:])
    else:
        name = expansion.expand_path(setting, tokens or {})
    return Path(name) if name else None


def _user_known_hosts() -> tuple[Path, ...]:
    return tuple(expansion.home() / ".ssh" / name for name in ("known_hosts", "known_hosts2"))


def _default_keys() -> tuple[Path, ...]:
    folder = expansion.home() / ".ssh"
    return tuple(path for name in _DEFAULT_KEYS if (path := folder / name).is_file())
