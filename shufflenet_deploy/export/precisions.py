"""Precisions of exported files: those of their format, and for programs those of their core.

Light on purpose: an export that is already there must not load numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import ALL, Format, Precision

if TYPE_CHECKING:
    from shufflenet_deploy.codegen.cpu_target import CpuTarget


def resolve(
    asked: Iterable[str], file_format: Format, machine: str | None, *, runtime: str = ""
) -> tuple[Precision, ...]:
    """The precisions that were asked for, each once; ``all`` is every one that there is.

    ``machine`` is the core of a native program, None where it is not known yet. ``runtime`` is what
    the user chose the format by, if that was by a runtime.

    Raises:
        UsageError: there are no such files, or the core does not compute so.
    """
    words = tuple(dict.fromkeys(asked))
    if ALL in words:
        return _possible(file_format, machine)
    chosen = tuple(Precision(word) for word in words)
    for one in chosen:
        check(one, file_format, machine, runtime=runtime)
    return chosen


def check(
    precision: Precision, file_format: Format, machine: str | None, *, runtime: str = ""
) -> None:
    """Refuse a precision that such files do not come in; see ``resolve``.

    Raises:
        UsageError: it is one.
    """
    if precision not in file_format.precisions:
        option, other = ("--runtime", runtime) if runtime else ("--fmt", file_format.value)
        raise UsageError(
            f"{precision.value} is for {option} native: {other} has none; leave one of them out, "
            f"or take --precision {ALL}: what each has"
        )
    if file_format is Format.NATIVE and machine is not None:
        _core(machine).for_precision(precision)


def _possible(file_format: Format, machine: str | None) -> tuple[Precision, ...]:
    if file_format is not Format.NATIVE or machine is None:
        return file_format.precisions
    return _core(machine).precisions


def _core(name: str) -> CpuTarget:
    from shufflenet_deploy.codegen.cpu_target import cpu_target_named  # noqa: PLC0415

    return cpu_target_named(name)
