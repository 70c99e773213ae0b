"""Named lowerings: equal results, written in different operations.

    auto                              the best known, see ``tuned``
    paper                             the network as the paper draws it
    blocks                            one of those below for every shuffle
    blocks:stage2=dense+stage4=transpose    ... with other forms in some stages or units

Light on purpose: an export that is already there must not load numpy. What the names stand for is
in ``plans``.
"""

from __future__ import annotations

from typing import NamedTuple

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.export import formats
from shufflenet_deploy.records import Precision

AUTO, PAPER = "auto", "paper"

#: How a channel shuffle is written where a lowering leaves the choice; see ``plans.ShuffleForm``.
FORMS = ("transpose", "blocks", "dense", "fitting")

#: Lowerings of NHWC programs, whose shuffles have a form.
_FORMED = frozenset((*FORMS, "channels-last", "channels-last-signed"))

#: Fallbacks of ``auto`` for models that its lowering cannot express.
FALLBACKS = {"channels-last": "gather", "channels-last-signed": "gather"}


class Choice(NamedTuple):
    """A lowering by name, and the stages or units whose shuffles are written in another form."""

    name: str
    forms: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        forms = "+".join(f"{place}={form}" for place, form in self.forms)
        return f"{self.name}:{forms}" if forms else self.name


def parse(text: str, file_format: str, precision: Precision) -> Choice:
    """Parse a user's lowering for one kind of file; ``auto`` is not resolved here.

    Raises:
        UsageError: there is no such lowering of such files, or no such form.
    """
    name, colon, rest = text.strip().partition(":")
    known = formats.get(file_format).lowerings.get(precision, ())
    if not known:
        raise UsageError(f"--lowering {text}: {file_format} files leave no choice")
    if name not in known:
        raise UsageError(
            f"'{name}' is not a lowering of {precision.value} {file_format}: "
            f"choose one of {', '.join((AUTO, *known))}"
        )
    forms = tuple(_form(text, part) for part in rest.split("+")) if colon else ()
    if forms and name not in _FORMED:
        raise UsageError(f"--lowering {text}: {name} leaves no choice per stage")
    return Choice(name, tuple(sorted(dict(forms).items())))


def is_formed(choice: Choice) -> bool:
    """True where its shuffles may be written in other forms."""
    return choice.name in _FORMED


def _form(text: str, part: str) -> tuple[str, str]:
    place, equals, form = part.strip().partition("=")
    if not place or not equals or form not in FORMS:
        raise UsageError(
            f"--lowering {text}: write STAGE=FORM, such as stage2=dense; "
            f"forms are {', '.join(FORMS)}"
        )
    return place, form
