"""The options of ``bench``: every text that is accepted, and the line for every one that is not."""

from __future__ import annotations

from pathlib import Path

import digits
import pytest
import typer

from shufflenet_deploy import cli
from shufflenet_deploy.bench import Hot, Suite, suite_checks
from shufflenet_deploy.bench.suite_names import distinct_labels
from shufflenet_deploy.cli import bench_suite as options
from shufflenet_deploy.cli import multi_value, preflight, resume
from shufflenet_deploy.cli.progress import BenchProgress
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import SCHEDULE, BenchmarkSpec, Metric


def test_lists_take_commas_and_repetition():
    assert multi_value.listed(["a,b", " c ", "a"]) == ["a", "b", "c"]
    assert multi_value.listed("a, b") == ["a", "b"]
    assert multi_value.listed(None) == []
    assert options.integers(["1,4"]) == [1, 4]
    assert options.integers(None) is None
    with pytest.raises(UsageError, match="an empty list was given"):
        multi_value.listed([" ,"])


def test_all_runtimes_are_the_usual_ones_of_every_format():
    every = ["litert", "executorch", "mnn", "native", "ncnn", "onnxruntime", "openvino"]
    assert multi_value.runtimes("litert,all") == every
    assert multi_value.runtimes(["native", "onnxruntime==1.30"]) == ["native", "onnxruntime==1.30"]
    assert multi_value.runtimes(None) == []


def test_precisions_are_checked_and_left_as_they_are_asked_for():
    assert multi_value.precisions(["all"]) == ["all"]
    assert multi_value.precisions(["int8,fp16"]) == ["int8", "fp16"]
    assert multi_value.precisions(None) == []
    with pytest.raises(UsageError, match="'int4' is unknown: choose from fp32, fp16, int8, all"):
        multi_value.precisions(["fp32", "int4"])


@pytest.mark.parametrize(
    ("text", "wanted"), [("0", [0]), ("2,0", [0, 2]), ("4-7", [4, 5, 6, 7]), ("0,2-3", [0, 2, 3])]
)
def test_cores(text, wanted):
    assert options.cores(text) == wanted


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1,,2"])
def test_what_are_no_cores(text):
    with pytest.raises(UsageError, match="--cpus"):
        options.cores(text)


def test_warm_up_by_count_or_by_time():
    assert options.warmup_limits("10") == {"warmup_runs": 10, "warmup_secs": 0.0}
    assert options.warmup_limits("0.5s") == {"warmup_runs": 1, "warmup_secs": 0.5}
    assert options.warmup_limits("250ms") == {"warmup_runs": 1, "warmup_secs": 0.25}
    assert options.warmup_limits(None) == {}
    with pytest.raises(UsageError, match="--warmup"):
        options.warmup_limits("long")


def suite(base=None, given=None, spec=None, weights=(), *, fresh=True):
    return options.make_suite(base or {}, given or {}, spec or {}, list(weights), fresh=fresh)


def test_options_overrule_a_suite_file_and_leave_the_rest():
    table8 = options.read_suite("table8")
    wanted = suite(table8, {"resolutions": ["64x64"]}, {"processes": 7})
    assert [str(one) for one in wanted.resolutions] == ["64x64"]
    assert wanted.spec.processes == 7
    assert wanted.spec.min_runs == 20
    assert len(wanted.models) == 4


def test_nothing_at_all_is_shufflenet_against_alexnet():
    models = [cell.model for cell in suite().cells()]
    assert models == ["shufflenet-g3-0.5x", "alexnet"]


def test_instructions_need_neither_time_nor_repetition():
    wanted = suite(spec={"metric": "instructions", "min_runs": 4})
    assert wanted.spec.metric is Metric.INSTRUCTIONS
    assert (wanted.spec.min_runs, wanted.spec.processes, wanted.spec.warmup_secs) == (4, 1, 0)
    # A resumed suite already holds its protocol.
    assert suite(spec={"metric": "instructions"}, fresh=False).spec.processes == 3


