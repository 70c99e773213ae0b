"""The options of ``bench``: every text that is accepted, and the line for every one that is not."""

from __future__ import annotations

import pytest

from shufflenet_deploy.bench import Hot, Suite
from shufflenet_deploy.bench.suite import distinct_labels
from shufflenet_deploy.cli import bench_options as options
from shufflenet_deploy.cli import lists
from shufflenet_deploy.cli.progress import BenchProgress
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.records import Metric


def test_lists_take_commas_and_repetition():
    assert lists.listed(["a,b", " c ", "a"]) == ["a", "b", "c"]
    assert lists.listed("a, b") == ["a", "b"]
    assert lists.listed(None) == []
    assert options.whole_numbers(["1,4"]) == [1, 4]
    assert options.whole_numbers(None) is None
    with pytest.raises(UsageError, match="an empty list was given"):
        lists.listed([" ,"])


def test_precisions_are_checked_and_left_as_they_are_asked_for():
    assert lists.precisions(["all"]) == ["all"]
    assert lists.precisions(["int8,fp16"]) == ["int8", "fp16"]
    assert lists.precisions(None) == []
    with pytest.raises(UsageError, match="'int4' is unknown: choose from fp32, fp16, int8, all"):
        lists.precisions(["fp32", "int4"])


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
        options.check_models(suite(weights=[f"mobilenet-1.0={file}"]))


def test_an_unknown_model_is_refused_before_anything_else():
    with pytest.raises(UsageError, match="did you mean"):
        options.check_models(suite(given={"models": ["shuflenet-g3-0.5x"]}))


def test_a_folder_that_cannot_be_written_is_refused_before_measuring(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--out"):
        options.check_folder(tmp_path / "file")
    options.check_folder(tmp_path / "new" / "deep")
    assert (tmp_path / "new" / "deep").is_dir()


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
        (
            {"benchmark_model": "/x", "runtimes": ["litert"], "spec": {"metric": "instructions"}},
            "--benchmark-model measures time",
        ),
    ],
)
def test_what_cannot_be_measured_besides_runs_is_refused_first(fields, told):
    given = Suite.of({"models": ["alexnet"], "resolutions": ["64"], **fields}, source="test")
    with pytest.raises(UsageError, match=told):
        options.check_extras(given)


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
