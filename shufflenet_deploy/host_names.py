"""Hosts as a user writes them: those of a lab, whose tags are separated by commas as hosts are."""

from __future__ import annotations

from collections.abc import Iterable

#: Begins the hosts that a lab's coordinator knows.
LAB_PREFIX = "labgrid:"


def is_lab_host(host: str) -> bool:
    """True for hosts that a coordinator knows."""
    return host.startswith(LAB_PREFIX)


def joined(words: Iterable[str]) -> list[str]:
    """Words of a list that commas separated, with the tags of one reservation together again."""
    found: list[str] = []
    for word in words:
        if found and "=" in word and "=" in found[-1] and is_lab_host(found[-1]):
            found[-1] += f",{word}"
        else:
            found.append(word)
    return found
