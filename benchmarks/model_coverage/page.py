"""The page of what is covered, in Markdown: counts, and the reason for everything left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from model_coverage.findings import BUILT, READ_BACK, STAGES, Finding
from model_coverage.networks import MOST_PARAMETERS, TIMM, Network

_INTRODUCTION = """\
What `--model` takes of other people's networks: the first network of each family of pytorchcv and
sixty of timm's ({timm}), of at most {millions} million parameters. This page is written by
`PYTHONPATH=benchmarks python -m model_coverage --markdown docs/coverage.md` from
`benchmarks/model_coverage/findings.jsonl`, which has a line for every finding.

Weights are drawn at random; means and variances of the normalisations are those of random
images{drawn}.
Images are {sizes} where a network allows it, and of its own size otherwise. Files were made and run
on {machine}. A figure "of" fewer networks is of those that have come to that stage so far.

- *read*: the module becomes a graph;
- *interpreter*: the graph computes what the module does, within 0.001 of the largest value, less
  what float32 itself loses in the module;
- *ONNX*, *TFLite*, *native fp32*, *native int8*: `export` makes the file, and the file, run by
  onnxruntime, LiteRT or itself, meets the tolerances of every [export](export.md). TFLite files are
  those of the direct writer; what litert-torch would convert is not counted.

An int8 file that misses its tolerances here says little of a trained network: drawn weights magnify
rounding from layer to layer. Wherever one is missed, `export` tried every calibration method,
equalisation and layers in float first.
"""

ByStage = Mapping[str, Finding]

_TITLES = {
    "graph": "read",
    "interpreter": "interpreter",
    "onnx": "ONNX",
    "tflite": "TFLite",
    "native": "native fp32",
    "native-int8": "native int8",
}


def _drawn(found: Mapping[Network, ByStage]) -> str:
    dates = sorted({one.date for stages in found.values() for one in stages.values()})
    if dates and dates[0] <= READ_BACK:
        return f" (of some networks up to {READ_BACK} they are drawn, too)"
    return ""


def summary(found: Mapping[Network, ByStage]) -> Iterator[str]:
    """Counts as lines of a table in Markdown."""
    yield f"| networks | | {' | '.join(_TITLES[stage] for stage in STAGES)} |"
    yield f"| :-- | --: |{' --: |' * len(STAGES)}"
    for source in ("pytorchcv", "timm"):
        for classifier, kind in ((True, "classifiers"), (False, "other networks")):
            of_kind = [
                stages
                for network, stages in found.items()
                if network.source == source and network.classifier == classifier
                if stages and BUILT not in stages
            ]
            if of_kind:
                cells = " | ".join(_share(of_kind, stage) for stage in STAGES)
                yield f"| {source}, {kind} | {len(of_kind)} | {cells} |"


def _share(of_kind: list[ByStage], stage: str) -> str:
    tried = [stages[stage] for stages in of_kind if stage in stages]
    if not tried:
        return ""
    passed = sum(one.passed for one in tried)
    of = "" if len(tried) == len(of_kind) else f" of {len(tried)}"
    return f"{passed}{of} ({100 * passed / len(tried):.1f} %)"


def left_out(found: Mapping[Network, ByStage]) -> Iterator[str]:
    """A line for every reason: the network and the stages that it kept the network from."""
    for network, stages in found.items():
        reasons: dict[str, list[str]] = defaultdict(list)
        for stage in STAGES:
            if stage in stages and not stages[stage].passed:
                reasons[_said(stages[stage].reason, network)].append(_TITLES[stage])
        for reason, titles in reasons.items():
            yield f"| {network.name} | {network.source} | {', '.join(titles)} | {reason} |"


def _said(reason: str, network: Network) -> str:
    """A reason as a cell, without the name that stands beside it."""
    for name in (f"{network.source}-{network.name}", network.name):
        reason = reason.removeprefix(f"cannot export {name}: ").removeprefix(f"{name}: ")
    return reason.replace("|", "\\|").replace("<", "&lt;")


def not_counted(found: Mapping[Network, ByStage]) -> Iterator[str]:
    """A line for every network that is none of those that are counted."""
    for network, stages in found.items():
        if BUILT in stages:
            yield f"| {network.name} | {network.source} | {_said(stages[BUILT].reason, network)} |"


def markdown(found: Mapping[Network, ByStage], machine: str) -> str:
    """The whole page."""
    sizes = [one.size for stages in found.values() for one in stages.values() if one.size]
    common = [size for size in dict.fromkeys(sizes) if sizes.count(size) >= len(sizes) / 5]
    lines = [
        "# Networks of others, counted",
        "",
        _INTRODUCTION.format(
            drawn=_drawn(found),
            timm=TIMM,
            millions=MOST_PARAMETERS // 1_000_000,
            sizes=" or ".join(common),
            machine=machine,
        ),
        *summary(found),
        "",
    ]
    if missing := [network.name for network, stages in found.items() if not stages]:
        lines += [f"Not examined yet: {len(missing)} of {len(found)} networks.", ""]
    rest = list(left_out(found))
    if rest:
        lines += ["## Left out", "", "| network | of | not as | because |"]
        lines += ["| :-- | :-- | :-- | :-- |", *rest, ""]
    others = list(not_counted(found))
    if others:
        lines += ["## Not counted", "", "| network | of | because |", "| :-- | :-- | :-- |"]
        lines += [*others, ""]
    return "\n".join(lines)
