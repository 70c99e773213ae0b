"""Measuring a suite on a target: which cells, in which order, what to try again, what to keep.

suite = Suite.read(path)                     # or Suite(...), checked
for run in bench.run(suite, target, journal, artifact_of, on_event=show):
    ...                                      # already in the journal
"""

from __future__ import annotations

from shufflenet_deploy.bench.events import (
    Away,
    Cooling,
    Event,
    Finished,
    Hot,
    Planned,
    Retrying,
    Stage,
    Started,
    Sustaining,
    Tainted,
)
from shufflenet_deploy.bench.session import SuiteLabel, run
from shufflenet_deploy.bench.suite import FieldError, Suite, parse_share
from shufflenet_deploy.bench.suite_names import find_suite, new_suite_id
from shufflenet_deploy.bench.target_session import Patience
from shufflenet_deploy.callable_package import make_callable

__all__ = [
    "Away",
    "Cooling",
    "Event",
    "FieldError",
    "Finished",
    "Hot",
    "Patience",
    "Planned",
    "Retrying",
    "Stage",
    "Started",
    "Suite",
    "SuiteLabel",
    "Sustaining",
    "Tainted",
    "find_suite",
    "new_suite_id",
    "parse_share",
    "run",
]

#: ``sd.bench(...)``: see ``api.bench``.
make_callable(__name__)
