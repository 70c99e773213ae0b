"""Invariants of renderings: nothing lost, all escaped correctly, nothing wider than the screen."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from io import StringIO

import pytest
import sample_runs
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from shufflenet_deploy.records import Failure, FailureKind, Precision
from shufflenet_deploy.report import formatting, latex, markdown, numerals, render
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.render import Rendering
from shufflenet_deploy.report.table import Table

PAIR = ("shufflenet-g3-0.5x", "alexnet")
NASTY = 'a|b <b>*bold*</b> _x_ `c` \\ & 50 % #1 ~ {x} $y$ ^ "q" [l](u) [/x] é ∀'


@pytest.fixture(scope="module")
def table8() -> Table:
    runs = sample_runs.table8()
    failure = Failure(kind=FailureKind.CRASHED, message=NASTY)
    runs += [sample_runs.run("vgg16", resolution="480x640", outcome=failure, runtime_version=None)]
    runs += sample_runs.table8(precision=Precision.INT8, trained=False)[:10]
    runs += [run for model in PAIR for run in sample_runs.counted(model, suite="cost")]
    core = sample_runs.PI.core_name()
    predicted = [
        sample_runs.prediction(model=model, core=core, board="raspberry-pi-3b-plus")
        for model in PAIR
    ]
    return Table.from_runs(runs, predicted=predicted)


def test_a_name_is_never_markup() -> None:
    runs = [sample_runs.run(name) for name in ("[/nothing]", "[red]b", "alexnet")]
    text = render.terminal(Table.from_runs(runs), width=120)
    assert "[/nothing]" in text
    assert "[red]b" in text


@pytest.fixture
def pair() -> Table:
    return Table.from_runs(
        [
            sample_runs.run(model, process=process, median=median, noise=0.0)
            for process in range(2)
            for model, median in zip(PAIR, (12_000_000, 120_000_000), strict=True)
        ]
    )


def test_markdown_of_a_pair(pair):
    assert markdown.markdown(pair).splitlines()[:8] == [
        (
            "**onnxruntime 1.32.0 · fp32 · onnx · 1 thread · pi (Raspberry Pi 4 Model B Rev 1.4)**"
            ": median latency in ms with its 95 % interval"
        ),
        "",
        "| Model | Error % | Multiply-adds | 224x224 |",
        "| :-- | --: | --: | --: |",
        (
            "| ShuffleNet 0.5x (g=3) | 43.2 | 38M | **12.0** (12.0–12.0)<br>"
            "speedup **10.0×** (10.0–10.0)<br>in theory 19.0×<br>paper 15.2 ms 12.1× |"
        ),
        "| AlexNet<sup>1</sup> | 42.8 | 714M | **120.0** (120.0–120.0)<br>paper 184.0 ms |",
        "",
        (
            "<sup>1</sup> AlexNet's fully connected layers see an adaptive 6x6 pool at every "
            "resolution (head=fixed)  "
        ),
    ]


def test_terminal_of_a_pair(pair):
    lines = render.terminal(pair, width=80).splitlines()
    assert lines[0].startswith("onnxruntime 1.32.0 · fp32 · onnx · 1 thread · pi")
    assert [" ".join(line.split()) for line in lines[3:12] if "─" not in line] == [
        "Model Err % MAdds 224x224",
        "ShuffleNet 0.5x (g=3) 43.2 38M 12.0 ±0%",
        "speedup 10.0× 10.0–10.0",
        "in theory 19.0×",
        "paper 15.2 ms 12.1×",
        "AlexNet¹ 42.8 714M 120.0 ±0%",
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_is_never_exceeded_and_no_figure_is_cut(table8, width):
    text = render.terminal(table8, width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for _, entry in table8.blocks[0].entries():
        if entry.estimate:
            assert formatting.figure(entry.estimate.median / 1e6) in text


def test_without_color_there_are_no_escapes(table8, monkeypatch):
    assert "\x1b" not in render.terminal(table8)
    assert "\x1b[" in render.terminal(table8, color=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", render.terminal(table8, color=True))


def lines_of(text: str) -> list[str]:
    """Words of each line, ruled lines left out."""
    return [" ".join(line.split()) for line in text.splitlines() if line and "─" not in line]


def test_the_lowest_of_several_runtimes_is_marked_and_a_missing_one_has_a_reason():
    runs = [
        sample_runs.run(PAIR[0], median=median, noise=0.0, runtime=name)
        for name, median in (("onnxruntime", 9_000_000), ("litert", 8_000_000))
    ]
    failure = Failure(kind=FailureKind.RUNTIME_MISSING, message="no wheel for this board")
    missing = runs[0].model_copy(
        update={
            "cell": runs[0].cell.model_copy(update={"runtime": "ncnn"}),
            "outcome": failure,
            "runtime_version": None,
        }
    )
    table = Table.from_runs([*runs, missing])
    for text in (render.terminal(table, width=100), render.markdown(table), html(table)):
        beside = text[text.index("Side by side") :]
        (marked,) = [one for one in beside.splitlines() if re.search(r"★\W+(8|~)", one)]
        assert "8" in marked
        assert "in ncnn, fp32: runtime-missing: no wheel for this board" in " ".join(beside.split())


def test_a_file_that_failed_validation_is_never_the_lowest():
    good, wrong = [
        sample_runs.run(PAIR[0], median=median, noise=0.0, runtime=name)
        for name, median in (("onnxruntime", 9_000_000), ("litert", 3_000_000))
    ]
    assert wrong.artifact is not None
    parity = wrong.artifact.parity.model_copy(update={"passed": False, "reason": "SQNR 1.3"})
    failed = wrong.artifact.model_copy(update={"parity": parity})
    third = sample_runs.run(PAIR[0], median=8_000_000, noise=0.0, runtime="native")
    runs = [good, wrong.model_copy(update={"artifact": failed}), third]
    text = render.terminal(Table.from_runs(runs), width=100)
    assert len(re.findall(r"★\W*8", text)) == 1
    assert not re.search(r"★\W*3", text)


def test_a_figure_whose_outputs_change_is_told_and_never_the_lowest():
    good, wrong, third = [
        sample_runs.run(PAIR[0], median=median, noise=0.0, runtime=name)
        for name, median in (("onnxruntime", 9e6), ("mnn", 3e6), ("native", 8e6))
    ]
    outcome = wrong.outcome.model_copy(update={"outputs_repeat": False})
    table = Table.from_runs([good, wrong.model_copy(update={"outcome": outcome}), third])
    for text in (render.terminal(table, width=100), render.markdown(table), html(table)):
        assert "tainted: outputs change" in text
    text = render.terminal(table, width=100)
    assert len(re.findall(r"★\W*8", text)) == 1
    assert not re.search(r"★\W*3", text)


def test_settings_of_a_suite_stand_side_by_side_by_model(pair):
    assert "Side by side" not in render.terminal(pair)
    assert "Side by side" not in render.markdown(pair)
    runs = [
        sample_runs.run(
            model,
            median=median,
            noise=0.0,
            precision=precision,
            spec=sample_runs.SPEC.model_copy(update={"threads": threads}),
        )
        for precision, threads, median in (
            (Precision.FP32, 1, 12_000_000),
            (Precision.INT8, 1, 6_000_000),
            (Precision.INT8, 2, 4_000_000),
            (Precision.FP16, 1, 8_000_000),
        )
        for model, median in zip(PAIR, (median, 120_000_000), strict=True)
    ]
    both = Table.from_runs(
        [*runs, *sample_runs.counted(PAIR[0], suite=runs[0].suite, runtime="litert")]
    )
    shown = lines_of(render.terminal(both, width=100))
    start = shown.index("Side by side · pi (Raspberry Pi 4 Model B Rev 1.4)")
    assert shown[start + 2 : start + 11] == [
        "Model Runtime Type Threads 224x224",
        "ShuffleNet 0.5x (g=3) onnxruntime 1.32.0 fp32 1 12.0 10.0× (10.0–10.0)",
        "ShuffleNet 0.5x (g=3) onnxruntime 1.32.0 fp16 1 8.00 15.0× (15.0–15.0)",
        "ShuffleNet 0.5x (g=3) onnxruntime 1.32.0 int8 1 6.00 20.0× (20.0–20.0)",
        "ShuffleNet 0.5x (g=3) onnxruntime 1.32.0 int8 2 4.00 30.0× (30.0–30.0)",
        "AlexNet onnxruntime 1.32.0 fp32 1 120.0",
        "AlexNet onnxruntime 1.32.0 fp16 1 120.0",
        "AlexNet onnxruntime 1.32.0 int8 1 120.0",
        "AlexNet onnxruntime 1.32.0 int8 2 120.0",
    ]
    assert "| AlexNet | onnxruntime 1.32.0 | int8 | 2 | 120.0 |" in render.markdown(both)
    # What was counted is another metric, and alone in it: nothing to stand next to.
    assert render.terminal(both).count("Side by side") == 1


def test_csv_is_tidy(table8):
    lines = list(csv.DictReader(StringIO(render.csv(table8))))
    assert len(lines) == sum(len(list(block.entries())) for block in table8.blocks)
    assert all(None not in line and None not in line.values() for line in lines)
    first = lines[0]
    entry = table8.blocks[0].rows[0].entries[0]
    assert first["model"] == "shufflenet-g3-0.5x"
    assert first["unit"] == "ns"
    assert float(first["median"]) == entry.estimate.median
    assert float(first["speedup_low"]) == entry.speedup.low
    assert {line["unit"] for line in lines} == {"ns", "instructions"}
    (crashed,) = [line for line in lines if line["failure"]]
    assert (crashed["failure"], crashed["failure_message"]) == ("crashed", NASTY)
    assert crashed["median"] == ""


def test_json_is_complete_and_versioned(table8):
    shown = json.loads(render.json(table8))
    assert shown["schema_version"] == 1
    entry = shown["blocks"][0]["rows"][0]["entries"][0]
    assert {"median", "low", "high", "p10", "p90", "p99", "mad"} <= entry["estimate"].keys()
    assert entry["processes"][0]["before"]["governors"] == {"cpu0": "performance"}
    assert entry["spec"]["min_runs"] == 20
    assert entry["artifact"]["sha256"]
    assert "samples" not in entry["processes"][0]


def test_an_empty_table_renders_as_nothing_or_as_an_empty_list():
    empty = Table.from_runs([])
    assert render.markdown(empty) == ""
    assert render.csv(empty) == ""
    assert json.loads(render.json(empty))["blocks"] == []


def test_undistinguishable_is_said_in_words(table8):
    runs = [
        sample_runs.run(model, process=process, median=median, noise=0.05)
        for process in range(3)
        for model, median in (("alexnet", 131e6), ("shufflenet-g3-2x", 131.5e6))
    ]
    table = Table.from_runs(runs)
    assert "not distinguishable" in " ".join(render.terminal(table).split())
    assert "not distinguishable" in render.markdown(table)
    assert "not distinguishable" in render.latex(table)
    assert "not distinguishable" not in render.markdown(table8)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40))
def test_markdown_shows_any_text_in_a_cell_as_it_is(text):
    parser = MarkdownIt("commonmark").enable("table")
    tokens = parser.parse(f"| h | i |\n| - | - |\n| x{markdown.escape(text)}x | 1 |\n")
    cells = [token for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    shown = "".join(child.content for child in cells[2].children or ())
    assert all(child.type in ("text", "text_special") for child in cells[2].children or ())
    assert shown == f"x{' '.join(text.split())}x"


@given(st.text(max_size=40))
def test_latex_is_ascii_balanced_and_without_active_characters(text):
    escaped = latex.escape(text)
    assert escaped.isascii()
    assert escaped.isprintable()
    bare = re.sub(r"\\(textbackslash|textasciicircum|textasciitilde)\{\}", "", escaped)
    bare = re.sub(r"\\ensuremath\{(\\times|\\pm|\\cdot|\\mu|\^\\circ|[<>|])\}", "", bare)
    bare = re.sub(r"\\[{}$&#%_]", "", bare)
    assert not re.search(r"[\\$&#%_^~]", bare)
    assert bare.count("{") == bare.count("}")


def test_latex_compiles(table8, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.fail("the table is set by a real TeX: apt-get install texlive-latex-recommended")
    (tmp_path / "table.tex").write_text(render.latex(table8))
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}"
        r"\begin{document}\input{table}\end{document}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize("form", list(Rendering))
def test_every_form_names_the_settings_and_what_must_be_known(table8, form):
    text = render.render(table8, form)
    for fact in ("Cortex", "1.32.0", "performance", "cost"):
        assert fact in text, fact
    if form not in (Rendering.CSV, Rendering.JSON):
        assert "untrained weights" in text
        assert "Minstr" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.4821, "0.482"),
        (2.314, "2.31"),
        (15.2, "15.2"),
        (1857.6, "1857.6"),
        (25_340.0, "25340"),
        (2.5e9, "2500000000"),
        (0.0123456, "0.0123"),
        (4.2e-5, "0.0000420"),
        (9.996, "10.0"),
        (0.99951, "1.00"),
        (0, "0"),
        (-12.34, "-12.3"),
    ],
)
def test_figures_have_about_three_digits(value, shown):
    assert formatting.figure(value) == shown


@given(st.floats(1e-6, 1e15))
def test_a_figure_is_near_its_value_and_has_no_exponent(value):
    text = formatting.figure(value)
    assert re.fullmatch(r"\d+(\.\d+)?", text)
    assert float(text) == pytest.approx(value, rel=0.006)
    assert re.fullmatch(r"\d+(\.\d+)?", numerals.short(value))
    assert float(numerals.plain(value)) == value
    assert "e" not in numerals.plain(value)


EXPONENT = re.compile(r"\d[eE][+-]?\d")


@pytest.mark.parametrize("median", [40.0, 3_000.0, 25.34e9, 2e13])
def test_no_rendering_writes_an_exponent(median):
    runs = [
        sample_runs.run(model, process=process, median=median * factor, sha256="b" * 64)
        for process in range(3)
        for model, factor in zip(PAIR, (1, 7), strict=True)
    ]
    table = Table.from_runs(runs)
    # Colours and identifiers of a page may look like one.
    page = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", html(table), flags=re.DOTALL)
    page += " ".join(re.findall(r">([^<>]*)</text>", html(table)))
    for text in (*(render.render(table, form) for form in Rendering if form != "json"), page):
        assert EXPONENT.findall(text.replace("b" * 64, "")) == []


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (99.0, 101.0, "±1.0%"),
        (99.7, 112.0, "-0.3/+12%"),
        (100.0, 100.0, "±0%"),
        (100.0, 103.0, "-0/+3.0%"),
        (88.0, 112.4, "±12%"),
    ],
)
def test_an_interval_is_as_uneven_as_it_is(low, high, shown):
    assert numerals.deviation(100.0, low, high) == shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_uneven_intervals_fit_and_are_explained(width):
    runs = [
        sample_runs.run(model, resolution=at, process=process, median=median * 1e6)
        for at in ("224x224", "480x640", "720x1280")
        for process, median in enumerate((1857.6, 1857.7, 2400.0))
        for model in PAIR
    ]
    table = Table.from_runs(runs)
    text = render.terminal(table, width=width)
    assert "-0.0/+29%" in text or re.search(r"-\d[\d.]*/\+2\d%", text)
    assert "±2" not in text
    assert max(map(len, text.splitlines())) <= width
    assert "-a/+b%: the interval reaches" in " ".join(text.split())
    assert re.search(r"\{-\}[\d.]+/\+2\d\\%", render.latex(table))


def test_one_legend_is_true_of_every_block():
    runs = [sample_runs.run(model, process=process) for process in range(2) for model in PAIR]
    other = [
        sample_runs.run(model, process=process, runtime="litert", precision=Precision.INT8)
        for process in range(2)
        for model in PAIR
    ]
    counted = [
        run
        for model in PAIR
        for precision in (Precision.FP32, Precision.FP16)
        for run in sample_runs.counted(model, suite="cost", precision=precision)
    ]
    table = Table.from_runs(
        [*runs, *other, *counted], evaluations=[sample_runs.evaluation(runs[0].artifact)]
    )
    lines = formatting.legend(table, table.blocks)
    subjects = [line.split(":")[0].split()[0] for line in lines]
    assert sorted(set(subjects)) == sorted(subjects)
    assert sum("top-1 error" in line.lower() for line in lines) == 1
    assert "4-wide fp32 or 8-wide fp16" in " ".join(lines)
    # Each block alone reads the same as all together.
    for block in table.blocks:
        for line in formatting.legend(table, [block]):
            assert line in lines or line.startswith("Efficiency")


def test_a_measured_error_is_in_every_rendering():
    runs = [sample_runs.run(model, process=process) for process in range(2) for model in PAIR]
    table = Table.from_runs(runs, evaluations=[sample_runs.evaluation(runs[0].artifact)])
    for text in (
        markdown.markdown(table),
        latex.latex(table),
        render.terminal(table, width=80),
    ):
        assert "here 44.0" in text
        assert "error of this very file" in " ".join(text.split())
    assert all(len(line) <= 80 for line in render.terminal(table, width=80).splitlines())
    (line, _) = csv.DictReader(StringIO(render.csv(table)))
    assert (line["measured_top1_error_percent"], line["measured_top1_error_pictures"]) == (
        "44.0",
        "100",
    )
    assert json.loads(render.json(table))["blocks"][0]["rows"][0]["measured_top1_error"]
