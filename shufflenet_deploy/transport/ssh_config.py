"""Resolution of a host to the route of its connection: ``user@host:port``, or an alias.

Where ``ssh`` is installed, ``ssh -G`` evaluates ``~/.ssh/config`` and ``/etc/ssh/ssh_config``;
elsewhere they are read by ``ssh_config_reader``. ``SHUFFLENET_DEPLOY_SSH_CONFIG`` names another
file, as ``ssh -F`` does.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport import ssh_config_reader as reader
from shufflenet_deploy.transport import ssh_expansion as expansion
from shufflenet_deploy.transport.known_hosts import host_key_name
from shufflenet_deploy.transport.ssh_config_files import (
    SYSTEM_KNOWN_HOSTS,
    agent_socket_of,
    default_keys,
    expanded_paths,
    file_list,
    identity_files,
    quoted_option,
    user_known_hosts,
    user_known_hosts_of,
)
from shufflenet_deploy.transport.ssh_config_lines import host_names, sources
from shufflenet_deploy.transport.ssh_destination import (
    HOST_METACHARACTERS,
    Destination,
    is_host,
)
from shufflenet_deploy.transport.ssh_options import (
    config_options,
    destination_options,
    options_of,
    value_of,
)
from shufflenet_deploy.transport.ssh_route import CONNECT_TIMEOUT_SECS, Route, SshSettings

CONFIG_VARIABLE = "SHUFFLENET_DEPLOY_SSH_CONFIG"
_MOST_JUMPS = 8
#: Settings that only OpenSSH's own client follows, where they are none of the harmless words below.
_ONLY_OPENSSH = (
    *("KnownHostsCommand", "RevokedHostKeys", "PKCS11Provider", "AddressFamily", "BindAddress"),
    *("BindInterface", "ProxyUseFdpass", "VerifyHostKeyDNS"),
)
#: Authentication methods of OpenSSH's client alone, by the keyword that enables them.
_SSH_METHODS = {
    "gssapiauthentication": "gssapi-with-mic",
    "hostbasedauthentication": "hostbased",
}
_HARMLESS = frozenset({"none", "any", "no", "false", ""})
_ALGORITHMS = frozenset(
    {"ciphers", "macs", "kexalgorithms", "hostkeyalgorithms", "pubkeyacceptedalgorithms"}
)


def route_of(settings: SshSettings) -> Route:
    """The route of a connection that a program described."""
    user = settings.user or expansion.local_user()
    port = ("-p", str(settings.port))
    files: tuple[str, ...] = ()
    if settings.identity_file:
        files += ("-i", str(settings.identity_file))
    if settings.known_hosts:
        files += ("-o", quoted_option("UserKnownHostsFile", (settings.known_hosts,)))
    own: tuple[str, ...] = ("-F", "none", "-l", user)
    if settings.identity_file:
        own += ("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none")
    argv = ("ssh", *port, *files, f"{user}@{settings.hostname}")
    return Route(
        hostname=settings.hostname,
        port=settings.port,
        user=user,
        identity_files=(settings.identity_file,) if settings.identity_file else default_keys(),
        identities_only=settings.identity_file is not None,
        agent_socket=None if settings.identity_file else agent_socket_of(None),
        known_hosts=(settings.known_hosts,) if settings.known_hosts else user_known_hosts(),
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
        """The route to a host; ``through`` are the hops before it in an explicit chain."""
        if typed.host in seen or len(seen) > _MOST_JUMPS:
            raise UsageError(
                f"ProxyJump goes in circles: {' -> '.join((*seen, typed.host))}; "
                "correct ~/.ssh/config"
            )
        found = options_of(typed, self._config, by_openssh=self._by_openssh)
        route = _route_from(found, typed, self._config, through or ())
        hops = value_of(found, "proxyjump")
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
            names = host_names(sources(self._config))
        except OSError as error:
            raise UsageError(f"cannot read the ssh configuration: {error}") from error
        return tuple(sorted(filter(is_host, names)))


def _route_from(
    found: reader.Options, typed: Destination, config: Path | None, through: tuple[str, ...]
) -> Route:
    """One hop, without its jumps, from its options."""
    hostname = found["hostname"][0]
    port, user = int(found["port"][0]), found["user"][0]
    alias = value_of(found, "hostkeyalias")
    tokens = expansion.connection_tokens(
        hostname=hostname, typed=typed.host, alias=alias, port=port, user=user
    )
    proxy = None if through else value_of(found, "proxycommand")
    try:
        identities = tuple(identity_files(found.get("identityfile", ()), tokens))
        certificates = expanded_paths(found.get("certificatefile", ()), tokens)
        agent = agent_socket_of(value_of(found, "identityagent", none=True), tokens)
        proxy = expansion.expand_tokens(proxy, tokens) if proxy else None
        if proxy and HOST_METACHARACTERS.intersection(hostname):
            raise ValueError(f"HostName {hostname!r} must not reach the shell of a ProxyCommand")
    except ValueError as error:
        raise UsageError(f"cannot understand the ssh configuration: {error}") from error
    users, policy = user_known_hosts_of(found)
    known = (*users, *file_list(found, "globalknownhostsfile", SYSTEM_KNOWN_HOSTS))
    timeout = value_of(found, "connecttimeout")
    jump = ("-J", ",".join(through)) if through else ()
    name = f"{typed.user}@{typed.host}" if typed.user else typed.host
    ways = (*config_options(config), *jump)
    # Passed only to an ssh that knows the keyword.
    forks = (value_of(found, "forkafterauthentication") or "no") != "no"
    stay = ("-o", "ForkAfterAuthentication=no") if forks else ()
    shown_port = ("-p", str(typed.port)) if typed.port else ()
    return Route(
        hostname=hostname,
        port=port,
        user=user,
        identity_files=identities if "identityfile" in found else default_keys(),
        certificate_files=certificates,
        identities_only=value_of(found, "identitiesonly") == "yes",
        agent_socket=agent,
        known_hosts=known,
        host_key_name=alias or host_key_name(hostname, port),
        plain_key_name=None if alias else hostname,
        proxy_command=proxy,
        connect_timeout_secs=float(timeout or 0) or CONNECT_TIMEOUT_SECS,
        compression=value_of(found, "compression") == "yes",
        algorithms={
            keyword: tuple(found[keyword][0].split(",")) for keyword in _ALGORITHMS & found.keys()
        },
        only_openssh=_only_openssh(found),
        ssh_methods=tuple(
            method for keyword, method in _SSH_METHODS.items() if value_of(found, keyword) == "yes"
        ),
        ssh_argv=("ssh", *ways, *shown_port, name),
        ssh_options=(*config_options(config), *destination_options(typed), *policy, *stay),
        ssh_host=typed.host,
        accept_argv=("ssh", *ways, *policy, *_accept_options(found), *shown_port, name, "exit"),
    )


def _only_openssh(found: reader.Options) -> tuple[str, ...]:
    """Keywords with a value that OpenSSH's client alone follows."""
    return tuple(
        keyword
        for keyword in _ONLY_OPENSSH
        if (value_of(found, keyword.lower()) or "").lower() not in _HARMLESS
    )


def _accept_options(found: reader.Options) -> tuple[str, ...]:
    """Options that make ``ssh`` ask about an unknown key and exit, overriding the configuration."""
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
        if (value_of(found, keyword.lower(), none=True) or value).lower() != value:
            options += ("-o", f"{keyword}={value}")
    if found.keys() & {"localforward", "remoteforward", "dynamicforward"}:
        options += ("-o", "ClearAllForwardings=yes")
    return tuple(options)
