"""Output of ``eval``: counts as percentages with their intervals, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from shufflenet_deploy.cli.stdout import console, paragraph
from shufflenet_deploy.errors import UsageError

if TYPE_CHECKING:
    from shufflenet_deploy.records import Evaluation, TopKCounts

_COLUMNS = (
    "In brackets: 95 % confidence (Wilson). Agrees: % of images with PyTorch's class. Lost, won: "
    "images that only PyTorch, or only the file, has right; p: such a difference by chance "
    "(McNemar)."
)


def described(evaluation: Evaluation) -> dict[str, Any]:
    """The counts and the statistics derived from them, for ``--json``."""
    from shufflenet_deploy.stats import proportions  # noqa: PLC0415

    pairing = evaluation.pairing
    return evaluation.model_dump(mode="json") | {
        "percent": {
            name: {
                "top1": _share(tally.top1, tally),
                "top5": _share(tally.top5, tally),
            }
            for name, tally in (("file", evaluation.file), ("module", evaluation.module))
        },
        "agreement": _share(pairing.same_class, evaluation.file),
        "mcnemar_p": proportions.mcnemar(pairing.only_module_right, pairing.only_file_right),
    }


def _share(count: int, tally: TopKCounts) -> dict[str, float]:
    from shufflenet_deploy.stats import proportions  # noqa: PLC0415

    low, high = proportions.wilson(count, tally.pictures)
    return {"value": 100 * count / tally.pictures, "low": 100 * low, "high": 100 * high}


def print_table(evaluations: Sequence[Evaluation]) -> None:
    """Print the files of one model and resolution below their module, with a legend."""
    from rich.table import Table  # noqa: PLC0415

    from shufflenet_deploy.stats import proportions  # noqa: PLC0415

    first = evaluations[0]
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("", no_wrap=True)
    for title in ("top-1 %", "error %", "top-5 %", "agrees", "lost", "won", "p"):
        # In a narrow terminal an interval goes below its figure.
        table.add_column(title, justify="right", no_wrap=title not in ("top-1 %", "top-5 %"))
    table.add_row("PyTorch", *_shares(first.module), "", "", "", "")
    for each in evaluations:
        pairing = each.pairing
        odds = proportions.mcnemar(pairing.only_module_right, pairing.only_file_right)
        table.add_row(
            _kind(each),
            *_shares(each.file),
            f"{100 * pairing.same_class / each.file.pictures:.2f}",
            str(pairing.only_module_right),
            str(pairing.only_file_right),
            f"{odds:.3f}" if odds >= 0.001 else "< 0.001",
        )
    paragraph(_heading(first))
    console().print(table)
    for line in _legend(evaluations):
        paragraph(line)
    typer.echo("")


def _kind(evaluation: Evaluation) -> str:
    artifact = evaluation.artifact
    return f"{artifact.format} {artifact.precision.value}"


def _shares(tally: TopKCounts) -> tuple[str, str, str]:
    top1, top5 = _share(tally.top1, tally), _share(tally.top5, tally)
    return (
        f"{top1['value']:.2f} ({top1['low']:.2f}–{top1['high']:.2f})",
        f"{100 - top1['value']:.2f}",
        f"{top5['value']:.2f} ({top5['low']:.2f}–{top5['high']:.2f})",
    )


def _heading(evaluation: Evaluation) -> str:
    artifact, data = evaluation.artifact, evaluation.data
    trained = "" if artifact.weights.trained else ", UNTRAINED weights: chance"
    images = f"{evaluation.file.pictures} images"
    if data.pictures < data.found:
        images += f" of {data.found}, chosen by the hash of their path,"
    if evaluation.unreadable:
        images += f", {len(evaluation.unreadable)} more that cannot be decoded"
    return (
        f"{artifact.model} at {artifact.resolution}{trained}: {images} of {data.classes} classes "
        f"in {data.source} (fingerprint {data.fingerprint[:12]})"
    )


def _legend(evaluations: Sequence[Evaluation]) -> list[str]:
    from shufflenet_deploy import zoo  # noqa: PLC0415
    from shufflenet_deploy.report import paper  # noqa: PLC0415

    lines = [_COLUMNS]
    tied = [f"{_kind(each)} {each.file.tied}" for each in evaluations if each.file.tied]
    if tied:
        lines.append(f"Images with tied logits (the lowest class wins): {', '.join(tied)}.")
    lines += [
        f"{_kind(each)} ran on {each.tools['answered on']}."
        for each in evaluations
        if "answered on" in each.tools
    ]
    artifact = evaluations[0].artifact
    try:
        figures = zoo.architecture(zoo.plain_name(artifact.model)).paper
    except UsageError:
        figures = None
    if (
        figures is not None
        and figures.top1_error_percent is not None
        and artifact.resolution == paper.RESOLUTION
        and evaluations[0].data.classes == paper.CLASSES
        and paper.is_papers(
            figures.mega_multiply_adds,
            classes=int(artifact.outputs[0].shape[-1]),
            multiply_adds_at_224=artifact.multiply_adds,
        )
    ):
        lines.append(f"The paper's top-1 error on ImageNet: {figures.top1_error_percent:.1f} %.")
    return lines