@pytest.mark.parametrize(
    ("given", "spec", "told"),
    [
        ({}, {"min_secs": -1.0}, "--min-secs -1: must be greater than or equal to 0"),
        ({}, {"min_secs": 60.0}, "--max-secs 30: less than the 60 s of --min-secs: raise the one"),
        ({}, {"max_secs": 0.5}, "--max-secs 0.5: less than the 1 s of --min-secs: raise the one"),
        ({}, {"max_secs": 0.0}, "--max-secs 0: must be greater than 0"),
        ({}, {"min_runs": 0}, "--min-runs 0: must be greater"),
        ({}, {"processes": 0}, "--processes 0: must be greater than or equal to 1"),
        ({}, {"cooldown_secs": -1.0}, "--cooldown -1: must"),
        ({}, {"timeout_secs": 0.0}, "--timeout 0: must"),
        ({}, {"metric": "x"}, "--metric x: must be 'latency' or 'instructions'"),
        ({}, {"cpus": [10**6]}, "--cpus 1000000: must"),
        ({"max_temperature_c": 150.0}, {}, "--max-temperature 150: must be less than 150"),
        ({"max_processes": 0}, {}, "--max-processes 0: must"),
        ({"retries": -1}, {}, "--retries -1: must"),
        ({"sustained_secs": 1e9}, {}, r"--sustained 1e\+09: must"),
        ({"threads": [1, 0]}, {}, "--threads 1,0: must be 1 or more"),
        ({"precision_target": "0%"}, {}, "--precision-target: '0%' is not a precision"),
        ({"payload": "x"}, {}, "--payload x: must be 'auto', "),
        ({"alexnet_head": "x"}, {}, "--alexnet-head x: must be 'fixed' or 'dense'"),
        ({"governor": "x; y"}, {}, "--governor x; y: a governor is one lower-case word"),
        ({"runtimes": ["x"]}, {}, "--runtime: 'x' is not a runtime"),
        (
            {"precisions": ["fp16"]},
            {},
            r"--precision fp16: fp16 is for --runtime .*native.*: onnxruntime has none",
        ),
        ({"lowerings": ["x"]}, {}, "--lowering: 'x' is not a lowering of fp32 onnx"),
        ({"resolutions": ["1by1"]}, {}, "--resolution: '1by1' is not a resolution"),
    ],
)
def test_a_wrong_value_is_named_by_its_option(given, spec, told):
    with pytest.raises(UsageError, match=f"^{told}") as refused:
        suite(given=given, spec=spec)
    assert "\n" not in str(refused.value)


def test_every_field_that_an_option_sets_has_its_name():
    unreachable = {"name", "title", "seed", "spec", "spec.threads"}
    fields = {*Suite.model_fields, *(f"spec.{name}" for name in BenchmarkSpec.model_fields)}
    assert fields == {*options.OPTIONS, *unreachable}


def test_short_names_are_the_same_everywhere():
    """``-w`` is --weights in each command that has it, and so on."""
    short: dict[str, set[str]] = {}
    command = typer.main.get_command(cli.command_line())
    commands = [command]
    while commands:
        one = commands.pop()
        commands += getattr(one, "commands", {}).values()
        for option in one.params:
            names = [name for name in option.opts if name.startswith("--")]
            for name in names:
                known = {text for text in option.opts if not text.startswith("--")}
                short.setdefault(name, set()).add(" ".join(known))
    assert {name: found for name, found in short.items() if len(found) > 1} == {}


def test_no_baseline():
    assert suite(given={"baseline": "none"}).baseline is None


def test_checkpoints_of_one_model_are_cells_side_by_side(tmp_path):
    files = [tmp_path / folder / "best.pth" for folder in ("one", "two")]
    for file in files:
        file.parent.mkdir()
        file.touch()
    both = suite(weights=[str(file) for file in files])
    assert both.weights == {"shufflenet-g3-0.5x": tuple(map(str, files))}
    mine = [cell for cell in both.cells() if cell.model == "shufflenet-g3-0.5x"]
    assert [cell.options["weights"] for cell in mine] == ["one/best", "two/best"]
    assert [both.weights_of(cell) for cell in mine] == [str(file) for file in files]
    assert all(both.weights_of(cell) is None for cell in both.cells() if cell not in mine)
    # As it is kept in the journal, and as suites of earlier versions are.
    assert suite(base=both.model_dump(mode="json"), fresh=False).cells() == both.cells()
    older = suite(base={"weights": {"shufflenet-g3-0.5x": str(files[0])}}, fresh=False)
    assert older.weights == {"shufflenet-g3-0.5x": (str(files[0]),)}
    assert all("weights" not in cell.options for cell in older.cells())
    assert older.weights_of(older.cells()[0]) == str(files[0])


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["/a/x.pth", "/a/y.pth"], ("x", "y")),
        (["/a/x.pth", "/a/x.safetensors"], ("x.pth", "x.safetensors")),
        (["/r/1/ck/best.pt", "/r/2/ck/best.pt"], ("1/ck/best", "2/ck/best")),
        (["/best.pt", "/r/best.pt"], ("//best", "r/best")),
        (["/r/a.pt", "/r/a.pt"], ("/r/a.pt", "/r/a.pt")),
    ],
)
def test_labels_are_the_shortest_that_differ(files, labels):
    assert distinct_labels(files) == labels


