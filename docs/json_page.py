"""Writes docs/json.md from the code: ``python docs/json_page.py``; a test keeps the two together.

Objects that are records of the package are told by their classes: fields, types, docstring. What
commands put together by themselves stands in ``COMMANDS`` below.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shufflenet_deploy import records
from shufflenet_deploy.analysis import profile as breakdown
from shufflenet_deploy.board.manager import Board
from shufflenet_deploy.cost import counting
from shufflenet_deploy.export import classification, manifest, tuning_table
from shufflenet_deploy.export import layer_comparison as comparison
from shufflenet_deploy.export.inspection.contents import Inspection
from shufflenet_deploy.network import metadata
from shufflenet_deploy.predict import Prediction
from shufflenet_deploy.report import comparison as compared
from shufflenet_deploy.report.boards import BoardTables
from shufflenet_deploy.report.table import Table

PAGE = Path(__file__).with_name("json.md")
FIELDS: dict[str, Any] = tomllib.loads(PAGE.with_name("json_fields.toml").read_text())

#: Classes whose objects are printed, by the title of their section; others are found in them.
ROOTS: dict[str, type[BaseModel]] = {
    "Table": Table,
    "BoardTables": BoardTables,
    "Run": records.Run,
    "Sustained": records.Sustained,
    "CrossCheck": records.CrossCheck,
    "Paced": records.Paced,
    "Pipeline": records.Pipeline,
    "Evaluation": records.Evaluation,
    "StoredPrediction": records.StoredPrediction,
    "SuiteNote": records.SuiteNote,
    "Breakdown": breakdown.Breakdown,
    "Decomposition": breakdown.Decomposition,
    "Inspection": Inspection,
    "LayerComparison": comparison.LayerComparison,
    "Manifest": manifest.Manifest,
    "Metadata": metadata.Metadata,
    "Classification": classification.Classification,
    "SuiteComparison": compared.SuiteComparison,
    "Lowering": tuning_table.TunedLowering,
    "Counts": counting.Result,
    "Prediction": Prediction,
    "Board": Board,
}

_SUITE = {
    "suite": ("text", "its id"),
    "name": ("text", "of its definition"),
    "host": ("text", "as typed after `--host`"),
    "created_at": ("time", "when it began"),
    "metrics": ("list of text", "what was counted: latency, instructions"),
    "measurements": ("integer", "processes that measured"),
    "failures": ("integer", "processes that did not"),
}
_OBSERVATION = {
    "observations": (
        (
            "list of [Sustained](#sustained), [CrossCheck](#crosscheck), [Paced](#paced) or"
            " [Pipeline](#pipeline)"
        ),
        (
            "without samples; with `our_mean_ns` of a cross-check, or what follows from a sustained"
            " measurement:"
        ),
    ),
    "observations[].host": ("text", "where it was measured"),
    "observations[].our_mean_ns": ("number or null", "the mean of our own samples"),
    "observations[].stage_ns": ("map of number", "median of each stage of a pipeline"),
    "observations[].total_ns": ("number", "the median of all stages together"),
    "observations[].joules": ("number or null", "energy per arrival, waiting included"),
    "observations[].p50_ns": ("number", "median latency from arrival of a process at a rate"),
    "observations[].p90_ns": ("number", "its 90th percentile"),
    "observations[].p99_ns": ("number", "its 99th percentile"),
    "observations[].inference_ns": ("number", "the median of the runtime's call alone"),
    "observations[].samples": ("integer", "arrivals"),
    "observations[].missed": ("integer", "results later than the next arrival"),
    "observations[].keeps_up": ("boolean", "the call takes less than a period"),
    "observations[].window_secs": ("number", "length of the first and the last window"),
    "observations[].models": ("list", "`model`, `first_ns`, `last_ns`, `slowdown`"),
    "observations[].speedups": ("list", "`model`, `first`, `last`, `change`"),
    "observations[].ranking_first": (
        "list of text",
        "the fastest model first, in the first window",
    ),
    "observations[].ranking_last": ("list of text", "the same of the last window"),
    "observations[].overtaking": ("list", "`was_faster`, `is_faster`"),
    "observations[].throttling": ("object or null", "`at_secs`, `reason`"),
}
_PROFILE = {
    "breakdowns": ("list of [Breakdown](#breakdown)", "with `overhead`: profiled over plain"),
    "decompositions": ("list of [Decomposition](#decomposition)", "models against the baseline"),
    "failures": ("list", "`cell`, `message`: what could not be profiled"),
}
_BOARD = {
    "": ("[Board](#board)", "with these as well:"),
    "running": ("boolean", "its process lives"),
    "ssh": ("list of text", "the command that reaches it"),
}

#: Every command: the fields of its document, as (type, meaning) by path; "" is the whole document.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "export": {
        "files": ("list", "one for each file that was asked for"),
        "files[].path": ("text", "where it is, or was to be"),
        "files[].status": ("text", "exported, up to date, failed validation, failed"),
        "files[].error": ("text or null", "why there is no file"),
        "files[].artifact": ("[Artifact](#artifact) or null", "the file"),
    },
    "eval": {
        "evaluations": (
            "list of [Evaluation](#evaluation)",
            "with `percent` (top1 and top5 of `file` and `module`), `agreement` and `mcnemar_p`",
        ),
        "not_exported": ("list", "as `files` of export: those without a file"),
        "problems": ("list of text", "why the exit code is not 0"),
    },
    "bench": {
        "suite": ("text", "its id"),
        "host": ("text", "as typed after `--host`"),
        "journal": ("text", "where the runs are kept, without credentials"),
        "measured": ("integer", "processes that measured"),
        "failures": ("list", "[Failure](#failure) with its `host` and `cell`, a [Cell](#cell)"),
        "failed_validation": ("list", "`cell` and `reason`: measured files that compute wrongly"),
        "stability": (
            "list",
            "`host`, `cell`, `verdict`, and `findings` of `cause`, `message`, `remedy`",
        ),
        "pushed": ("object or null", "`files`, `bytes`, `already_there`"),
        "table": ("[Table](#table)", "the speedup table"),
        "profile": ("object", "where the time goes; empty lists without `--profile`"),
        **{f"profile.{name}": told for name, told in _PROFILE.items()},
        **_OBSERVATION,
    },
    "table": {
        "": (
            "[Table](#table) or [BoardTables](#boardtables)",
            "the second with `--by host`; has a `schema_version` of its own",
        )
    },
    "profile": {"suite": ("text", "its id"), **_PROFILE},
    "report": {
        "report": ("text", "the file that was written"),
        "plots": ("list of text", "the pictures that were written"),
    },
    "history": {
        "false_alarms": ("number", "share of histories with a step where nothing changed, at most"),
        "slower": ("integer", "histories of which the last step is a slowdown"),
        "histories": ("list", "one for each cell and host"),
        "histories[].host": ("text", "as the runs name it"),
        "histories[].metric": ("text", "latency or instructions"),
        "histories[].unit": ("text", "of the figures: ns or instructions"),
        "histories[].cell": ("[Cell](#cell)", "what was measured"),
        "histories[].judged": ("integer", "points that measured and are not tainted"),
        "histories[].earlier": (
            "integer",
            "suites that measured it before the first point; --last",
        ),
        "histories[].last_step": ("text or null", "slower or faster; null where there is none"),
        "histories[].steps": ("list", "where a new level begins, oldest first"),
        "histories[].steps[].suite": ("text", "the first one of the new level"),
        "histories[].steps[].started_at": ("time", "when that began"),
        "histories[].steps[].direction": ("text", "slower or faster"),
        "histories[].steps[].ratio": ("number", "of the levels' medians: new over old"),
        "histories[].steps[].low": ("number", "lower end of its 95 % interval"),
        "histories[].steps[].high": ("number", "upper end of its 95 % interval"),
        "histories[].steps[].changes": (
            "list",
            "as `changes` of points, since the last judged one",
        ),
        "histories[].points": ("list", "one for each suite, oldest first"),
        "histories[].points[].suite": ("text", "its id"),
        "histories[].points[].started_at": ("time", "when the first process of the cell began"),
        "histories[].points[].median": ("number or null", "median of the processes' medians"),
        "histories[].points[].low": ("number or null", "lower end of its 95 % interval"),
        "histories[].points[].high": ("number or null", "upper end of its 95 % interval"),
        "histories[].points[].processes": ("integer", "that count"),
        "histories[].points[].verdict": ("text", "stable, noisy, tainted, failed"),
        "histories[].points[].text": ("text", "the verdict with its reasons"),
        "histories[].points[].changes": (
            "list",
            "`condition`, `before`, `after`: conditions that are not those of the point before",
        ),
    },
    "compare": {"": ("[SuiteComparison](#suitecomparison)", "has a `schema_version` of its own")},
    "models": {
        "models": ("list", "one for each"),
        "models[].name": ("text", "what `--model` takes"),
        "models[].title": ("text", "for readers"),
        "models[].aliases": ("list of text", "other names that `--model` takes"),
        "models[].parameters": ("integer or null", "weights and biases"),
        "models[].multiply_adds": ("integer or null", "at 224x224"),
        "models[].resolution": ("text", "HEIGHTxWIDTH"),
        "models[].source": ("text", "where its layers are defined"),
        "models[].paper": (
            "object or null",
            (
                "`tables`, and what they say: `mega_multiply_adds`, `top1_error_percent`,"
                " `latency_ms` (map of resolution to ms)"
            ),
        ),
    },
    "import": {
        "model": ("text", "the network that was found"),
        "layout": ("text", "whose naming the weights had"),
        "card": ("text", "the card that was written"),
        "weights": ("text", "the safetensors file that was written"),
        "notes": ("list of text", "what of the file was left out"),
        "description": ("object", "the network, as in its card"),
        "preprocessing": (
            "object",
            "`resize`, `crop`, `channel_order`, `value_range`, `mean`, `std`",
        ),
    },
    "inspect": {
        "": ("[Inspection](#inspection)", "what the file holds, with these as well:"),
        "comparison": ("[LayerComparison](#layercomparison)", "with `--layers`"),
    },
    "classify": {"": ("[Classification](#classification)", "has a `schema_version` of its own")},
    "emit-c": {
        "model": ("text", "the network's name"),
        "precision": ("text", "fp32, fp16 or int8"),
        "machine": ("text", "the core it is for"),
        "folder": ("text", "where net.c, net.h and net.weights are"),
        "weights_bytes": ("integer", "size of net.weights"),
        "arena_bytes": ("integer", "memory of the maps"),
        "relative_difference": ("number", "fp32: from PyTorch, relative to the largest logit"),
        "parity": ("[Parity](#parity)", "fp16 and int8"),
        "recipe": ("[Recipe](#recipe)", "int8"),
        "compile": ("text", "a command that compiles it"),
    },
    "runs list": {
        "journal": ("text", "where the runs are kept, without credentials"),
        "suites": ("list", "newest first"),
        **{f"suites[].{name}": told for name, told in _SUITE.items()},
    },
    "runs show": {
        **_SUITE,
        "cells": ("list", "one for each cell"),
        "cells[].host": ("text", "where it was measured"),
        "cells[].cell": ("[Cell](#cell)", "what was measured"),
        "cells[].unit": ("text", "of the figures: ns or instructions"),
        "cells[].processes": ("integer", "that measured it"),
        "cells[].attempts": ("integer", "at all of its processes"),
        "cells[].other_protocol": ("integer", "processes that sampled otherwise and do not count"),
        "cells[].samples": ("integer", "of all processes"),
        "cells[].median": ("number", "median of the processes' medians"),
        "cells[].p10": ("number", "10th percentile of all samples"),
        "cells[].p90": ("number", "90th percentile of all samples"),
        "cells[].p99": ("number", "99th percentile of all samples"),
        "cells[].mad": ("number", "median absolute deviation"),
        "cells[].outliers": ("integer", "samples far from the others; they are kept"),
        "cells[].model_rss_bytes": ("integer or null", "memory of the runtime with the model"),
        "cells[].verdict": ("text", "stable, noisy, tainted, failed"),
        "cells[].text": ("text", "the verdict with its reasons"),
        "cells[].findings": ("list of text", "the reasons"),
        "cells[].failures": ("list of [Failure](#failure)", "processes without a figure"),
        "cells[].conditions": ("list", "of each process:"),
        "cells[].conditions[].run": ("text", "id of the run"),
        "cells[].conditions[].process": ("integer", "which of the cell's"),
        "cells[].conditions[].started_at": ("time", "when the process began"),
        "cells[].conditions[].runtime_version": ("text or null", "the version that ran"),
        "cells[].conditions[].artifact_sha256": ("text or null", "of the file that ran"),
        "cells[].conditions[].before": ("[Conditions](#conditions) or null", "before the process"),
        "cells[].conditions[].after": ("[Conditions](#conditions) or null", "after the process"),
        "cells[].conditions[].tool": ("map", "what measured"),
        **_OBSERVATION,
    },
    "runs export": {
        "records": (
            (
                "list of [Run](#run), [Sustained](#sustained), [CrossCheck](#crosscheck),"
                " [Paced](#paced), [Pipeline](#pipeline),"
                " [Evaluation](#evaluation), [StoredPrediction](#storedprediction) or"
                " [SuiteNote](#suitenote)"
            ),
            "those with a `kind` are told by it; without `--json` one of them a line",
        ),
        "samples": ("list of object", "with `--samples`: rows; see [samples](samples.md)"),
        "file": ("text", "with `--out FILE` instead of `records`: the file that was written"),
        "rows": ("integer", "with a file of samples: how many it has"),
    },
    "runs import": {
        "added": ("integer", "records that were new"),
        "already_there": ("integer", "records that were not"),
    },
    "runs delete": {"suite": ("text", "its id"), "deleted": ("integer", "runs")},
    "clean": {
        "host": ("text", "as typed after `--host`"),
        "root": ("text", "the folder that was removed there"),
        "freed_bytes": ("integer", "there"),
        "downloads_freed_bytes": ("integer", "here"),
    },
    "devices": {
        "devices": ("list", "one for each host"),
        "devices[].host": ("text", "what `--host` takes"),
        "devices[].problem": ("text or null", "why nothing else is known"),
        "devices[].abi": ("text or null", "its architecture"),
        "devices[].cores": ("text or null", "how many, and how fast"),
        "devices[].soc": ("text or null", "board and processor"),
        "devices[].os": ("text or null", "the operating system"),
        "devices[].python": ("text or null", "its version"),
        "devices[].memory_bytes": ("integer or null", "its memory"),
        "devices[].free_bytes": ("integer or null", "on its disk"),
        "devices[].temperature_c": ("number or null", "of the hottest sensor"),
        "devices[].battery_percent": ("integer or null", "charge of the battery"),
        "devices[].missing": ("list of text", "what bench has to bring"),
        "notes": ("list of text", "why hosts of one kind are not listed"),
    },
    "doctor": {
        "host": ("text", "as typed after `--host`"),
        "fit": ("boolean", "whether figures from there can be trusted"),
        "checks": ("list", "`name`, `status` (ok, warn, fail), `value`, `why`, `remedy`"),
    },
    "tune governor": {
        "host": ("text", "as typed after `--host`"),
        "now": ("text", "the governor that is set"),
        "before": ("list of text", "those that stood before"),
        "cores": ("integer", "that have it"),
    },
    "tune lowering": {
        "search": ("text", "what `--resume` takes"),
        "file": ("text", "where the winners are kept"),
        "lowerings": ("list of [Lowering](#lowering)", "the best for each runtime and precision"),
    },
    "restore": {
        "host": ("text", "as typed after `--host`"),
        "governors": ("list of text or null", "those put back; null where nothing was changed"),
    },
    "board up": _BOARD,
    "board status": {**_BOARD, "answers": ("boolean", "over SSH")},
    "board list": {"boards": ("list of [Board](#board)", "with `running` and `ssh`")},
    "board ssh": {
        "ssh": ("list of text", "the command that was run, or reaches it"),
        "exit_code": ("integer", "of the command; like the next two, only where there is one"),
        "stdout": ("text", "of the command"),
        "stderr": ("text", "of the command"),
    },
    "board down": {"boards": ("list", "`name`, and `existed`: whether there was one")},
    "cost": {
        "": ("[Counts](#counts)", "with `--check` these as well:"),
        "passed": ("boolean", "no count is worse than locked"),
        "tolerance": ("number", "share by which counts may differ"),
        "changes": ("list", "`verdict`, `ratio`, `line`"),
    },
    "predict calibrate": {
        "file": ("text", "the card that was written"),
        "cpus": ("list of integer", "the cores that were measured"),
        "clock_ghz": ("number", "cycles per ns: dependent operations of one cycle"),
        "latency": ("list", "`kib`, `ns`: a load that waits for the one before, over so much"),
        "bandwidth": ("list", "`cores`, and GB/s of all: `read_gb_s`, `fill_gb_s`, `copy_gb_s`"),
        "caches": ("list", "`level`, `kib`, `ways`: what the kernel says"),
    },
    "predict": {
        "predictions": ("list of [Prediction](#prediction)", "with these as well:"),
        "predictions[].relative": ("number", "half-width of the interval over the prediction"),
        "predictions[].speedup": ("object or null", "over AlexNet: `ratio`, `relative`"),
        "problems": ("list of text", "what could not be predicted, and why"),
    },
}

HEAD = """\
# JSON

