"""Options that take several values: with commas between them, or the option several times."""

from __future__ import annotations

from collections.abc import Iterable

from shufflenet_deploy.errors import UsageError

ALL = "all"

#: The help of ``--precision``.
PRECISIONS = "fp32, fp16 (ncnn, mnn, openvino; native on cores that compute in it), int8 or all."
#: What ``all`` means in ``--runtime`` of commands that need no target.
EVERY_RUNTIME = "all: the usual one of every format"


def listed(values: str | Iterable[str] | None) -> list[str]:
    """``["a,b", "c"]`` as ``["a", "b", "c"]``, each once; nothing when the option was not given.

    Raises:
        UsageError: the option was given, but no value.
    """
    if values is None:
        return []
    texts = [values] if isinstance(values, str) else list(values)
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    if texts and not words:
        raise UsageError("an empty list was given: separate several values by commas")
    return list(dict.fromkeys(words))


def one_of(word: str | None, option: str | None, name: str) -> str | None:
    """The value given as a positional argument or as the option ``name``; None for neither.

    Raises:
        UsageError: both were given, and they differ.
    """
    if None not in (word, option) and word != option:
        raise UsageError(f"{word} and {name} {option} contradict each other: keep one")
    return word if word is not None else option


def runtimes(values: str | Iterable[str] | None) -> list[str]:
    """As ``listed``; ``all`` is the usual runtime of every format."""
    from shufflenet_deploy.export import formats  # noqa: PLC0415

    words = listed(values)
    every = [one.runtime for one in formats.every()] if ALL in words else []
    return list(dict.fromkeys([*(word for word in words if word != ALL), *every]))


def precisions(values: Iterable[str] | None) -> list[str]:
    """As ``listed``: precisions and ``all``, which ``export.precisions`` spells out for each file.

    Raises:
        UsageError: a word is neither.
    """
    from shufflenet_deploy.records import Precision  # noqa: PLC0415

    words, known = listed(values), (*Precision, ALL)
    for word in words:
        if word not in known:
            raise UsageError(f"--precision '{word}' is unknown: choose from {', '.join(known)}")
    return words
