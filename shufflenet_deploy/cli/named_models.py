"""The models that the options of ``bench`` name, as fields of a suite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.cli.named_files import NamedFiles
    from shufflenet_deploy.records import Resolution
    from shufflenet_deploy.zoo import NetworkOptions


@dataclass(frozen=True, kw_only=True)
class NamedModels:
    """What the options change of a suite.

    ``fields`` are the models, the baseline, cards and files, sizes and runtimes; None where an
    option was not given. ``references`` are the models by their names; ``names`` are these by what
    was typed.
    """

    fields: dict[str, Any]
    references: dict[str, str]
    names: dict[str, str]

    @classmethod
    def of(
        cls,
        models: Sequence[str],
        baseline: str | None,
        network: NetworkOptions,
        *,
        resolutions: Sequence[str],
        runtimes: Sequence[str],
        files: NamedFiles,
    ) -> Self:
        """Resolve ``--model`` and ``--baseline``; ``network`` describes the former.

        Files are measured in their own runtimes where none is chosen, and have no baseline but the
        one that is named.

        Raises:
            UsageError: there is no such model, or two different ones of one name.
        """
        from shufflenet_deploy import zoo  # noqa: PLC0415

        named = baseline not in (None, "", "none") and files.baseline is None
        given = zoo.references(models, network)
        others = zoo.references([*given.values(), *([str(baseline)] if named else [])])
        names = dict(zip(models, given, strict=True)) if len(models) == len(given) else {}
        cards = {
            name: reference
            for name, reference in others.items()
            if not zoo.is_plain_name(reference)
        }
        rival = list(others)[-1] if named else files.baseline or baseline
        if files.files and rival is None:
            rival = "none"
        fields: dict[str, Any] = {
            "models": [*given, *files.models] or None,
            "baseline": rival,
            "cards": cards or None,
            "files": {name: one.model_dump(mode="json") for name, one in files.files.items()}
            or None,
            "resolutions": list(resolutions) or _declared(given.values()) or None,
            "runtimes": list(runtimes) or (files.runtimes if not given else []) or None,
        }
        return cls(fields=fields, references=others, names=names)

    def weights(self, given: Sequence[str]) -> list[str]:
        """``--weights`` with each model by its name, whatever was typed for it."""
        found = []
        for text in given:
            model, equals, path = text.partition("=")
            found.append(f"{self.names[model]}={path}" if equals and model in self.names else text)
        return found


def size_of(references: Mapping[str, str], given: str | None) -> Resolution:
    """The one size for all models: what was ``given``, the one that files state, or 224x224.

    Raises:
        UsageError: files state several.
    """
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.records import Resolution  # noqa: PLC0415

    if given is not None:
        return Resolution.parse(given)
    stated = set(filter(None, map(zoo.declared_resolution, references.values())))
    if len(stated) > 1:
        sizes = ", ".join(sorted(map(str, stated)))
        raise UsageError(f"the files state several sizes ({sizes}): choose by --resolution")
    return next(iter(stated), Resolution(height=224, width=224))


def _declared(references: Iterable[str]) -> list[str]:
    """The sizes of models that all are files, which state their own."""
    from shufflenet_deploy import zoo  # noqa: PLC0415

    sizes = [zoo.declared_resolution(reference) for reference in references]
    return [] if None in sizes else list(dict.fromkeys(map(str, sizes)))
