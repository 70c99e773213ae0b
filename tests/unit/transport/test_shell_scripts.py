"""Quoting, and reading a program's streams behind what its login files print."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.transport.base import CommandResult
from shufflenet_deploy.transport.shell_scripts import Announced, Launch, assignments, quote

ARGUMENTS = st.lists(
    st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20),
    min_size=1,
    max_size=5,
)
SHELLS = [shell for shell in ("sh", "bash", "dash", "fish") if shutil.which(shell)]


@settings(max_examples=25, deadline=None)
@given(ARGUMENTS)
def test_every_shell_hands_arguments_on_unchanged(arguments):
    line = " ".join(map(quote, ["printf", r"%s\0", *arguments]))
    wanted = b"".join(argument.encode() + b"\0" for argument in arguments)
    for shell in SHELLS:
        assert subprocess.check_output([shell, "-c", f"exec {line}"]) == wanted, shell


def test_nul_and_bad_names_are_refused():
    with pytest.raises(UsageError, match="NUL"):
        quote("a\0b")
    for name in ("", "1A", "A-B", "A B", "A=B"):
        with pytest.raises(UsageError, match="environment variable"):
            assignments({name: "x"})


def test_streams_begin_behind_the_announcement():
    launch = Launch(b"", b"pid-x")
    got = bytearray()
    stream = Announced(launch, got.extend)
    for byte in b"Welcome!\nno newlinepid-x 4711\nfirst\npid-x 5\n":
        stream.feed(bytes([byte]))
    assert stream.pid == 4711
    assert bytes(got) == b"first\npid-x 5\n"
    assert stream.login_complaint == ""


def test_without_an_announcement_there_is_no_program():
    stream = Announced(Launch(b"", b"pid-x"), bytearray().extend)
    stream.feed(b"This account is\nnot available.\n")
    assert stream.pid is None
    assert stream.login_complaint == "This account is not available."


@pytest.mark.parametrize(
    ("code", "stderr", "complaint"),
    [
        (1, b"first\nlast \n", "last"),
        (3, b"", "status 3"),
        (139, b"", "killed by signal 11"),
    ],
)
def test_a_result_in_one_line(code, stderr, complaint):
    result = CommandResult(argv=("x",), exit_code=code, stdout=b"", stderr=stderr, duration_secs=0)
    assert result.complaint == complaint
