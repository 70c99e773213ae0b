"""Persistent cache of predictions, written batch by batch.

One file of JSON lines per network: a line that describes it, then one line per batch. The key of a
prediction is the sha256 of the image, so it serves any folder and any subset with that image.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shufflenet_deploy.atomic_files import read_lines
from shufflenet_deploy.bounded import parse_json
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Record

_LISTED = 5


class Prediction(Record):
    """The best classes of one image, best first; among equal logits the lower index.

    ``classes`` is empty where the logits were not finite. ``tied`` is True if several classes share
    the highest logit.
    """

    classes: tuple[int, ...]
    tied: bool = False

    @classmethod
    def of(cls, logits: NDArray[np.float32]) -> Prediction:
        """Rank ``logits``, one per class."""
        if not np.isfinite(logits).all():
            return cls(classes=())
        best = np.argsort(-logits, kind="stable")[:_LISTED]
        tied = int((logits == logits[best[0]]).sum()) > 1
        return cls(classes=tuple(int(index) for index in best), tied=tied)


def default_folder() -> Path:
    """The folder of the prediction cache on this machine."""
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("shufflenet-deploy") / "answers"


class PredictionCache:
    """Predictions of one network. ``facts`` are the key: everything that decides them."""

    def __init__(self, folder: Path, facts: Mapping[str, str], *, fresh: bool = False) -> None:
        """Open the file of this network; ``fresh`` forgets what it holds."""
        described = json.dumps(facts, sort_keys=True)
        self.path = folder / f"{hashlib.sha256(described.encode()).hexdigest()}.jsonl"
        self._known: dict[str, Prediction] = {}
        if fresh:
            self.path.unlink(missing_ok=True)
        self._read()
        if not self._known:
            self._append(json.dumps({"network": facts}))

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._known

    def __getitem__(self, sha256: str) -> Prediction:
        return self._known[sha256]

    def add(self, predictions: Mapping[str, Prediction]) -> None:
        """Keep the predictions of one batch, by the sha256 of the image."""
        self._known.update(predictions)
        row = {
            sha: [int(prediction.tied), *prediction.classes]
            for sha, prediction in predictions.items()
        }
        self._append(json.dumps(row, separators=(",", ":")))

    def _read(self) -> None:
        try:
            lines = list(read_lines(self.path))
        except UsageError:
            return
        for line in lines:
            try:
                row = parse_json(line)
                if isinstance(row, dict) and "network" not in row:
                    self._known.update(
                        (sha, Prediction(tied=bool(tied), classes=tuple(classes)))
                        for sha, (tied, *classes) in row.items()
                    )
            except (ValueError, TypeError):  # a line cut off in the middle by a crash
                continue

    def _append(self, line: str) -> None:
        # A line of its own even behind one that was cut off; an empty line is harmless.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"\n{line}\n")
        except OSError as error:
            raise UsageError(
                f"cannot keep predictions in {self.path.parent}: {error.strerror}"
            ) from error
