"""One session of ``bench``: connect to the target, export on demand, measure, collect results."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import typer

from shufflenet_deploy.cli.hosts import SshClientName, transport_to
from shufflenet_deploy.cli.profile import Profiles
from shufflenet_deploy.cli.supplementary import newest
from shufflenet_deploy.errors import DeployError

if TYPE_CHECKING:
    from shufflenet_deploy.bench import Suite
    from shufflenet_deploy.cli.progress import BenchProgress
    from shufflenet_deploy.fleet import Host
    from shufflenet_deploy.journal import Journal
    from shufflenet_deploy.records import AnyObservation, Evaluation, Prediction, Run
    from shufflenet_deploy.target import TransferStats
    from shufflenet_deploy.transport import Lab

_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All runs of a suite, those of earlier sessions too, and this session's transfers."""

    suite: Suite
    suite_id: str
    host: str
    journal: str
    runs: list[Run]
    profiles: Profiles
    observations: list[AnyObservation]
    evaluations: list[Evaluation]
    predictions: list[Prediction]
    traffic: TransferStats

    @classmethod
    def read(
        cls, journal: Journal, suite: Suite, suite_id: str, host: str, traffic: TransferStats
    ) -> Self:
        """All that the journal has of a suite."""
        runs = journal.runs(suite_id, every=True)
        return cls(
            suite=suite,
            suite_id=suite_id,
            host=host,
            journal=journal.location,
            runs=runs,
            profiles=Profiles(profiles=journal.profiles(suite_id), measured=runs),
            observations=newest(journal.observations(suite_id)),
            evaluations=journal.evaluations(),
            predictions=journal.predictions(),
            traffic=traffic,
        )

    @property
    def failures(self) -> list[Run]:
        """The last attempts of processes that failed."""
        from shufflenet_deploy.records import last_attempts  # noqa: PLC0415

        return [run for run in last_attempts(self.runs) if run.kind == "failure"]

    @property
    def measured_processes(self) -> int:
        """The number of processes that measured."""
        from shufflenet_deploy.stats import attempts  # noqa: PLC0415

        return sum(run.kind == "measurement" for run in attempts.counted(self.runs))

    @property
    def has_failed(self) -> bool:
        """True if anything failed that was to be had; see ``bench.lacking``."""
        from shufflenet_deploy.bench.lacking import failed_runs, is_excused  # noqa: PLC0415
        from shufflenet_deploy.records import Failure  # noqa: PLC0415

        for host in {run.target.host for run in self.runs}:
            if failed_runs(self.suite, [run for run in self.runs if run.target.host == host]):
                return True
        others = (
            *(run.outcome for run in self.profiles.profiles),
            *(one.failure for one in self.observations),
        )
        return any(isinstance(one, Failure) and not is_excused(self.suite, one) for one in others)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Who connects, how boards of a lab are leased, and where files and runs go."""

    ssh_client: SshClientName
    lab: Lab
    artifacts: Path
    journal: Journal


class BenchRun:
    """One session of measuring a suite on one target; ``suite_id`` None starts a new suite."""

    def __init__(self, *, suite: Suite, suite_id: str | None, host: Host, places: Places) -> None:
        from shufflenet_deploy.bench import new_suite_id  # noqa: PLC0415

        self.suite = suite
        self.suite_id = suite_id or new_suite_id()
        self.host = host.name
        self._host = host
        self._ssh_client, self._lab = places.ssh_client, places.lab
        self._artifacts = places.artifacts
        self._journal = places.journal

    def measure(self, progress: BenchProgress) -> BenchResult:
        """Measure all cells; after an interruption or a lost target print how to resume.

        Raises:
            DeployError: the session cannot go on; its runs so far are in the journal.
            typer.Exit: Ctrl-C.
        """
        try:
            traffic = self._measure(progress)
        except KeyboardInterrupt:
            self._print_resume_hint("interrupted")
            raise typer.Exit(_INTERRUPTED) from None
        except DeployError:
            self._print_resume_hint("stopped")
            raise
        return BenchResult.read(self._journal, self.suite, self.suite_id, self.host, traffic)

    def _measure(self, progress: BenchProgress) -> TransferStats:
        import shufflenet_deploy.bench as benches  # noqa: PLC0415
        from shufflenet_deploy.bench.cell_export import cell_exporter  # noqa: PLC0415
        from shufflenet_deploy.records import Metric  # noqa: PLC0415
        from shufflenet_deploy.target import Target  # noqa: PLC0415

        link = transport_to(
            self._host.target,
            name=self.host,
            on_stage=progress.stage,
            start_board=True,
            deterministic=self.suite.spec.metric is Metric.INSTRUCTIONS,
            ssh_client=self._ssh_client,
            lab=self._lab,
        )
        with link, Target(link, root=self._host.folder or "") as target:
            for _ in benches.run(
                self.suite,
                target,
                self._journal,
                cell_exporter(self.suite, target, self._artifacts, _print_note),
                progress.show,
                suite_id=self.suite_id,
            ):
                pass
            return target.traffic

    def _print_resume_hint(self, event: str) -> None:
        kept = len(self._journal.runs(self.suite_id))
        if kept:
            typer.echo(
                f"{event}: {kept} runs are kept; go on with: "
                f"shufflenet-deploy bench --resume {self.suite_id}",
                err=True,
            )
        elif event == "interrupted":
            typer.echo(
                f"{event} before the first process, so there is no suite to --resume; files that "
                f"were exported are kept in {self._artifacts}; go on with: "
                f"{shlex.join(['shufflenet-deploy', *sys.argv[1:]])}",
                err=True,
            )


def _print_note(stage: str) -> None:
    """Print the notes of an export: a file that is overwritten, weights that are left out."""
    from shufflenet_deploy.export import NOTE  # noqa: PLC0415

    if stage.startswith(NOTE):
        typer.echo(stage, err=True)
