"""Size of the validation set: few images for a large network that an emulator runs."""

from __future__ import annotations

import copy
import subprocess
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
import torch

from shufflenet_deploy import codegen, zoo
from shufflenet_deploy.export import ExportRequest
from shufflenet_deploy.export.image_set import load_image_set
from shufflenet_deploy.export.native import executable
from shufflenet_deploy.export.validation import Validator
from shufflenet_deploy.network.graph import Graph

if TYPE_CHECKING:
    from shufflenet_deploy.codegen.c_file import GeneratedC


SMALL, LARGE = 10**6, 10**10
REQUEST = ExportRequest(model="shufflenet-g8-0.25x", format="native", resolution="32")
GRAPH = Graph(name="g", input="x", outputs=("x",), layers=(), shapes={"x": (3, 32, 32)})
CORE = codegen.host()
FOREIGN = replace(CORE, arch="armv7l" if CORE.arch != "armv7l" else "x86_64")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return zoo.load(REQUEST.model)


class Answering:
    """A file that is what the module is, and counts how often it is asked."""

    inputs = outputs = ()

    def __init__(self, module, *, emulated):
        self.module, self.emulated, self.asked = module, emulated, 0

    def run(self, image):
        self.asked += 1
        with torch.inference_mode():
            return self.module(torch.from_numpy(image)).numpy()


@pytest.mark.parametrize(
    ("emulated", "multiply_adds", "few"),
    [(False, LARGE, False), (True, SMALL, False), (True, LARGE, True)],
)
def test_an_emulator_is_asked_less_of_a_large_network(emulated, multiply_adds, few, model):
    answering = Answering(model.module, emulated=emulated)
    result = Validator(model, REQUEST, load_image_set(None), multiply_adds).validate(answering)
    assert result.passed
    assert result.inputs == answering.asked == (4 if few else 8)


class Rounding(torch.nn.Module):
    """Differences of numbers that are nearly alike, of which float32 keeps a few bits."""

    def __init__(self, module, offset):
        super().__init__()
        self.module, self.offset = module, offset

    def forward(self, x):
        y = self.module(x)
        return (y + self.offset) - self.offset


class InFloat64(Answering):
    """A file that rounds less than the module does, and errs by a share of the largest logit."""

    def __init__(self, module, error=0.0):
        super().__init__(copy.deepcopy(module).double(), emulated=False)
        self.error = error

    def run(self, image):
        found = super().run(image.astype(np.float64))
        found[0, 0] += self.error * np.abs(found).max()
        return found.astype(np.float32)


@pytest.mark.parametrize(
    ("offset", "error", "passes"),
    [(30, 0, True), (1e5, 0, True), (1e5, 0.02, False), (0, 2e-3, False)],
)
def test_a_file_is_not_blamed_for_what_float32_itself_loses(offset, error, passes, model):
    rounding = replace(model, module=Rounding(model.module, offset).eval())
    file = InFloat64(rounding.module, error)
    result = Validator(rounding, REQUEST, load_image_set(None), SMALL).validate(file)
    assert result.passed is passes
    if passes and offset == 1e5:
        assert result.sqnr_db < 60
        assert 40 < result.float32_sqnr_db < 60 + 12
    else:
        assert result.float32_sqnr_db is None


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """``runs(*names)`` is how a program is run, where only so named programs can."""

    def command(path, *_, **__):
        return subprocess.CompletedProcess(path, 0 if path[0].split("/")[-1] in able else 1, "", "")

    able: set[str] = set()
    monkeypatch.setattr(executable, "_run", command)
    monkeypatch.setattr(executable, "compile_c", lambda *_, **__: None)
    monkeypatch.setattr(executable.shutil, "which", lambda name: f"/usr/bin/{name}")

    def made(machine, *names):
        able.update(names)
        stand_in = cast("GeneratedC", SimpleNamespace(cpu=CORE))
        return executable.NativeExecutable(tmp_path / "net", GRAPH, machine, lambda: stand_in)

    return made


def test_a_program_of_this_processor_runs_on_it(runs):
    found = runs(CORE, "net", "qemu-arm", "qemu-x86_64", "qemu-aarch64")
    assert (found.runs_on, found.emulated) == ("this processor", False)
    assert found.inputs[0].shape == (1, 3, 32, 32)


def test_one_of_a_newer_core_than_this_is_emulated(runs):
    emulator = executable._EMULATORS[CORE.arch]
    found = runs(CORE, emulator)
    assert (found.runs_on, found.emulated) == (emulator, True)


def test_one_of_another_architecture_is_emulated(runs):
    emulator = executable._EMULATORS[FOREIGN.arch]
    found = runs(FOREIGN, emulator)
    assert (found.runs_on, found.emulated) == (emulator, True)


def test_one_that_nothing_runs_has_a_stand_in_on_this_processor(runs):
    found = runs(FOREIGN)
    assert (found.runs_on, found.emulated) == (
        f"this processor, generated for {CORE.name}",
        False,
    )


def test_the_hardest_image_is_the_one_with_the_most_noise(model):
    validator = Validator(model, REQUEST, load_image_set(None), SMALL)
    answering = Answering(model.module, emulated=False)
    seen = []

    def run(image):
        seen.append(image)
        return Answering.run(answering, image) + (0.5 if len(seen) == 3 else 0.01)

    answering.run = run
    assert np.array_equal(validator.worst_input(answering), seen[2])
