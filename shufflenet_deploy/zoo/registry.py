"""From a name to an architecture: the shipped cards, and the grammar of ShuffleNet names."""

from __future__ import annotations

import difflib
import re
from functools import cache
from pathlib import Path

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import first_problem
from shufflenet_deploy.zoo.card import Architecture, read_card
from shufflenet_deploy.zoo.config import (
    PAPER_VARIANT,
    MobileNetConfig,
    Shuffle,
    ShuffleNetConfig,
    shufflenet,
)
from shufflenet_deploy.zoo.mobile_config import MobileNetV2Config

#: Reduction of the squeeze-and-excitation gate (the 527M of Table 5 are met with 16).
GATE_REDUCTION = 16

_SHUFFLENET = re.compile(
    r"(?P<stem>shufflenet(?:-?v1)?(?:-g(?P<groups>[0-9]{1,3}))?-x?)"
    r"(?P<scale>[0-9]{1,6}(?:\.[0-9]{1,6})?)x?(?P<words>(?:-(?:se|noshuffle))*)"
)
_MOBILENET = re.compile(
    r"(?P<stem>mobilenet(?:-?v(?P<version>[12]))?-x?)(?P<scale>[0-9]{1,6}(?:\.[0-9]{1,6})?)x?"
)
#: Widths of networks that are built from their names; the paper has 0.25 to 2.
_SCALES = (0.05, 4.0)


@cache
def cards() -> dict[str, Architecture]:
    """Every shipped card by name, in the order of the paper's tables, then by name."""
    found = [read_card(path) for path in resource("models").glob("*.toml")]
    return {card.name: card for card in sorted(found, key=_order)}


def names() -> tuple[str, ...]:
    """Every model that has a card."""
    return tuple(cards())


def architecture(name: str) -> Architecture:
    """The architecture called ``name``: a card's name or alias, ``shufflenet-gG-Sx``, or a card.

    A ShuffleNet or MobileNet of a width that no card has is built from its name; a path that ends
    in ``.toml`` is read as a card.

    Raises:
        UsageError: there is no such model; the message offers the nearest names.
    """
    if name.endswith(".toml"):
        return read_card(Path(name))
    wanted = _normal(name)
    for card in cards().values():
        if wanted in (card.name, *card.aliases):
            return card
    parsed = _parse(wanted)
    if parsed is not None:
        return cards().get(parsed.name, parsed)
    raise UsageError(f"no model is called '{_shown(name)}'{_suggestion(wanted[:100])}")


def shufflenet_name(description: ShuffleNetConfig) -> str | None:
    """The name of the paper's network that ``description`` is, but for stem and classes."""
    width = description.widths[0]
    for card in cards().values():
        known = card.description
        if isinstance(known, ShuffleNetConfig) and same_network(known, description):
            return card.name
    for quarter in range(1, 17):
        scale = quarter / 4
        try:
            known = shufflenet(description.groups, scale)
        except ValueError:
            continue
        if known.widths[0] == width and same_network(known, description):
            return f"shufflenet-g{description.groups}-{scale:g}x"
    return None


def same_network(known: ShuffleNetConfig, other: ShuffleNetConfig) -> bool:
    """True where both are one network of the paper, from different implementations.

    Published checkpoints differ from Table 1 in the stem, the number of classes, widths rounded to
    a multiple of 8, and the direction of the shuffle.
    """
    return (
        known.groups == other.groups
        and known.repeats == other.repeats
        and known.gate == other.gate
        and known.variant == other.variant
        and (known.shuffle is Shuffle.NONE) == (other.shuffle is Shuffle.NONE)
        and all(
            abs(mine - theirs) <= max(4, mine * 0.03)
            for mine, theirs in zip(known.widths, other.widths, strict=True)
        )
    )


def _shown(name: str) -> str:
    text = "".join(letter if letter.isprintable() else "?" for letter in name)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _normal(name: str) -> str:
    """Lower case, dashes for underscores; ``shufflenet_v1_x0_5`` is ``shufflenet-v1-x0.5``."""
    text = name.strip().lower()
    text = re.sub(r"(?<=x\d)_(?=\d)", ".", text)
    return text.replace("_", "-")


def _parse(name: str) -> Architecture | None:
    if match := _SHUFFLENET.fullmatch(name):
        return _parse_shufflenet(match)
    if match := _MOBILENET.fullmatch(name):
        width = _scale(match)
        if match["version"] == "2":
            return Architecture(
                name=f"mobilenet-v2-{width}",
                title=f"MobileNet v2 {width}",
                source="MobileNet v2 (arXiv 1801.04381), torchvision's layers",
                description=MobileNetV2Config(width=width),
            )
        return Architecture(
            name=f"mobilenet-{width}",
            title=f"{width} MobileNet",
            source="MobileNet v1 (arXiv 1704.04861)",
            description=MobileNetConfig(width=width),
        )
    return None


def _parse_shufflenet(match: re.Match[str]) -> Architecture:
    groups, scale = int(match["groups"] or 3), _scale(match)
    words = [word for word in match["words"].split("-") if word]
    try:
        description = shufflenet(groups, scale)
    except ValueError as error:
        raise UsageError(f"{match.string} cannot be built: {first_problem(error)}") from error
    title = f"ShuffleNet {scale:g}x (g={groups})"
    if "se" in words:
        description = description.model_copy(update={"gate": GATE_REDUCTION})
        title = f"ShuffleNet {scale:g}x with SE (g={groups})"
    if "noshuffle" in words:
        description = description.model_copy(update={"shuffle": Shuffle.NONE})
        title += ", no shuffle"
    name = "-".join((f"shufflenet-g{groups}-{scale:g}x", *sorted(set(words), reverse=True)))
    return Architecture(
        name=name, title=title, source="ShuffleNet, Table 1", description=description
    )


def _scale(match: re.Match[str]) -> float:
    """The width in a name; ``05`` is asked back, since 5 and 0.5 are both likely.

    Raises:
        UsageError: it lacks its point, or is out of bounds.
    """
    text, (least, most) = match["scale"], _SCALES
    if least <= float(text) <= most and (text[0] != "0" or text.startswith("0.")):
        return float(text)
    question = ""
    if "." not in text:
        likely = f"{text[0]}.{text[1:]}" if len(text) > 1 else f"0.{text}"
        if least <= float(likely) <= most:
            meant = f"{match['stem']}{float(likely):g}"
            meant += "x" if meant.startswith("shufflenet") and "x" not in match["stem"][-1:] else ""
            question = f"; did you mean {meant}?"
    raise UsageError(
        f"{match.string} is no width between {least} and {most:g} times the network's{question}"
    )


def _suggestion(name: str) -> str:
    known = [alias for card in cards().values() for alias in (card.name, *card.aliases)]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {', '.join(near)}?"
    return "; `shufflenet-deploy models` lists them"


def _order(card: Architecture) -> tuple[int, int, float, str]:
    """The paper's ShuffleNets by groups and width, their relatives, v2, the rest, others' v1."""
    description = card.description
    if isinstance(description, ShuffleNetConfig):
        plain = description.shuffle is Shuffle.PAPER and not description.gate
        papers = description.variant == PAPER_VARIANT
        rank = 5 if not papers else 0 if plain else 1
        return (rank, description.groups, description.widths[0], card.name)
    if description.family == "shufflenet-v2":
        return (2, 0, description.widths[0], card.name)
    return (4 if description.family == "comparison" else 3, 0, 0, card.name)
