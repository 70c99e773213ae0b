"""``predict calibrate``: a board's card from the board itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from shufflenet_deploy.cli import common_options, preflight
from shufflenet_deploy.cli.hosts import HOST_HELP, SshClient, transport_to
from shufflenet_deploy.cli.stdout import Column, paragraph, print_grid, print_json
from shufflenet_deploy.errors import UsageError

_UNFIT_FOR_FILES = re.compile(r"[^A-Za-z0-9.]+")


def register(group: typer.Typer) -> None:
    """Add the ``calibrate`` subcommand."""
    group.command()(calibrate)


def calibrate(  # noqa: PLR0917 - options, each passed by name
    host: Annotated[str, typer.Option("--host", "-H", help=HOST_HELP)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The card to write. [default: HOST.toml]")
    ] = None,
    core: Annotated[
        str | None,
        typer.Option("--core", help="What describes its core: cortex-a53. [default: as it says]"),
    ] = None,
    cpus: Annotated[
        str | None,
        typer.Option("--cpus", help="The cores of a cluster: 0,1,2,3. [default: the fastest]"),
    ] = None,
    secs: Annotated[float, typer.Option("--secs", min=0.01, max=10, help="Of each figure.")] = 0.2,
    force: Annotated[
        bool, typer.Option("--force", help="Also of an emulated board, whose times are QEMU's.")
    ] = False,
    ssh_client: SshClient = "auto",
    as_json: common_options.AsJson = False,
) -> None:
    """Measure a board's clock, caches and memory, and write the card that predictions take.

    A small program runs there for about a minute: loads that wait for each other over growing sets,
    and streams of one core and of all. predict --board FILE.toml takes what it writes.
    """
    from datetime import date  # noqa: PLC0415

    from shufflenet_deploy.atomic_files import write_whole  # noqa: PLC0415
    from shufflenet_deploy.predict import calibration  # noqa: PLC0415
    from shufflenet_deploy.target import Target  # noqa: PLC0415

    path = out or Path(f"{_UNFIT_FOR_FILES.sub('-', host).strip('-')}.toml")
    if path.suffix != ".toml":
        raise UsageError(f"--out {path}: a card's name ends in .toml")
    preflight.writable_file("--out", path, "mine.toml")
    with transport_to(host, ssh_client=ssh_client) as link, Target(link) as target:
        found = calibration.calibrate(
            target,
            name=path.stem,
            core=core,
            cpus=_indices(cpus),
            secs=secs,
            force=force,
            today=date.today(),
            on_stage=lambda stage: typer.echo(f"{stage}...", err=True),
        )
    write_whole(path, found.toml)
    typer.echo(f"wrote {path}", err=True)
    if as_json:
        measured = found.probe.model_dump(mode="json", exclude={"probe"})
        print_json({"file": str(path), "cpus": list(found.cpus), **measured})
        return
    columns = [Column(title="figure"), Column(title="value", right=True), Column(title="source")]
    figures = found.card.figures
    print_grid(
        columns,
        [
            [name, f"{getattr(figures, name).value:g}", getattr(figures, name).source]
            for name in type(figures).model_fields
            if getattr(figures, name) is not None
        ],
    )
    paragraph(f"predict on it: shufflenet-deploy predict --board {path}")


def _indices(text: str | None) -> tuple[int, ...]:
    words = text.split(",") if text else []
    if not all(word.strip().isdecimal() for word in words):
        raise UsageError(f"--cpus {text}: write numbers of cores such as 0,1,2,3")
    return tuple(int(word) for word in words)
