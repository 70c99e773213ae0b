"""The ``--journal`` option of every command that reads or keeps runs."""

from __future__ import annotations

#: Behind "Where runs are kept"; ``store.default_location`` is what it describes.
DEFAULT = "[default: $SHUFFLENET_DEPLOY_JOURNAL, else the user's own file]"

JOURNAL_HELP = f"Where runs are kept: a file or URL. {DEFAULT}"
