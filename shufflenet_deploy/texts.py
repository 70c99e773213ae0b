"""Text files of users and strangers, TOML and JSON: bounded, parsed, or one line why not."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from pathlib import Path
from typing import Any

from shufflenet_deploy.errors import UsageError

MAX_TOML_BYTES = 1 << 20
MAX_JSON_BYTES = 16 << 20

#: A dotted key so long that parsing it takes quadratic time; no file of ours is this deep.
_DEEP_KEY = re.compile(r"""(?<![\w"'-])[\w"'-]++(?:[ \t]*+\.[ \t]*+[\w"'-]++){32}""")


def read_text(path: Path, what: str, limit_bytes: int = MAX_JSON_BYTES) -> str:
    """The text of a file, at most ``limit_bytes``; ``what`` it should be is for the message.

    Raises:
        UsageError: it is missing, no regular file, too large, or no UTF-8.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a device or pipe"
            raise UsageError(f"cannot read the {what} {path}: it is {kind}; give a file")
        with path.open("rb") as stream:
            content = stream.read(limit_bytes + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read the {what} {path}: {why}") from error
    if len(content) > limit_bytes:
        raise UsageError(
            f"the {what} {path} has more than the {limit_bytes >> 20} MiB that are read;"
            " is it the right file?"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the {what} {path} is not text in UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The fields of a TOML file of any content.

    Raises:
        UsageError: it cannot be read, or is not TOML that is meant for people.
    """
    text = read_text(path, what, MAX_TOML_BYTES)
    try:
        if _DEEP_KEY.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except RecursionError as error:
        raise UsageError(f"the {what} {path} is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"the {what} {path} is not TOML: {_line(error)}") from error


def read_json(path: Path, what: str) -> Any:
    """The value of a JSON file.

    Raises:
        UsageError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(read_text(path, what))
    except RecursionError as error:
        raise UsageError(f"the {what} {path} is nested too deeply") from error
    except ValueError as error:
        raise UsageError(f"the {what} {path} is not JSON: {_line(error)}") from error


def _line(error: ValueError) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
