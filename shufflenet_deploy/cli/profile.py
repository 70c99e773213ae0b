"""``profile``: the time of an inference by layer, and the cost gaps against the multiply-adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shufflenet_deploy.cli import common_options, completion
from shufflenet_deploy.cli.bench_suite import definition_of
from shufflenet_deploy.cli.journal import open_journal
from shufflenet_deploy.cli.multi_value import listed
from shufflenet_deploy.cli.stdout import print_json, show
from shufflenet_deploy.cli.table import MODEL, PRECISION, RUNTIME
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shufflenet_deploy.analysis.profile import Breakdown
    from shufflenet_deploy.records import Run

_FAILED = 1


def register(app: typer.Typer) -> None:
    """Add the ``profile`` command."""
    app.command()(profile)


def profile(  # noqa: PLR0917 - options, each passed by name
    suite: Annotated[
        str,
        typer.Argument(
            metavar="SUITE",
            help="A suite's id, its beginning, or 'last'.",
            autocompletion=completion.suites,
        ),
    ] = "last",
    model: Annotated[str | None, MODEL] = None,
    runtime: Annotated[str | None, RUNTIME] = None,
    precision: Annotated[str | None, PRECISION] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The model to compare with. [default: the suite's baseline]"),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also list every layer.")] = False,
    operators: Annotated[
        bool, typer.Option("--operators", help="Also list the runtime's kinds of operators.")
    ] = False,
    journal: common_options.Journal = None,
    as_json: common_options.AsJson = False,
) -> None:
    """Show the time by layer of a suite that was measured with bench --profile.

    Each cell by kind of layer; then each model against the baseline: the time that the
    multiply-adds promise of every kind, the time measured, and the gap between them.
    """
    with open_journal(journal) as book:
        row = book.suite(suite)
        found = Profiles(profiles=book.profiles(row.id), measured=book.runs(row.id))
    if not found.profiles:
        raise UsageError(
            f"{row.id} was measured without profiles: shufflenet-deploy bench --resume {row.id} "
            "--profile"
        )
    definition = definition_of(row.definition, row.id) if row.definition else {}
    rival = against or definition.get("baseline")
    models = {run.cell.model for run in found.profiles}
    if against is not None and against not in models:
        raise UsageError(
            f"'{against}' was not profiled in this suite; profiled: {', '.join(sorted(models))}"
        )
    models_wanted = [*listed(model), rival or ""] if model else []
    found = found.only(models_wanted, listed(runtime), listed(precision))
    if as_json:
        print_json({"suite": row.id, **found.described(rival)})
    else:
        found.show(rival, layers=layers, operators=operators)
    if found.failures:
        raise typer.Exit(_FAILED)


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """The profiling runs of a suite, and its measurements."""

    profiles: Sequence[Run]
    measured: Sequence[Run]

    def only(
        self, models: Sequence[str], runtimes: Sequence[str], precisions: Sequence[str]
    ) -> Profiles:
        """Those of the given models, runtimes and precisions; an empty list is all.

        Raises:
            UsageError: none fits.
        """
        kept = [
            run
            for run in self.profiles
            if (not models or run.cell.model in models)
            and (not runtimes or run.cell.runtime in runtimes)
            and (not precisions or run.cell.precision in precisions)
        ]
        if not kept:
            raise UsageError("nothing that was profiled fits these options; leave one of them out")
        return Profiles(profiles=kept, measured=self.measured)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Cells that could not be profiled, and why."""
        from shufflenet_deploy.records import Failure  # noqa: PLC0415

        return [
            (f"{run.cell.model} {run.cell.precision.value} {run.cell.runtime}", run.outcome.message)
            for run in self.profiles
            if isinstance(run.outcome, Failure)
        ]

    def show(self, against: str | None, *, layers: bool = False, operators: bool = False) -> None:
        """Print the tables, and the failures on standard error."""
        from shufflenet_deploy.analysis import profile  # noqa: PLC0415

        parts = self._parts()
        if parts:
            from shufflenet_deploy.report.profiles import as_text  # noqa: PLC0415

            compared = profile.decompositions(parts, against or "")
            show(
                lambda color: as_text(
                    parts, compared, layers=layers, operators=operators, color=color
                )
            )
        self._print_failures()

    def show_summary(self, suite: str, against: str | None) -> None:
        """Print two lines per cell, and how to see the rest."""
        from shufflenet_deploy.analysis import profile  # noqa: PLC0415

        parts = self._parts()
        if parts:
            from shufflenet_deploy.report.profiles import summary  # noqa: PLC0415

            compared = profile.decompositions(parts, against or "")
            show(lambda color: f"\n{summary(parts, compared, color=color)}")
            typer.echo(f"every kind of layer: shufflenet-deploy profile {suite}", err=True)
        self._print_failures()

    def _parts(self) -> list[Breakdown]:
        from shufflenet_deploy.analysis import profile  # noqa: PLC0415

        parts = profile.of_suite(self.profiles, self.measured)
        return sorted(parts, key=lambda one: one.cell.display_order)

    def _print_failures(self) -> None:
        for cell, reason in self.failures:
            typer.echo(f"cannot be profiled: {cell}: {reason}", err=True)

    def described(self, against: str | None) -> dict[str, Any]:
        """The same as JSON values."""
        from shufflenet_deploy.analysis import profile  # noqa: PLC0415

        parts = self._parts()
        compared = profile.decompositions(parts, against or "")
        return {
            "breakdowns": [
                {**one.model_dump(mode="json", exclude={"measured"}), "overhead": one.overhead}
                for one in parts
            ],
            "decompositions": [one.model_dump(mode="json") for one in compared],
            "failures": [{"cell": cell, "message": reason} for cell, reason in self.failures],
        }
