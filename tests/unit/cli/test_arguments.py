"""Messages that quote a wrong value name the option that it was typed after."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import typed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("export --resolution 9by9", "--resolution: '9by9' is not a resolution"),
        ("predict --core a53@x", "--core: 'a53@x': write the clock"),
        ("predict -m alexnet,nosuch", "--model: no model is called 'nosuch'"),
        ("cost --cpu a72,z80", "--cpu: unknown CPU 'z80'"),
        ("cost -r x", "--runtime: 'x' is not a runtime"),
        ("compare a b --threshold x", "--threshold: 'x' is not a threshold"),
        ("tune lowering --processes 4294967296", "--processes 4294967296: must be less than or"),
        ("export -p int4", "--precision 'int4' is unknown"),
        (
            "export --min-cosine 2",
            "Invalid value for '--min-cosine': must be less than",
        ),
        ("table --format x", "Invalid value for '--format': 'x' is not one of"),
        ("board up --smp 0", "--smp: must be greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_by_its_option(words, told, tmp_path: Path):
    own = {"SHUFFLENET_DEPLOY_JOURNAL": str(tmp_path / "journal.sqlite")}
    done = typed(*words.split(), cwd=tmp_path, env=own)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {told}"), done.stderr