Every command takes `--json` and then prints one object on standard output, on one line where that
is no terminal; warnings and progress go to standard error. This page is written from the code by
`python docs/json_page.py`.

- `schema_version` comes first in every document: 1 today. It is raised when a field changes its
  meaning or goes away; new fields may come at any time.
- Units are in the names: `_ns`, `_secs`, `_bytes`, `_khz`, `_c` (degrees Celsius), `_db`,
  `_percent`. Samples and figures without one are in ns, or in instructions where `metric` says so.
- Times are ISO 8601 with a zone. A resolution is the text `HEIGHTxWIDTH`. Numbers are finite.
- Exit codes: 0 done, 1 a run failed, 2 the user's mistake (then nothing is on standard output), 130
  interrupted.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Commands\n"]
    for command, rows in COMMANDS.items():
        parts += [
            f"### {command}\n",
            _table({"schema_version": ("integer", "of this document"), **rows}),
        ]
    parts.append("## Objects\n")
    for title, schema in sorted(objects().items()):
        about = documented(schema.get("description", ""))
        rows = {
            name: (_type(told), meaning(title, name, about) + _values(told))
            for name, told in schema["properties"].items()
        }
        parts += [f"### {title}\n", _prose(schema.get("description", "")), _table(rows)]
    return "\n".join(parts)


