"""Exports that share a session load, convert and calibrate once; others know nothing of it."""

from __future__ import annotations

import pytest

from shufflenet_deploy import zoo
from shufflenet_deploy.export import ExportRequest, ExportSession, export
from shufflenet_deploy.export.onnx import fp32
from shufflenet_deploy.network.quantization import calibration
from shufflenet_deploy.records import Resolution


@pytest.fixture
def calls(monkeypatch):
    """The names of what is loaded, converted and calibrated, as it happens."""
    seen = []

    def noting(module, name):
        original = getattr(module, name)

        def noted(*args, **kwargs):
            seen.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, noted)

    noting(zoo, "load")
    noting(fp32, "convert")
    noting(calibration, "calibrate")
    return seen


def test_files_of_one_model_share_it(calls, tmp_path):
    def request(file_format, precision, seed=0):
        return ExportRequest(
            model="shufflenet-g3-0.25x",
            format=file_format,
            precision=precision,
            resolution=Resolution(height=32, width=32),
            remedies="none",
            seed=seed,
            out=tmp_path,
        )

    session = ExportSession()
    first = export(request("onnx", "fp32"), session=session)
    assert calls == ["load", "convert"]
    export(request("tflite", "int8"), session=session)
    assert calls == ["load", "convert", "calibrate"]
    export(request("onnx", "int8"), session=session)
    assert calls.count("load") == calls.count("convert") == 1
    # Another seed is another model; and without the session nothing is known.
    export(request("onnx", "fp32", seed=1), session=session)
    assert calls.count("load") == calls.count("convert") == 2
    first.path.unlink()
    again = export(request("onnx", "fp32"))
    assert calls.count("load") == calls.count("convert") == 3
    assert again.sha256 == first.sha256