def test_weights_belong_to_a_model(tmp_path):
    file = tmp_path / "a=b.pth"
    file.write_bytes(b"")
    assert suite(weights=[str(file)]).weights == {"shufflenet-g3-0.5x": (str(file),)}
    two = {"models": ["alexnet", "mobilenet-1.0"]}
    named = suite(given=two, weights=[f"mobilenet-1.0={file}"])
    assert named.weights == {"mobilenet-1.0": (str(file),)}
    with pytest.raises(UsageError, match="which model"):
        suite(given=two, weights=[str(file)])
    with pytest.raises(UsageError, match="not a file"):
        suite(weights=["mobilenet-1.0=/nowhere.pth"])
    with pytest.raises(UsageError, match="is not measured"):
        suite_checks.check_models(suite(weights=[f"mobilenet-1.0={file}"]))


def test_an_unknown_model_is_refused_before_anything_else():
    with pytest.raises(UsageError, match="did you mean"):
        suite_checks.check_models(suite(given={"models": ["shuflenet-g3-0.5x"]}))


def test_a_folder_that_cannot_be_written_is_refused_and_none_is_left_behind(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/here")):
        with pytest.raises(UsageError, match="--out"):
            preflight.writable_folder("--out", wrong)
    preflight.writable_folder("--out", tmp_path / "new" / "deep", ["table.md"])
    (tmp_path / "there" / "table.md").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"table\.md is a folder there"):
        preflight.writable_folder("--out", tmp_path / "there", ["table.md"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("kept")
    preflight.writable_file("--out", tmp_path / "file", "table.md")
    preflight.writable_file("--out", tmp_path / "new" / "file", "table.md")
    with pytest.raises(UsageError, match=f"--out {tmp_path} is a folder: name a file, such as"):
        preflight.writable_file("--out", tmp_path, "table.md")
    with pytest.raises(UsageError, match="is a file; choose another"):
        preflight.writable_file("--out", tmp_path / "file" / "below", "table.md")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_to_read_must_be_one(tmp_path):
    (tmp_path / "file").write_text("")
    preflight.readable_folder("--calib", tmp_path, "images")
    with pytest.raises(
        UsageError, match=r"--calib .*file is no folder: give one that holds images"
    ):
        preflight.readable_folder("--calib", tmp_path / "file", "images")
    with pytest.raises(UsageError, match=r"--calib .*none is no folder"):
        preflight.readable_folder("--calib", tmp_path / "none", "images")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"resolutions": ["32x32"]},
            r"32x32 is too small for alexnet, the baseline: .* 63x63 .*: --baseline none$",
        ),
        (
            {"resolutions": ["224x224", "300x20"], "baseline": None, "models": ["alexnet"]},
            r"300x20 is too small for alexnet: .* choose 63x63 or more, or leave alexnet out$",
        ),
    ],
)
def test_images_too_small_for_a_network_are_refused_by_its_name(fields, told):
    with pytest.raises(UsageError, match=told):
        preflight.resolutions(suite(given=fields))
    preflight.resolutions(suite(given={"resolutions": ["32x32"], "baseline": "none"}))


def test_a_network_of_one_s_own_takes_small_images_by_its_card():
    fields = {"models": [str(digits.CARD)], "baseline": "none", "resolutions": ["32x32"]}
    preflight.resolutions(suite_checks.check_models(suite(given=fields)))


BEFORE = {
    "models": ["shufflenet-g3-0.5x"],
    "resolutions": ["224x224"],
    "spec": {"warmup_runs": 5, "processes": 3},
}


@pytest.mark.parametrize(
    ("given", "spec", "option"),
    [
        ({"threads": [1, 4]}, {}, "--threads 1,4"),
        ({"models": ["alexnet"]}, {}, "--model alexnet"),
        ({"runtimes": ["litert"]}, {}, "--runtime litert"),
        ({"precisions": ["int8"]}, {}, "--precision int8"),
        ({"resolutions": ["32x32"]}, {}, "--resolution 32x32"),
        ({"lowerings": ["paper"]}, {}, "--lowering paper"),
        ({"baseline": "none"}, {}, "--baseline none"),
        ({"alexnet_head": "dense"}, {}, "--alexnet-head dense"),
        ({"head": "none"}, {}, "--head none"),
        ({"calibration": "/x"}, {}, "--calib /x"),
        ({"payload": "wheels"}, {}, "--payload wheels"),
        ({"governor": "performance"}, {}, "--governor performance"),
        ({"cores": "big"}, {}, "--cpus big"),
        ({}, {"cpus": [0, 1]}, "--cpus 0,1"),
        ({}, {"metric": "instructions"}, "--metric instructions"),
        ({}, options.warmup_limits("2s"), "--warmup 1"),
        ({}, {"min_runs": 99}, "--min-runs 99"),
        ({}, {"min_secs": 9.0}, "--min-secs 9.0"),
        ({}, {"max_secs": 9.0}, "--max-secs 9.0"),
    ],
)
def test_resume_refuses_by_name_what_would_change_the_samples(given, spec, option):
    known = suite(BEFORE, fresh=False)
    wanted = suite(BEFORE, given, spec, fresh=False)
    with pytest.raises(UsageError, match=f"^{option}: the suite one measures with ") as refused:
        resume.check("one", known, wanted)
    assert f"leave {option.split()[0]} out" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "spec"),
    [
        ({}, {"processes": 5}),
        ({}, {"cooldown_secs": 3.0, "timeout_secs": 9.0}),
        ({"precision_target": "2%", "max_processes": 9, "retries": 0}, {}),
        ({"profile": True, "sustained_secs": 60.0, "benchmark_model": "/x"}, {}),
        ({"max_temperature_c": 60.0}, {}),
        # Options equal to those the suite already has.
        ({"models": ["shufflenet-g3-0.5x"], "baseline": "alexnet"}, {"warmup_runs": 5}),
    ],
)
def test_resume_takes_what_goes_on_longer_or_at_another_pace(given, spec):
    resume.check("one", suite(BEFORE, fresh=False), suite(BEFORE, given, spec, fresh=False))


