"""The database boundary: where a journal is, what may be shown of that, and what errors mean.

A location may hold a password: as a part of a URL, in its query, or in what was meant to be one.
So nothing of it is shown but what is known to be harmless (an allow-list): the kind of database,
plain names of user, host, port and database, or a path. A driver's message that repeats anything
else of it is not shown either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import sqlalchemy as sa
from sqlalchemy import exc

from shufflenet_deploy.atomic_files import is_file, user_path
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.printing import first_line

SQLITE = "sqlite"
_POSTGRESQL, _POSTGRESQL_NAMES = "postgresql+psycopg", ("postgresql", "postgres")
_BACKENDS = (SQLITE, *_POSTGRESQL_NAMES, "mysql", "mariadb", "mssql", "oracle", "cockroachdb")
_DRIVERS = {
    *("psycopg", "psycopg2", "asyncpg", "pymysql", "mysqldb", "pysqlite", "oracledb", "pyodbc"),
}
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,128}|[0-9A-Fa-f:.]{2,45}")
_PATH = re.compile(r"[A-Za-z0-9_./-]{1,200}")
#: Parameters of connections that are no secret, where their values are plain.
_HARMLESS = frozenset(
    [
        "application_name",
        "cache",
        "channel_binding",
        "charset",
        "connect_timeout",
        "gssencmode",
        "host",
        "mode",
        "sslmode",
        "target_session_attrs",
        "timeout",
        "uri",
    ]
)
#: A location without "://" that was meant as a URL or a connection string, not as a path.
_HOLDS_CREDENTIALS = re.compile(
    r"^\s*(?:" + "|".join(_BACKENDS) + r")(?:\+\w*)?\s*:"
    r"|^[^/]*:[^/]*@|//[^/]*:[^/]*@|(?:^|[\s?&;])(?:host|hostaddr|user|dbname)\s*=\s*\S"
    r"|(?:pass(?:word|wd|phrase)?|pwd|secret|token|api_?key)\s*=",
    re.IGNORECASE,
)
_UNREADABLE = (
    "this --journal is not shown, because it may hold a password, and is neither a path nor a "
    "URL: write a path, or postgresql://user:password@host/database with %40 for @, %2F for / "
    "and %3F for ? in the password"
)
_NOT_SHOWN = "the driver's message is not shown, because it repeats a part of the URL"


@dataclass(frozen=True, kw_only=True)
class Location:
    """Location of a journal. ``shown`` is its form for messages and ``--json``.

    ``guarded`` are the texts that no message may repeat.
    """

    url: sa.URL
    shown: str
    guarded: frozenset[str]

    @property
    def file(self) -> Path | None:
        """The file of an SQLite journal."""
        is_path = self.url.get_backend_name() == SQLITE and self.url.database
        return Path(str(self.url.database)) if is_path else None

    def reason(self, error: BaseException) -> str:
        """A driver's message on one line, withheld where it would show a secret."""
        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split())
        if any(secret in text for secret in self.guarded):
            return f"{type(cause).__name__} ({_NOT_SHOWN})"
        return first_line(text, 300) or type(cause).__name__

    def unusable(self, error: BaseException) -> UsageError:
        """The one error of everything that a database or its driver raises."""
        if isinstance(error, Warning):
            return UsageError(
                f"cannot use the journal {self.shown}: the driver knows nothing of a parameter of "
                "its URL; leave out what follows the ?"
            )
        reason = self.reason(error)
        hint = "choose another --journal"
        if "not a database" in reason or "malformed" in reason:
            hint = "it is damaged or not a journal: choose another --journal, or move it away"
        return UsageError(f"cannot use the journal {self.shown}: {reason}; {hint}")


def locate(text: str) -> Location:
    """Read a path or a database URL.

    Raises:
        UsageError: it is neither; nothing of it is repeated that may be secret.
    """
    if "://" not in text:
        if _HOLDS_CREDENTIALS.search(text) and not is_file(Path(text)):
            raise UsageError(_UNREADABLE)
        path = str(user_path(text).absolute())
        return Location(url=sa.URL.create(SQLITE, database=path), shown=path, guarded=frozenset())
    scheme, _, rest = text.partition("://")
    backend = scheme.partition("+")[0]
    if backend not in _BACKENDS:
        raise UsageError(
            "this --journal is not a journal: write a path, or a URL such as "
            f"postgresql://user@host/database (known: {', '.join(_BACKENDS)})"
        )
    # A password with an unescaped @, / or ? ends up as a host, a database or a query, and is shown.
    if backend != SQLITE and not re.fullmatch(r"(?:[^@/?#]*@)?[^@]*", rest):
        raise UsageError(_UNREADABLE)
    try:
        url = sa.make_url(text)
        _ = url.get_backend_name()
    except (exc.SQLAlchemyError, ValueError, TypeError):
        raise UsageError(_UNREADABLE) from None
    # Without a driver the one that our extra installs is meant, whatever SQLAlchemy's default is.
    if url.drivername in _POSTGRESQL_NAMES:
        url = url.set(drivername=_POSTGRESQL)
    return Location(url=url, shown=_shown(url), guarded=_guarded(url))


def _shown(url: sa.URL) -> str:
    """The parts of a URL that hold no secret."""
    if url.get_backend_name() == SQLITE:
        path = url.database or ":memory:"
        return "an SQLite file" if _HOLDS_CREDENTIALS.search(path) else path
    user, host, database = map(_plain, (url.username, url.host, url.database))
    port = f":{url.port}" if url.port is not None else ""
    backend, _, driver = url.drivername.partition("+")
    kind = url.drivername if driver in _DRIVERS else backend
    host = f"[{host}]" if ":" in host else host
    login = f"{user}{':***' if url.password else ''}@" if user else ""
    harmless = "&".join(
        f"{key}={value}"
        for key, value in url.query.items()
        if isinstance(value, str) and _is_harmless(key, value)
    )
    place = f"{host}{port}{'/' if database else ''}{database}"
    return f"{kind}://{login}{place}{'?' if harmless else ''}{harmless}"


def _plain(part: str | None) -> str:
    return "" if not part else (part if _PLAIN.fullmatch(part) else "…")


def _is_harmless(key: str, value: str) -> bool:
    pattern = _PATH if key == "host" else _PLAIN
    return key in _HARMLESS and pattern.fullmatch(value) is not None


def _guarded(url: sa.URL) -> frozenset[str]:
    values = [str(url.password or "")]
    for key, value in url.query.items():
        several = [value] if isinstance(value, str) else list(value)
        values += [one for one in several if not _is_harmless(key, one)]
    values += [
        part
        for part in (url.username, url.host, url.database)
        if part and url.get_backend_name() != SQLITE and not _PLAIN.fullmatch(part)
    ]
    forms = {form(value) for value in values for form in (str, quote, quote_plus, unquote, repr)}
    # A driver that is none may be a password that lost its place.
    driver = url.drivername.partition("+")[2]
    forms |= {driver} - _DRIVERS
    return frozenset(one for one in forms if one.strip("'\""))
