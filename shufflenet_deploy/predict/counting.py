"""Running a program under QEMU with the plugin, and its counts kept by all that decides them.

A count is a function of the program, what it is told, the core it believes to be on, the caches
that are simulated, the plugin and QEMU: addresses are not randomised, the environment is empty, and
random numbers of the kernel are seeded. What agrees in all of these is not counted again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from shufflenet_deploy.atomic_files import write_whole
from shufflenet_deploy.cores import Core
from shufflenet_deploy.errors import DeployError, ParseError
from shufflenet_deploy.predict.caches import Caches, describe_machine, specification
from shufflenet_deploy.predict.compiling import cache_folder
from shufflenet_deploy.predict.counts import Counts, Turn, turns
from shufflenet_deploy.predict.plugin import Emulator
from shufflenet_deploy.predict.prefetches import visible
from shufflenet_deploy.programs import run_to_end

_T = TypeVar("_T")

#: The system call that native programs and the agent take the time by, with which counting begins
#: and ends.
CLOCK_GETTIME = 113
#: The system call (``getpriority``) before the part of a thread, where one does those of all.
TURNS = 141
_TIMEOUT_SECS = 3600
#: The program's name where it runs: the same wherever its file is, for it lies on its stack.
PROGRAM = "program"
#: Two inferences that agree, one to fill the caches, and the one that counts, however slow the host
#: is: by itself a program ends after half a minute.
_NATIVE_ARGUMENTS = (
    *("--warmup-runs", "0", "--warmup-secs", "0", "--warmup-max-secs", "0"),
    *("--min-runs", "2", "--min-secs", "0", "--max-secs", str(_TIMEOUT_SECS)),
)


@dataclass(frozen=True, kw_only=True)
class Execution:
    """The run of a program that is counted.

    ``argv`` is the program and its arguments in a folder that has ``files`` by these names;
    ``sha256`` names all that decides what it computes. ``marker`` is the system call before and
    after an inference. ``root`` holds the system that it finds, None for programs that bring all.
    ``prefetches_visible``: what runs, and what ``sha256`` is of, is ``prefetches.visible`` of it.
    ``threads`` is how many do an inference, by turns in one thread; ``preloaded`` is the file among
    ``files`` that makes the program do so, empty where it does of itself.
    """

    title: str
    argv: tuple[str, ...]
    files: Mapping[str, Path]
    sha256: str
    environment: Mapping[str, str] = field(default_factory=dict)
    marker: int = CLOCK_GETTIME
    root: Path | None = None
    prefetches_visible: bool = False
    threads: int = 1
    preloaded: str = ""


def native(path: Path, threads: int = 1) -> Execution:
    """The counted run of a program of ``export --fmt native``.

    Raises:
        ParseError: it is no program for 64-bit ARM.
    """
    by_turns = ("--threads", str(threads), "--by-turns") if threads > 1 else ()
    return Execution(
        title=path.name,
        argv=(PROGRAM, *_NATIVE_ARGUMENTS, *by_turns),
        files={PROGRAM: path},
        sha256=hashlib.sha256(visible(path.read_bytes())).hexdigest(),
        prefetches_visible=True,
        threads=threads,
    )


def count(
    execution: Execution,
    core: Core,
    hierarchies: Sequence[Caches],
    emulator: Emulator,
    *,
    recount: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> dict[Caches, Counts]:
    """The counts of one inference for each of several hierarchies of caches, from one run.

    Raises:
        DeployError: the program failed under QEMU, or made no repeated inference.
    """
    return _counted(
        Counts.parse, execution, core, hierarchies, emulator, recount=recount, on_stage=on_stage
    )


def count_turns(
    execution: Execution,
    core: Core,
    hierarchies: Sequence[Caches],
    emulator: Emulator,
    *,
    recount: bool = False,
    on_stage: Callable[[str], None] = lambda _: None,
) -> dict[Caches, list[Turn]]:
    """As ``count``, thread by thread, for executions of several threads."""
    return _counted(
        turns, execution, core, hierarchies, emulator, recount=recount, on_stage=on_stage
    )


def _counted(
    parse: Callable[[str], _T],
    execution: Execution,
    core: Core,
    hierarchies: Sequence[Caches],
    emulator: Emulator,
    *,
    recount: bool,
    on_stage: Callable[[str], None],
) -> dict[Caches, _T]:
    """What the plugin counts for each hierarchy; kept, or of one run for all that are not."""
    found: dict[Caches, _T] = {}
    for caches in dict.fromkeys(hierarchies):
        kept = None if recount else _kept(parse, _path(execution, core, caches, emulator))
        if kept is not None:
            found[caches] = kept
    missing = [one for one in dict.fromkeys(hierarchies) if one not in found]
    if missing:
        on_stage(f"running {execution.title} under QEMU as {core.name}")
        texts, _ = run(execution, core, missing, emulator)
        for caches, text in zip(missing, texts, strict=True):
            found[caches] = parse(text)
            _keep(_path(execution, core, caches, emulator), text)
    return {caches: found[caches] for caches in hierarchies}


def run(
    execution: Execution,
    core: Core,
    hierarchies: Sequence[Caches],
    emulator: Emulator,
    *,
    every: bool = False,
) -> tuple[list[str], str]:
    """The plugin's output for each hierarchy, and the program's own.

    ``every`` has it write all intervals, not the last inference only.

    Raises:
        DeployError: the program failed under QEMU.
    """
    with tempfile.TemporaryDirectory(prefix="predict-") as name:
        folder = Path(name)
        root = folder / "root"
        root.mkdir()
        for path in execution.root.iterdir() if execution.root else ():
            (root / path.name).symlink_to(path.absolute())
        describe_machine(root, core.midr, hierarchies[0], execution.threads)
        for link, path in execution.files.items():
            (folder / link).symlink_to(path.absolute())
        if execution.prefetches_visible:
            _rewrite(folder / execution.argv[0])
        options = ["out=counts", f"marker={execution.marker}", f"every={every:d}"]
        if execution.threads > 1:
            options += [f"threads={execution.threads}", f"turns={TURNS}"]
        options += [f"caches={specification(one)}" for one in hierarchies]
        library = str(emulator.plugin).replace(",", ",,")
        command = [emulator.program, "-L", "root", "-cpu", core.emulated_as, "-seed", "1"]
        if execution.preloaded:
            command += ["-E", f"LD_PRELOAD=./{execution.preloaded}"]
        command += ["-plugin", ",".join([library, *options]), *execution.argv]
        done = _emulated(command, folder, execution.environment)
        if done.returncode:
            raise DeployError(
                f"{execution.title} failed under QEMU as {core.emulated_as}: {_reason(done)}"
            )
        files = [folder / f"counts.{number}" for number in range(len(hierarchies))]
        return [file.read_text(encoding="ascii") for file in files], done.stdout


def _rewrite(link: Path) -> None:
    """Have a copy with visible prefetches where a link to a program was."""
    program = visible(link.read_bytes())
    link.unlink()
    link.write_bytes(program)
    link.chmod(0o700)


def _emulated(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    fixed = shutil.which("setarch")
    prefix = [fixed, "--addr-no-randomize"] if fixed else []
    return run_to_end(
        [*prefix, *command],
        limit_secs=_TIMEOUT_SECS,
        late=DeployError(
            f"the emulated program ran for more than {_TIMEOUT_SECS} s: choose a smaller network"
        ),
        cwd=folder,
        env={"LC_ALL": "C", **environment},
    )


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The reason of a failure: the program's message, its last line on stderr, or its status."""
    try:
        return str(json.loads(done.stdout)["error"]["message"])[:200]
    except (ValueError, KeyError, TypeError):
        lines: Iterable[str] = filter(None, map(str.strip, done.stderr.splitlines()))
        return (list(lines) or [f"status {done.returncode}"])[-1][:200]


def _path(execution: Execution, core: Core, caches: Caches, emulator: Emulator) -> Path:
    decides = [execution.sha256, *execution.argv, str(execution.marker)]
    if execution.threads > 1:
        decides += [f"{execution.threads} threads", execution.preloaded]
    decides += [f"{name}={value}" for name, value in sorted(execution.environment.items())]
    decides += [core.emulated_as, f"{core.midr:#x}", specification(caches), emulator.identity]
    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    return cache_folder("counts") / f"{digest}.gz"


def _kept(parse: Callable[[str], _T], path: Path) -> _T | None:
    """Counts of an earlier run; what cannot be read was never counted."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as stream:
            return parse(stream.read())
    except (OSError, EOFError, ValueError, ParseError):
        return None


def _keep(path: Path, text: str) -> None:
    """Keep counts. A folder that cannot be written only makes the next time slower."""
    with suppress(OSError, DeployError):
        write_whole(path, gzip.compress(text.encode("ascii"), mtime=0))
