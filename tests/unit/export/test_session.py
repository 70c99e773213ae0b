"""A session of exports keeps the last of everything; another session knows nothing of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from shufflenet_deploy import zoo
from shufflenet_deploy.export import ExportSession
from shufflenet_deploy.export.onnx import fp32
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import Resolution

SMALL, LARGE = Resolution(height=32, width=32), Resolution(height=64, width=64)


@pytest.fixture
def made(monkeypatch):
    """The names of what is loaded, converted and calibrated, in order."""
    seen = []

    def noting(name, result):
        def make(*args, **kwargs):
            seen.append(name)
            return result()

        return make

    monkeypatch.setattr(
        zoo, "load", noting("load", lambda: SimpleNamespace(module=object(), channels=3))
    )
    monkeypatch.setattr(fp32, "convert", noting("convert", lambda: {"weights": np.zeros(2)}))
    monkeypatch.setattr(calibration, "calibrate", noting("calibrate", object))
    return seen


def load(session, seed=0):
    return session.model("shufflenet-g3-0.25x", weights=None, seed=seed, head="fixed")


def job(model, method="minmax", stamps=("a",)):
    return SimpleNamespace(
        model=model,
        request=SimpleNamespace(resolution=SMALL),
        recipe=SimpleNamespace(method=method, equalised=False),
        images=SimpleNamespace(stamps=lambda: stamps),
        calibrating=lambda: "calibrating",
        report=lambda _: None,
    )


def test_the_last_model_is_kept(made):
    session = ExportSession()
    assert load(session) is load(session)
    assert load(session, seed=1) is not load(session)
    assert made == ["load"] * 3
    load(ExportSession())
    assert made == ["load"] * 4


def test_the_last_conversion_is_kept_and_handed_out_as_a_copy(made):
    session = ExportSession()
    model = load(session)
    first = session.onnx(model, SMALL)
    first["weights"][:] = 1
    assert not session.onnx(model, SMALL)["weights"].any()
    session.onnx(model, LARGE)
    assert made == ["load", "convert", "convert"]


def test_the_last_ranges_are_kept_by_images_and_method(made):
    session = ExportSession()
    model = load(session)
    kept = session.ranges(job(model), None)
    assert session.ranges(job(model), None) is kept
    assert session.ranges(job(model, method="entropy"), None) is not kept
    assert session.ranges(job(model, stamps=("b",)), None) is not kept
    assert made.count("calibrate") == 3
