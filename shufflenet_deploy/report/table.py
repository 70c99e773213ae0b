"""The speedup table of some runs: the paper's Table 8 for the user's own board."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from shufflenet_deploy.records import Evaluation, Prediction, Record, Run
from shufflenet_deploy.report.paper import paper
from shufflenet_deploy.report.table_builder import blocks
from shufflenet_deploy.report.table_model import Block

#: Version of the JSON form of ``Table``; raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1


class Table(Record):
    """Blocks of one setting each; see ``report.table_model`` for their shape."""

    schema_version: int = SCHEMA_VERSION
    baseline: str
    paper_device: str
    paper_source: str
    blocks: tuple[Block, ...]

    @classmethod
    def from_runs(
        cls,
        runs: Iterable[Run],
        *,
        baseline: str = "alexnet",
        evaluations: Iterable[Evaluation] = (),
        predicted: Iterable[Prediction] = (),
    ) -> Self:
        """Arrange runs in blocks and compare each model with ``baseline`` within its block.

        ``baseline=""`` compares nothing. ``evaluations``, oldest first, give the error of the very
        files that were measured. ``predicted``, oldest first, stand beside what was measured of the
        same cells, never in its place.

        ``stats`` derives every estimate; ``report.run_groups`` states which runs are merged.
        """
        return cls(
            baseline=baseline,
            paper_device=paper().device,
            paper_source=paper().source,
            blocks=blocks(tuple(runs), baseline, tuple(evaluations), tuple(predicted)),
        )
