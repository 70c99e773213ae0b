"""Images end to end: the script on this machine, a bench over it, and what is shown."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from agent_on_disk import AGENT

from shufflenet_deploy import bench, transport
from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bench import Suite
from shufflenet_deploy.bench.pipeline import Images
from shufflenet_deploy.cli import supplementary
from shufflenet_deploy.errors import ParseError, UsageError
from shufflenet_deploy.export import image_set, manifest
from shufflenet_deploy.journal import Journal
from shufflenet_deploy.network.metadata import Metadata
from shufflenet_deploy.records import Failure, Pipeline, Resolution
from shufflenet_deploy.report import pipelines
from shufflenet_deploy.report.html import html
from shufflenet_deploy.report.table import Table
from shufflenet_deploy.runtime import pipeline
from shufflenet_deploy.target import Target
from shufflenet_deploy.zoo import Preprocessing

SCRIPT = resource("device_scripts", "pipeline.py")
PHOTOS = sorted(resource("export", "images").glob("*.jpg"))[:2]
QUICK = ("--warmup-runs", "1", "--warmup-secs", "0", "--min-runs", "5", "--min-secs", "0")


def metadata(size=32, **changes):
    fields = {
        "model": "tiny",
        "trained": False,
        "input_layout": "NCHW",
        "input_height": size,
        "input_width": size,
        "channel_order": "RGB",
        "value_range": (0, 1),
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
        "crop_fraction": 0.875,
    }
    return Metadata.model_validate({**fields, **changes})


def script(*words, size=32, status=0):
    recipe = metadata(size).model_dump_json()
    images = [word for path in PHOTOS for word in ("--image", path)]
    own = ("--agent", AGENT, "--recipe", recipe, *images)
    argv = [sys.executable, SCRIPT, *own, *words, *QUICK]
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stderr
    return pipeline.parse(done.stdout, images=len(PHOTOS))


@pytest.fixture(scope="module")
def module():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("pipeline_script", SCRIPT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("order", ["RGB", "BGR", "L"])
def test_images_become_the_inputs_that_files_are_validated_with(module, path, order):
    recipe = metadata(48, channel_order=order, input_width=40)
    made = module.Recipe(recipe.model_dump(mode="json"))
    found = made.normalise(made.resize(module.decode(path.read_bytes())))
    preprocessing = Preprocessing(
        channel_order=order, value_range=(0, 1), mean=recipe.mean, std=recipe.std
    )
    read = image_set.read(path, Resolution(height=48, width=40), crop_share=0.875)
    np.testing.assert_array_equal(found, image_set.prepare(read, preprocessing))
    last = module.Recipe({**recipe.model_dump(mode="json"), "input_layout": "NHWC"}).normalise(
        made.resize(module.decode(path.read_bytes()))
    )
    np.testing.assert_array_equal(last, found.transpose(0, 2, 3, 1))


def test_the_best_classes_come_first(module):
    assert module.top_classes(np.array([[1, 5, 3, 2, 9, 4, 0]])) == [4, 1, 5, 2, 3]
    assert module.top_classes(np.array([2.0, 3.0])) == [1, 0]


def test_every_stage_is_timed_for_every_image(tiny_onnx):
    log = script("--runtime", "onnxruntime", "--model", tiny_onnx)
    assert tuple(log.stages) == pipeline.STAGES
    assert len(log.total) == 5
    sums = [sum(one) for one in zip(*log.stages.values(), strict=True)]
    assert sums == list(log.total)
    assert set(log.stages["pipe"]) == {0}
    assert all(len(one) == 5 for one in log.top)


NET_H = """
#define NET_NAME "stub"
#define NET_MACHINE "any"
#define NET_INPUT_SHAPE 1, 3, 32, 32
#define NET_OUTPUT_SHAPE 1, 8
#define NET_MOST_PARTS 1
static const unsigned net_input_floats = 3072, net_output_floats = 8, net_layer_count = 0;
static const struct net_layer { const char *name, *step; } net_layers[1];
static void (*net_probe)(int layer);
static int net_init(const void *weights) { (void)weights; return 0; }
static void net_run(const float *input, float *output)
{
    for (int i = 0; i < 8; ++i)
        output[i] = input[i] * (float)(i % 3) + input[3071 - i];
}
"""
POOL_C = """
#include "thread_pool.h"
int pool_start(int threads) { return threads; }
void pool_run(const float *input, float *output, void (*done)(int layer)) {
    (void)input; (void)output; (void)done;
}
void pool_run_by_turns(int parts, const float *input, float *output) {
    (void)parts; (void)input; (void)output;
}
void pool_end(void) {}
"""


def test_a_native_program_goes_the_same_way(module, tmp_path):
    import shufflenet_deploy.codegen as code  # noqa: PLC0415

    place = tmp_path / "harness"
    shutil.copytree(f"{code.__path__[0]}/harness", place)
    (tmp_path / "net.h").write_text(NET_H)
    (tmp_path / "pool.c").write_text(POOL_C)
    program = tmp_path / "stub.native"
    words = ("-O1", "-w", "-I", tmp_path, "-I", place, place / "main.c", tmp_path / "pool.c")
    subprocess.run(["gcc", *map(str, words), "-lm", "-o", str(program)], check=True)
    log = script("--runtime", "native", "--model", program)
    assert all(
        0 < call < pipe for call, pipe in zip(log.stages["infer"], log.stages["pipe"], strict=True)
    )
    made = module.Recipe(metadata().model_dump(mode="json"))
    for path, top in zip(PHOTOS, log.top, strict=True):
        image = made.normalise(made.resize(module.decode(path.read_bytes()))).ravel()
        output = [image[i] * np.float32(i % 3) + image[3071 - i] for i in range(8)]
        assert list(top) == module.top_classes(np.array(output))


def test_failures_are_explained(tmp_path, tiny_onnx):
    found = script("--runtime", "onnxruntime", "--model", tmp_path / "none.onnx", status=1)
    assert isinstance(found, Failure)
    assert "is not a file" in found.message
    found = script("--runtime", "native", "--model", tiny_onnx, status=1)
    assert isinstance(found, Failure)
    with pytest.raises(ParseError):
        pipeline.parse(json.dumps({"schema": 1, "program": "x", "stages": {}}), images=1)


# --- a bench -------------------------------------------------------------------------------------


@pytest.fixture
def artifact_of(tiny_onnx, record_of, tmp_path):
    """A file with its manifest, as an export leaves it."""
    path = shutil.copy(tiny_onnx, tmp_path / "tiny.onnx")

    def find(cell):
        artifact = record_of(path, cell)
        manifest.write(artifact, "key", metadata())
        return artifact

    return find


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in PHOTOS:
        shutil.copy(path, folder)
    (folder / "notes.txt").write_text("no image")
    return folder


def suite(photos, **changes):
    spec = {"warmup-runs": 1, "warmup-secs": 0, "min-runs": 4, "min-secs": 0, "processes": 2}
    fields = {"models": ["tiny"], "resolutions": ["32x32"], "baseline": None, "retries": 0}
    return Suite.of({**fields, "end-to-end": str(photos), **changes, "spec": spec}, source="test")


def test_a_bench_takes_images_through_each_cell_and_goes_on_where_it_was(
    local_target, artifact_of, photos, tmp_path
):
    with Journal(tmp_path / "journal.sqlite") as journal:
        for _ in range(2):
            runs = list(
                bench.run(suite(photos), local_target, journal, artifact_of, suite_id="one")
            )
        found = journal.observations("one")
        lines = list(journal.export_lines("one"))
        with Journal(tmp_path / "other.sqlite") as other:
            assert other.import_lines(lines, "there") == (len(lines), 0)
            assert other.observations("one") == found
        measured = journal.runs("one")
    assert [(one.kind, one.process) for one in found] == [("pipeline", 1), ("pipeline", 2)]
    for one in found:
        assert isinstance(one, Pipeline)
        assert (one.failure, one.images, len(one.top)) == (None, 2, 2)
    text = pipelines.summary(found)
    shown = (*(name for name in pipeline.STAGES if name != "pipe"), "together", "per s")
    assert [name for name in shown if name not in text] == []
    assert "pipe" not in text
    page = html(Table.from_runs(runs or measured, baseline=""), parts=pipelines.part(found))
    assert "Images end to end" in page
    described = supplementary.described(found[0], measured)
    assert described["samples"] == 4
    assert set(described["stage_ns"]) == set(pipeline.STAGES)
    assert supplementary.newest(found) == found


def test_a_file_that_does_not_say_its_input_is_a_failure_of_its_own(
    local_target, tiny_onnx, record_of, photos, tmp_path
):
    with Journal(tmp_path / "journal.sqlite") as journal:
        list(
            bench.run(
                *(suite(photos), local_target, journal, lambda cell: record_of(tiny_onnx, cell)),
                suite_id="one",
            )
        )
        (one,) = journal.observations("one")
    assert "does not say how an image becomes its input" in one.failure.message
    assert "failed: tiny.onnx does not say" in pipelines.summary([one])


def test_images_must_be_there(tmp_path, photos):
    assert [path.name for path in Images.of(photos).paths] == [path.name for path in PHOTOS]
    assert Images.of(PHOTOS[0]).sha256 != Images.of(photos).sha256
    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong in (empty, tmp_path / "missing"):
        with pytest.raises(UsageError, match="--end-to-end"):
            Images.of(wrong)


def test_everything_beside_the_table_works_over_ssh(sshd, artifact_of, photos, tmp_path):
    class Near(Target):
        def environment(self, payload, **kwargs):
            """This machine's Python, which has the runtimes."""
            with transport.connect("local") as here:
                return Target(here).environment(payload, **kwargs)

    wanted = suite(photos, **{"rate-hz": 100})
    spec = wanted.spec.model_copy(update={"processes": 1, "energy": True, "background_load": 1})
    wanted = wanted.model_copy(update={"spec": spec})
    with Journal(tmp_path / "journal.sqlite") as journal, transport.connect(sshd.settings) as link:
        target = Near(link, root=str(tmp_path / "ours"))
        (run,) = bench.run(wanted, target, journal, artifact_of, suite_id="one")
        found = journal.observations("one")
    assert run.outcome.energy.sensors or run.outcome.energy.reason
    assert run.outcome.background_busy_cores is not None
    assert [(one.kind, one.failure) for one in found] == [("paced", None), ("pipeline", None)]
    assert found[0].energy is not None
    assert len(found[0].latency) == len(found[1].total) == 4