def test_every_field_of_a_suite_is_either_kept_or_extended():
    extended = {"precision_target", "max_processes", "retries", "max_temperature_c", "profile"}
    extended |= {
        "sustained_secs",
        "rate_hz",
        "end_to_end",
        "benchmark_model",
        "benchmark_model_args",
    }
    unreachable = {"name", "title", "seed", "spec"}
    of_files = {"shapes"}
    assert set(Suite.model_fields) == {*resume.KEPT, *extended, *unreachable}
    assert set(BenchmarkSpec.model_fields) == {
        *(*resume.KEPT_OF_SPEC, *SCHEDULE, "threads"),
        *of_files,
    }


def test_a_suite_is_resumed_where_it_was_measured():
    resume.check_host("one", "pi", None)
    resume.check_host("one", "pi", "pi")
    with pytest.raises(UsageError, match="--host pi5: the suite one is measured on pi;"):
        resume.check_host("one", "pi", "pi5")


def test_an_imported_suite_cannot_be_resumed():
    with pytest.raises(UsageError, match="imported"):
        options.definition_of("", "one")


@pytest.mark.parametrize(
    ("text", "secs"), [("10m", 600), ("90s", 90), ("1h", 3600), ("0.5 min", 30), (None, None)]
)
def test_how_long_models_take_turns(text, secs):
    assert options.duration_secs(text) == secs


@pytest.mark.parametrize("text", ["", "10", "m", "-5s", "0s", "ten minutes"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match="--sustained"):
        options.duration_secs(text)


def test_a_program_to_push_must_be_one(tmp_path):
    path = tmp_path / "benchmark_model"
    with pytest.raises(UsageError, match="is not a file"):
        options.program(path)
    path.write_text("")
    with pytest.raises(UsageError, match="chmod"):
        options.program(path)
    path.chmod(0o755)
    assert options.program(path) == str(path)
    assert options.program(None) is None


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"sustained_secs": 60, "spec": {"metric": "instructions"}}, "--sustained measures time"),
        ({"benchmark_model": "/x", "runtimes": ["onnxruntime"]}, "add --runtime litert"),
        ({"benchmark_model_args": ["--use_gpu=true"]}, "add --benchmark-model FILE"),
        (
            {"benchmark_model": "/x", "benchmark_model_args": ["--num_threads=2"]},
            "bench sets it from its own options",
        ),
        (
            {"benchmark_model": "/x", "runtimes": ["litert"], "spec": {"metric": "instructions"}},
            "--benchmark-model measures time",
        ),
    ],
)
def test_what_cannot_be_measured_besides_runs_is_refused_first(fields, told):
    given = Suite.of({"models": ["alexnet"], "resolutions": ["64"], **fields}, source="test")
    with pytest.raises(UsageError, match=told):
        suite_checks.check_extras(given)


def test_an_argument_of_benchmark_model_is_one():
    for wrong in ("use_gpu", "-x", "--", "--a\n=b"):
        with pytest.raises(UsageError, match=r"^--benchmark-model-arg"):
            suite({}, {"benchmark_model_args": [wrong]})


def test_a_governor_is_a_word_of_the_kernel_s():
    with pytest.raises(UsageError, match="governor"):
        Suite.of(
            {"models": ["alexnet"], "resolutions": ["64"], "governor": "x; reboot"}, source="test"
        )


def test_a_log_says_what_is_waited_for_and_how_long_at_most(capsys):
    with BenchProgress() as progress:
        for waited_secs in range(0, 130, 5):
            progress.show(
                Hot(now_c=71.5, limit_c=60.0, waited_secs=float(waited_secs), longest_secs=600.0)
            )
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"71.5 °C, waiting for 60 °C ({waited_secs} s, at most 600 s)"
        for waited_secs in (0, 60, 120)
    ]
