"""Cells by key: what was measured on which host, so that a history reads no other runs.

A key stands for a host, a metric and a cell with all of its options. It is stored with every run:
how it is computed never changes, and a field with a default that a cell gains changes no key.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from shufflenet_deploy.bounded import Name, parse_json
from shufflenet_deploy.records import Cell, Metric, Record, Run

_KEY_DIGITS = 32


class MeasuredCell(Record):
    """A cell on one host, and what was counted there."""

    host: Name
    metric: Metric
    cell: Cell

    @classmethod
    def of(cls, run: Run) -> MeasuredCell:
        """The cell that a run measured."""
        return cls(host=run.target.host, metric=run.spec.metric, cell=run.cell)

    @property
    def key(self) -> str:
        """The same for all runs of this cell, in any journal."""
        fields = self.cell.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps([self.host, self.metric.value, fields], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]

    @property
    def row(self) -> dict[str, Any]:
        """Columns of the table of cells."""
        return {"id": self.key, "record": self.model_dump_json()}


def cell_of_record(record: object) -> MeasuredCell | None:
    """The cell of a stored run, from its JSON alone; None where it is damaged."""
    try:
        fields = parse_json(str(record))
        return MeasuredCell.model_validate(
            {
                "host": fields["target"]["host"],
                "metric": fields["spec"].get("metric", Metric.LATENCY.value),
                "cell": fields["cell"],
            }
        )
    except (ValueError, TypeError, KeyError, AttributeError, ValidationError):
        return None