@cache
def objects() -> dict[str, dict[str, Any]]:
    """The JSON schema of every object that commands print, by title."""
    found: dict[str, dict[str, Any]] = {}
    for title, root in ROOTS.items():
        schema = root.model_json_schema(mode="serialization")
        inner = schema.pop("$defs", {})
        found[title] = _renamed(schema, title, inner)
        for name, told in inner.items():
            if "properties" in told:
                found.setdefault(_title(name, title), _renamed(told, title, inner))
    return found


#: Objects of one name in several classes, by the object they are a part of.
_AMBIGUOUS = {
    ("Figure", "SuiteComparison"): "ComparedFigure",
    ("Figure", "Lowering"): "LoweringFigure",
    ("Change", "SuiteComparison"): "ComparedCell",
    ("Comparison", "SuiteComparison"): "SuiteComparison",
}


def _title(name: str, root: str) -> str:
    return _AMBIGUOUS.get((name, root)) or {one.__name__: t for t, one in ROOTS.items()}.get(
        name, name
    )


def _renamed(schema: dict[str, Any], root: str, inner: dict[str, Any]) -> dict[str, Any]:
    """References by title, and what is no object (words to choose from) in place."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                name = value["$ref"].rpartition("/")[2]
                return (
                    {"ref": _title(name, root)}
                    if "properties" in inner[name]
                    else walk(inner[name])
                )
            return {key: walk(one) for key, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    walked: dict[str, Any] = walk(schema)
    return walked


def _type(told: dict[str, Any]) -> str:
    """A type in words, with links."""
    if "ref" in told:
        return f"[{told['ref']}](#{told['ref'].lower()})"
    if "anyOf" in told or "oneOf" in told:
        kinds = [_type(one) for one in told.get("anyOf", told.get("oneOf"))]
        return " or ".join(dict.fromkeys(sorted(kinds, key=lambda kind: kind == "null")))
    kind = told.get("type")
    if kind == "array":
        inside = told.get("items") or {"anyOf": told.get("prefixItems", [])}
        return f"list of {_type(inside)}" if inside else "list"
    if kind == "object":
        value = told.get("additionalProperties")
        return f"map of {_type(value)}" if isinstance(value, dict) and value else "map"
    if kind == "string":
        return "time" if told.get("format") == "date-time" else "text"
    return {"integer": "integer", "number": "number", "boolean": "boolean", "null": "null"}.get(
        kind or "", "text" if "const" in told or "enum" in told else "any"
    )


def _values(told: dict[str, Any]) -> str:
    values = told.get("enum") or ([told["const"]] if "const" in told else [])
    return f": {', '.join(map(str, values))}" if values else ""


def documented(docstring: str) -> dict[str, str]:
    """The meanings that a class gives its fields: under ``Attributes``, or in its prose."""
    text = inspect.cleandoc(docstring)
    listed = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text.partition("Attributes:\n")[2], re.M)
    in_prose = dict.fromkeys(
        re.findall(r"``(\w+)``", text.partition("Attributes:\n")[0]), "see above"
    )
    return in_prose | {name: " ".join(what.split()).rstrip(".") for name, what in listed}


def meaning(title: str, name: str, about: dict[str, str]) -> str:
    """What a field of the object ``title`` holds; ``about`` is what its class says."""
    told = about.get(name) or FIELDS.get(title, {}).get(name) or FIELDS.get(name, "")
    return re.sub(r"``(.+?)``", r"`\1`", str(told))


def _prose(text: str) -> str:
    """A docstring without what the table tells."""
    cleaned = inspect.cleandoc(text).partition("\nAttributes:")[0].rstrip()
    return re.sub(r"``(.+?)``", r"`\1`", cleaned) + "\n"


def _table(rows: dict[str, tuple[str, str]]) -> str:
    lines = ["| field | type | meaning |", "| :-- | :-- | :-- |"]
    lines += [
        f"| {f'`{name}`' if name else '(the document)'} | {kind} | {meaning} |".replace("  ", " ")
        for name, (kind, meaning) in rows.items()
    ]
    return "\n".join(lines) + "\n"


# --- is a document as the page says? -------------------------------------------------------------


def undocumented(command: str, document: dict[str, Any]) -> list[str]:
    """Paths in what a command printed that the page does not know."""
    rows = {"schema_version": ("integer", ""), **COMMANDS[command]}
    return list(_unknown(document, "", rows))


def _unknown(value: Any, path: str, rows: dict[str, tuple[str, str]]) -> Iterator[str]:
    kind, meaning = rows.get(path, ("", ""))
    known = _fields_of(kind) | set(re.findall(r"`(\w+)`", meaning))
    if kind.startswith(("map", "object")) and not known:
        return
    for one, where in _children(value, path):
        for name, inside in one.items():
            below = f"{where}.{name}" if where else name
            if below in rows:
                yield from _unknown(inside, below, rows)
            elif name not in known:
                yield below


def _children(value: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(value, dict):
        yield value, path
    elif isinstance(value, list):
        yield from ((one, f"{path}[]") for one in value if isinstance(one, dict))


def _fields_of(kind: str) -> set[str]:
    """The fields of the objects that a type links to."""
    known = objects() if "](#" in kind else {}
    return {
        field for title in re.findall(r"\[(\w+)\]\(#", kind) for field in known[title]["properties"]
    }


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
