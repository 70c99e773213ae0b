"""Programs that end, do not end in time, or are not there."""

from __future__ import annotations

import sys

import pytest

from shufflenet_deploy.errors import DeployError
from shufflenet_deploy.programs import run_to_end

LATE = DeployError("too late")


def test_what_it_printed_is_text_and_it_reads_nothing() -> None:
    code = "import sys; sys.stdout.buffer.write(b'a\\xff'); sys.exit(3 + len(sys.stdin.read()))"
    done = run_to_end([sys.executable, "-c", code], limit_secs=60, late=LATE)
    assert (done.returncode, done.stdout) == (3, "a\ufffd")


def test_the_error_of_the_caller_is_raised_when_it_takes_too_long() -> None:
    with pytest.raises(DeployError, match="too late"):
        run_to_end(["sleep", "60"], limit_secs=0.1, late=LATE)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        run_to_end(["no-such-program-at-all"], limit_secs=1, late=LATE)
