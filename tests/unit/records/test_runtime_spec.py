"""A runtime with an optional version: the one parser of its text, and the text again."""

from __future__ import annotations

import pytest

from shufflenet_deploy.records import RuntimeSpec


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("onnxruntime", "onnxruntime", None),
        ("onnxruntime==1.30", "onnxruntime", "1.30"),
        ("tflite-runtime==2.14.0", "tflite-runtime", "2.14.0"),
        ("native", "native", None),
        # Texts of a stranger's journal are parsed too, whatever they hold.
        ("", "", None),
        ("litert==", "litert", ""),
        ("a==b==c", "a", "b==c"),
    ],
)
def test_a_runtime_is_parsed_and_printed_unchanged(text, name, version):
    spec = RuntimeSpec.parse(text)
    assert (spec.name, spec.version) == (name, version)
    assert str(spec) == text


def test_versions_are_part_of_the_key():
    assert len({RuntimeSpec.parse("litert"), RuntimeSpec.parse("litert==2.1")}) == 2
