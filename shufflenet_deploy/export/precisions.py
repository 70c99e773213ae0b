"""Precisions of exported files: those of their format, and for programs those of their core.

Light on purpose: an export that is already there must not load numpy.
"""

from __future__ import annotations

from collections.abc import Iterable

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.records import ALL, Precision


def resolve(
    asked: Iterable[str], file_format: str, machine: str | None, *, runtime: str = ""
) -> tuple[Precision, ...]:
    """The precisions that were asked for, each once; ``all`` is every one that there is.

    ``machine`` is the core of a native program, None where it is not known yet. ``runtime`` is what
    the user chose the format by, if that was by a runtime.

    Raises:
        UsageError: there are no such files, or the core does not compute so.
    """
    words = tuple(dict.fromkeys(asked))
    if ALL in words:
        return formats.get(file_format).precisions_on(machine)
    chosen = tuple(Precision(word) for word in words)
    for one in chosen:
        check(one, file_format, machine, runtime=runtime)
    return chosen


def check(
    precision: Precision, file_format: str, machine: str | None, *, runtime: str = ""
) -> None:
    """Refuse a precision that such files do not come in; see ``resolve``.

    Raises:
        UsageError: it is one.
    """
    kind = formats.get(file_format)
    if precision not in kind.precisions:
        option, other = ("--runtime", runtime) if runtime else ("--fmt", file_format)
        having = [one.runtime if runtime else one.name for one in formats.every()
                  if precision in one.precisions]  # fmt: skip
        raise UsageError(
            f"{precision.value} is for {option} {_either(having)}: {other} has none; leave one"
            f" of them out, or take --precision {ALL}: what each has"
        )
    kind.check(precision, machine)


def _either(words: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
