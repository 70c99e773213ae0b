"""Reading what machines of several kinds print when asked what they are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from shufflenet_deploy.codegen import CPU_TARGETS
from shufflenet_deploy.errors import ParseError
from shufflenet_deploy.target.facts import (
    INTERPRETER_PROGRAM,
    PYTHON_NAMES,
    SCRIPT,
    free_bytes,
    read_survey,
)

DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30000 9000 20000 32% /\n"


def printed(**sections: str) -> str:
    return "".join(f"\n== {name}\n{text}\n" for name, text in sections.items())


def python(**changes) -> str:
    found = {
        "executable": "/usr/bin/python3",
        "version": "3.11.2",
        "implementation": "cpython",
        "bits": 64,
        "venv": True,
        "libc": "glibc 2.36",
    }
    return json.dumps(found | changes)


def arm_cpuinfo(*parts: tuple[str, str], features: str = "fp asimd asimdhp asimddp crc32") -> str:
    return "\n\n".join(
        f"processor\t: {index}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\n"
        f"CPU implementer\t: {maker}\nCPU architecture: 8\nCPU part\t: {part}\nCPU revision\t: 3"
        for index, (maker, part) in enumerate(parts)
    )


def survey(text: str):
    return read_survey(text, host="pi", transport="ssh")


RASPBERRY_PI_5 = printed(
    machine="aarch64",
    kernel="Linux 6.6.31+rpt-rpi-2712",
    root="/home/pi/.cache/shufflenet-deploy/target",
    os='PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nID=debian',
    board="Raspberry Pi 5 Model B Rev 1.0",
    cores="0 2400000\n1 2400000\n2 2400000\n3 2400000",
    cpuinfo=arm_cpuinfo(*[("0x41", "0xd0b")] * 4)
    + "\n\nRevision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0",
    memory="MemTotal:        8245456 kB",
    disk=DF,
    libc="glibc 2.36",
    python=python(),
)


def test_a_raspberry_pi():
    found = survey(RASPBERRY_PI_5)
    facts = found.facts
    assert (facts.host, facts.transport) == ("pi", "ssh")
    assert (facts.arch, facts.cpu) == ("aarch64", "4x Cortex-A76")
    assert facts.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert facts.os == "Debian GNU/Linux 12 (bookworm)"
    assert facts.kernel == "Linux 6.6.31+rpt-rpi-2712"
    assert [(core.index, core.max_khz, core.part) for core in facts.cores] == [
        (index, 2_400_000, "Cortex-A76") for index in range(4)
    ]
    assert facts.memory_bytes == 8245456 * 1024
    assert facts.free_bytes == 20000 * 1024
    assert facts.libc == "glibc 2.36"
    assert facts.python == "3.11.2"
    assert facts.features == ("asimd", "asimddp", "asimdhp")
    assert found.root == "/home/pi/.cache/shufflenet-deploy/target"
    assert found.python is not None
    assert found.python.executable == "/usr/bin/python3"


def test_a_32_bit_userland_under_a_64_bit_kernel_needs_32_bit_wheels():
    text = RASPBERRY_PI_5.replace(python(), python(bits=32))
    assert survey(text).facts.arch == "armv7l"


def test_big_and_little_cores():
    little, big = ("0x41", "0xd05"), ("0x41", "0xd0b")
    text = printed(
        machine="aarch64",
        cores="0 1800000\n1 1800000\n10 2400000\n2 2400000",
        cpuinfo=arm_cpuinfo(little, little, big),
    )
    facts = survey(text).facts
    assert facts.cpu == "2x Cortex-A55 + 1x Cortex-A76"
    assert [(core.index, core.part) for core in facts.cores] == [
        (0, "Cortex-A55"),
        (1, "Cortex-A55"),
        (2, "Cortex-A76"),
        (10, None),
    ]


def test_features_are_those_of_every_core():
    first = arm_cpuinfo(("0x41", "0xd03"), features="fp asimd")
    second = arm_cpuinfo(("0x41", "0xd0b"), features="fp asimd asimddp i8mm")
    text = printed(cpuinfo=first + "\n\n" + second.replace("processor\t: 0", "processor\t: 1"))
    assert survey(text).facts.features == ("asimd",)


@pytest.mark.parametrize("machine", CPU_TARGETS.values(), ids=CPU_TARGETS)
def test_what_native_programs_need_is_among_the_features(machine):
    """A feature that is not reported could never be found on a target."""
    text = printed(
        cpuinfo=arm_cpuinfo(("0x41", "0xd03"), features=" ".join(machine.required_features))
    )
    assert set(survey(text).facts.features) == machine.required_features


def test_a_part_without_a_name_keeps_its_numbers():
    facts = survey(printed(cpuinfo=arm_cpuinfo(("0x51", "0x001")))).facts
    assert facts.cpu == "1x 0x51/0x001"


def test_x86():
    cpuinfo = (
        "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse4_1 smep avx2 avx512f "
        "avx512_vnni fma amx_int8\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n"
        "flags\t\t: fpu sse4_1 smep avx2 avx512f avx512_vnni fma\n"
    )
    facts = survey(printed(machine="x86_64", cpuinfo=cpuinfo, cores="0 \n1 ")).facts
    assert facts.cpu == "2x AMD EPYC"
    assert facts.features == ("avx2", "avx512_vnni", "avx512f", "fma", "sse4_1")
    assert [core.max_khz for core in facts.cores] == [None, None]


def test_android():
    facts = survey(printed(machine="aarch64", android="14\nPixel 8\nTensor G3", os="")).facts
    assert (facts.os, facts.board) == ("Android 14", "Pixel 8 Tensor G3")


@pytest.mark.parametrize(
    ("reported", "libc"),
    [
        ("glibc 2.31", "glibc 2.31"),
        ("ldd (Debian GLIBC 2.28-10+deb10u2) 2.28\nCopyright (C) 2018", "glibc 2.28"),
        ("ldd (Ubuntu GLIBC 2.35-0ubuntu3.6) 2.35", "glibc 2.35"),
        ("ldd (GNU libc) 2.17", "glibc 2.17"),
        ("musl libc (aarch64)\nVersion 1.2.4\nDynamic Program Loader", "musl 1.2.4"),
        ("/lib/ld-musl-aarch64.so.1", "musl"),
        ("sh: ldd: not found", None),
        ("", None),
    ],
)
def test_c_libraries(reported, libc):
    assert survey(printed(libc=reported)).facts.libc == libc


@pytest.mark.parametrize(
    "text", ["", "Illegal instruction", python(version="3.6.9"), python(version="2.7.18"), "{oops"]
)
def test_a_python_that_will_not_do_is_none(text):
    found = survey(printed(python=text))
    assert found.python is None
    assert found.facts.python is None


def test_a_machine_that_says_nothing():
    facts = survey("").facts
    assert (facts.arch, facts.os, facts.kernel, facts.cpu) == ("unknown",) * 4
    assert facts.cores == ()
    assert facts.memory_bytes is facts.free_bytes is facts.board is facts.libc is None


def test_free_bytes_of_something_else():
    assert free_bytes("df: not found\n") is None


def test_the_script_is_posix_and_runs_here():
    argv = ["sh", "-u", "-c", SCRIPT, "sh", "/nowhere/at/all", INTERPRETER_PROGRAM, sys.executable]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    found = survey(done.stdout)
    assert found.root == "/nowhere/at/all"
    assert found.python is not None
    assert found.python.executable == sys.executable
    assert found.facts.free_bytes is not None


def test_the_interpreter_program_is_old_python():
    compile(INTERPRETER_PROGRAM, "program", "exec", dont_inherit=True)
    assert 'f"' not in INTERPRETER_PROGRAM
    assert PYTHON_NAMES[0] == "python3"


HOSTILE = {
    "cores": "0 " + "9" * 5000 + "\n٣ 1800000\n99999999999999999999 1\n1 2400000",
    "memory": "MemTotal: " + "9" * 30 + " kB",
    "disk": "Filesystem\n/dev/root 1 1 ²² 1% /\n",
    "machine": "aarch64\x1b[31m" + "x" * 5000,
    "board": "Pi\r\nPi 2",
    "libc": "glibc " + "9" * 5000 + ".1",
    "cpuinfo": "processor\t: ²\nCPU part\t: 0xd0b\n\nprocessor: 0\nCPU implementer: 0x" + "f" * 99,
    "os": 'PRETTY_NAME="\x07\x07"',
}


@pytest.mark.parametrize(
    "line",
    [
        "{" * 100_000,
        '{"version": ' + "9" * 5000 + "}",
        python(version=3),
        python(version="9" * 5000),
        python(version="3.11"),
        python(bits=True),
        python(executable=""),
        python(executable="/usr/bin/python3\n"),
        python(more=1),
        "{}",
    ],
)
def test_a_python_that_answers_wrongly_is_none(line):
    assert survey(printed(machine="aarch64", python=line)).python is None


def test_hostile_answers_are_left_out_or_cut():
    facts = survey(printed(**HOSTILE)).facts
    assert [(core.index, core.max_khz) for core in facts.cores] == [(1, 2_400_000)]
    assert (facts.memory_bytes, facts.free_bytes) == (None, None)
    assert len(facts.arch) <= 200
    assert (facts.board, facts.libc, facts.cpu) == ("Pi", None, "unknown")
    assert "\x1b" not in facts.model_dump_json()


def test_a_root_that_is_no_path_is_refused_and_a_long_one_is_kept_whole():
    with pytest.raises(ParseError, match="is no path"):
        survey(printed(machine="aarch64", root="/tmp/a\x1b[31mb"))
    deep = "/tmp" + "/deep" * 100
    assert survey(printed(machine="aarch64", root=deep)).root == deep
