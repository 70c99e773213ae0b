"""What was found of each network, kept a line each in a file as soon as it is known."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from model_coverage.networks import Network

#: In order. The interpreter computes the graph in fp32; the others are files, each run by its own
#: runtime on this machine.
STAGES = ("graph", "interpreter", "onnx", "tflite", "native", "native-int8")

#: The day up to which verdicts were read back from the page.
READ_BACK = "2026-11-30"

#: The file of the page in docs, which the next run goes on with.
KEPT = Path(__file__).with_name("findings.jsonl")

#: What a network is refused for before any stage: it is none of those that are counted.
BUILT = "built"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One stage of one network: whether it passed, why not, and how near it came.

    ``stage`` is ``BUILT`` for networks that are not counted. ``sqnr_db`` is a file's against the
    module; ``size`` is the height and width of the images. ``date`` is the day it was found; those
    of ``READ_BACK`` are verdicts that were read back from the page, without figures, as their file
    was lost.
    """

    source: str
    name: str
    classifier: bool
    stage: str
    passed: bool
    reason: str = ""
    size: str = ""
    secs: float = 0.0
    sqnr_db: float | None = None
    date: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is a finding of; a later one replaces an earlier one."""
        return self.source, self.name, self.stage


class Findings:
    """All findings so far, in a file that one line is appended to for each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[tuple[str, str, str], Finding] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                finding = Finding(**json.loads(line))
                self._known[finding.key] = finding

    def add(self, finding: Finding) -> None:
        """Keep a finding at once."""
        self._known[finding.key] = finding
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(finding)) + "\n")

    def stages_left(self, network: Network, *, stages: Iterable[str], retry: bool) -> list[str]:
        """Stages without a finding; with ``retry`` those that failed, too."""
        if (network.source, network.name, BUILT) in self._known:
            return []
        found = {one: self._known.get((network.source, network.name, one)) for one in stages}
        return [one for one, was in found.items() if was is None or (retry and not was.passed)]

    def of(self, networks: Iterable[Network]) -> dict[Network, dict[str, Finding]]:
        """What is known of each network, by stage."""
        return {
            network: {
                stage: self._known[key]
                for stage in (BUILT, *STAGES)
                if (key := (network.source, network.name, stage)) in self._known
            }
            for network in networks
        }
