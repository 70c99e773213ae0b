"""``bench`` on several targets: one session each, one live view, one table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.cli.bench_run import BenchResult, Places
    from shufflenet_deploy.fleet import Host, Outcome, SessionJob

_FAILED, _MISUSED, _INTERRUPTED = 1, 2, 130


class FleetRun:
    """One session of measuring a suite on several targets; ``suite_id`` None starts a new suite.

    ``suite`` is what they have in common, ``targets`` are the hosts with the suite of each.
    """

    def __init__(
        self,
        *,
        suite: Suite,
        suite_id: str | None,
        targets: Sequence[tuple[Host, Suite]],
        places: Places,
    ) -> None:
        from shufflenet_deploy.bench import new_suite_id  # noqa: PLC0415

        self.suite = suite
        self.suite_id = suite_id or new_suite_id()
        self.host = ",".join(host.name for host, _ in targets)
        self._targets = targets
        self._places = places

    def measure(self, *, as_json: bool, out: Path | None) -> None:
        """Measure on all targets; print the table of all, and what is missing with its reason.

        Raises:
            typer.Exit: a cell is missing (1), no target could be used as it was named (2), or
                Ctrl-C (130).
        """
        from shufflenet_deploy.cli.fleet_progress import FleetProgress  # noqa: PLC0415
        from shufflenet_deploy.fleet import Controller  # noqa: PLC0415

        self._places.artifacts.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="shufflenet-deploy-fleet-") as locks:
            jobs = [self._job(host, suite, locks) for host, suite in self._targets]
            with FleetProgress([job.label for job in jobs], quiet=as_json) as progress:
                outcomes = Controller(jobs).run(progress.show)
        result = self._show(outcomes, as_json=as_json, out=out)
        self._print_missing(outcomes)
        status = _status(outcomes, result)
        if status:
            raise typer.Exit(status)

    def _job(self, host: Host, suite: Suite, locks: str) -> SessionJob:
        from shufflenet_deploy.fleet import SessionJob  # noqa: PLC0415

        return SessionJob(
            host=host.target,
            label=host.name,
            suite=suite.model_dump(mode="json"),
            suite_id=self.suite_id,
            noted_host=self.host,
            definition=self.suite.model_dump_json(),
            ssh_client=self._places.ssh_client,
            journal=self._places.journal.address,
            artifacts=str(self._places.artifacts.absolute()),
            locks=locks,
            folder=host.folder or "",
            coordinator=self._places.lab.coordinator,
            power_cycle=self._places.lab.power_cycle,
        )

    def _show(self, outcomes: Sequence[Outcome], *, as_json: bool, out: Path | None) -> BenchResult:
        from shufflenet_deploy.cli.bench_run import BenchResult  # noqa: PLC0415
        from shufflenet_deploy.cli.bench_summary import BenchSummary  # noqa: PLC0415
        from shufflenet_deploy.target import TransferStats  # noqa: PLC0415

        ends = [one.ended for one in outcomes]
        traffic = TransferStats(
            files_pushed=sum(end.files_pushed for end in ends),
            bytes_pushed=sum(end.bytes_pushed for end in ends),
            files_present=sum(end.files_present for end in ends),
        )
        result = BenchResult.read(
            self._places.journal, self.suite, self.suite_id, self.host, traffic
        )
        if result.runs or as_json:
            BenchSummary(result).show(as_json=as_json, out=out)
        return result

    def _print_missing(self, outcomes: Sequence[Outcome]) -> None:
        for one in outcomes:
            for failure in one.ended.failures:
                typer.echo(f"missing: {one.label}: {failure}", err=True)
            if one.ended.error is not None:
                typer.echo(f"missing: {one.label}: {one.ended.error}", err=True)
        kept = len(self._places.journal.runs(self.suite_id))
        if any(one.ended.error for one in outcomes) and kept:
            typer.echo(
                f"{kept} runs are kept; go on with: "
                f"shufflenet-deploy bench --resume {self.suite_id}",
                err=True,
            )


def _status(outcomes: Sequence[Outcome], result: BenchResult) -> int:
    ends = [one.ended for one in outcomes]
    if any(end.interrupted for end in ends):
        return _INTERRUPTED
    if all(end.usage for end in ends):
        return _MISUSED
    stopped = any(end.error is not None for end in ends)
    return _FAILED if stopped or result.has_failed else 0
