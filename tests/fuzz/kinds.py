"""The kinds of hostile input, one function each: True where it was accepted, False where refused.

Whatever else it does is a fault; so is a secret that is shown. A kind sends what an outsider could
(a board, a journal, a file, a URL, a command line) through the code that reads it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import typer
from hostile_values import (
    FLOATS,
    INTEGERS,
    SECRET,
    TEXTS,
    json_value,
    mutated_json,
    mutated_text,
    written,
)

TESTS = Path(__file__).parents[1]
if str(TESTS / "builders") not in sys.path:
    sys.path.append(str(TESTS / "builders"))

import network_files  # noqa: E402 - uses builders of the other tests
import sample_runs  # noqa: E402 - a builder of the other tests

from shufflenet_deploy import cli, runtime  # noqa: E402
from shufflenet_deploy.accuracy import labels  # noqa: E402
from shufflenet_deploy.bench import Suite, preflight, preflight_probe  # noqa: E402
from shufflenet_deploy.cost.baseline import CostBaseline  # noqa: E402
from shufflenet_deploy.errors import DeployError, UsageError  # noqa: E402
from shufflenet_deploy.export import manifest  # noqa: E402
from shufflenet_deploy.export.tuning_table import TuningTable  # noqa: E402
from shufflenet_deploy.journal import Journal  # noqa: E402
from shufflenet_deploy.records import Run  # noqa: E402
from shufflenet_deploy.runtime import agent_protocol, benchmark_model, sustained  # noqa: E402
from shufflenet_deploy.target.environment import missing_from  # noqa: E402
from shufflenet_deploy.target.facts import read_survey  # noqa: E402
from shufflenet_deploy.target.health import HealthProbe, read_health  # noqa: E402
from shufflenet_deploy.target.lock import describe  # noqa: E402
from shufflenet_deploy.target.sensors import SensorReading, read_sensors  # noqa: E402

CORPUS = Path(__file__).parent / "corpus"
LOGS = TESTS / "unit" / "bench" / "logs"

#: Files that never end, or are none, or cannot be named.
ODD_FILES = ("/dev/zero", "/dev/urandom", "/dev/full", "/proc/self/mem", "/", "/dev/null", "fifo")


class Fault(Exception):
    """A trial that ended in none of the ways that it may."""


def isolate(folder: Path) -> None:
    """Keep all that a command reads and writes by itself in ``folder``, and its work undone."""
    for name in list(os.environ):
        if name.startswith(("SHUFFLENET_DEPLOY_", "XDG_")):
            del os.environ[name]
    os.environ |= {
        "HOME": str(folder),
        "SHUFFLENET_DEPLOY_JOURNAL": str(folder / "default.sqlite"),
        "COLUMNS": "100",
    }
    os.chdir(folder)
    with contextlib.suppress(FileExistsError):
        os.mkfifo(folder / "fifo")


# --- a board -------------------------------------------------------------------------------------


def _text(name: str) -> str:
    return (CORPUS / name).read_text(encoding="utf-8")


def _read(parse: Callable[[], Any]) -> Any:
    """The result of a reader for a trial; None where it refuses, in one line."""
    try:
        return parse()
    except DeployError as error:
        if "\n" in str(error) or len(str(error)) > 1000:
            raise Fault(f"not one short line: {str(error)[:200]!r}") from error
        return None


def survey(random: Random, _folder: Path) -> bool:
    """The facts that a target reports."""
    found = _read(
        lambda: read_survey(mutated_text(random, _text("survey.txt")), host="pi", transport="ssh")
    )
    if found is None:
        return False
    _stored(target=found.facts)
    for name in ("onnxruntime", "litert", "tflite-runtime"):
        _read(partial(runtime.get(name).payload, found.facts))
    _judged(facts=found.facts)
    return True


def health(random: Random, _folder: Path) -> bool:
    """The health and temperatures that a target reports."""
    state = read_sensors(mutated_text(random, _text("state.txt")))
    _judged(health=read_health(mutated_text(random, _text("health.txt"))), sensors=state)
    _stored(tool={"phone": state.as_json()})
    describe(mutated_text(random, "180 alice@laptop (process 4711)"))
    return True


def _judged(**changes: Any) -> None:
    seen = {
        "facts": sample_runs.PI,
        "sensors": SensorReading(),
        "health": HealthProbe(),
        "plans": {},
    } | changes
    for check in preflight.checks(preflight_probe.Probe(**seen)):
        if "\n" in check.value:
            raise Fault(f"not one line: {check.value!r}")


def proof(random: Random, _folder: Path) -> bool:
    """The distributions that a target's Python reports."""
    payload = runtime.get("onnxruntime").payload(sample_runs.PI)
    told = {"versions": {"onnxruntime": "1.32.0", "numpy": "2.4.6"}, "failed": {}}
    return missing_from(payload, written(mutated_json(random, told))) is None


def agent_log(random: Random, _folder: Path) -> bool:
    """The log of the agent, or of a native program."""
    name = random.choice(sorted(path.name for path in LOGS.glob("*.json")))
    log = json.loads((LOGS / name).read_text(encoding="utf-8"))
    text = written(mutated_json(random, log)) if random.random() < 0.8 else _cut(random, log)
    report = _read(lambda: agent_protocol.parse_log(text))
    if report is None:
        return False
    _stored(
        outcome=report.outcome,
        before=report.before,
        after=report.after,
        profile=report.profile,
        runtime_version=report.runtime_version,
        raw=text[:1000],
    )
    return True


def _cut(random: Random, document: Any) -> str:
    text = json.dumps(document)
    return random.choice(
        (text[: random.randrange(len(text))], text * 2, "\0" + text, text.encode().hex(), "[]", "3")
    )


def sustained_log(random: Random, _folder: Path) -> bool:
    """The log of models that take turns."""
    log = json.loads(_text("sustained.json"))
    return _read(lambda: sustained.parse(written(mutated_json(random, log)), models=2)) is not None


def benchmark_model_log(random: Random, _folder: Path) -> bool:
    """The output of TFLite's own program."""
    text = mutated_text(random, _text("benchmark_model.txt"))
    return _read(lambda: benchmark_model.parse(text)) is not None


def _stored(**changes: Any) -> None:
    """A log that was accepted of a board must be a run that can be stored and read again."""
    run = sample_runs.run(**changes)
    if Run.model_validate_json(run.model_dump_json()) != run:
        raise Fault("a run is not what was stored")


# --- a database ----------------------------------------------------------------------------------


@cache
def _runs() -> list[Run]:
    models = ("shufflenet-g3-0.5x", "alexnet")
    return [
        sample_runs.run(model, process=process, suite=suite, noise=0.01)
        for suite in ("old", "new")
        for process in range(3)
        for model in models
    ]


def _journal(folder: Path) -> Path:
    """A journal of two suites, fresh for each trial."""
    template, path = folder / "template.sqlite", folder / "journal.sqlite"
    if not template.exists():
        with Journal(template) as book:
            for suite in ("old", "new"):
                definition = Suite(
                    models=("shufflenet-g3-0.5x",), resolutions=("224x224",)
                ).model_dump_json()
                book.open_suite(id=suite, name=suite, host="nohost.invalid", definition=definition)
            for run in _runs():
                book.append(run)
            book.append_evaluation(sample_runs.evaluation(_runs()[0].artifact))
        with contextlib.closing(sqlite3.connect(template)) as raw:
            raw.execute("PRAGMA journal_mode=DELETE")
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(template, path)
    return path


def row(random: Random, folder: Path) -> bool:
    """One row of a journal that somebody wrote over."""
    path = _journal(folder)
    table = random.choice(("runs", "runs", "runs", "suites", "evaluations", "journal"))
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA ignore_check_constraints=1")
        columns = [one[1] for one in raw.execute(f"PRAGMA table_info({table})")]
        ids = [one[0] for one in raw.execute(f"SELECT rowid FROM {table}")]
        which = random.choice(ids)
        column = random.choice((*columns, *(["record"] * 8 if "record" in columns else [])))
        value = _column(random, raw, table, which, column)
        with contextlib.suppress(sqlite3.IntegrityError, sqlite3.DataError, OverflowError):
            raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, which))
            raw.commit()
    return _commands(random, path, listed=table != "journal")


def _column(random: Random, raw: Any, table: str, which: int, column: str) -> Any:
    if column == "record" and random.random() < 0.8:
        query = f"SELECT record FROM {table} WHERE rowid = ?"
        record = json.loads(raw.execute(query, (which,)).fetchone()[0])
        return _encodable(written(mutated_json(random, record)))
    return random.choice(
        (
            random.choice(INTEGERS[:8]),
            random.choice(FLOATS),
            _encodable(random.choice(TEXTS)),
            b"\xff\xfe\x00",
            random.randbytes(40),
            _encodable(written(json_value(random))),
        )
    )


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _commands(random: Random, path: Path, *, listed: bool) -> bool:
    """Read a journal by a few commands; ``runs list`` must work whatever one row holds."""
    place = ("--journal", str(path))
    status = command("runs", "list", *place)
    if listed and status != 0:
        raise Fault(f"runs list ended with {status}")
    readers = (
        ("runs", "list", "--json"),
        ("runs", "show", "new"),
        ("runs", "show", "last", "--json"),
        ("table", "--suite", "new"),
        ("table", "--suite", "all", "--format", random.choice(("md", "csv", "json", "latex"))),
        ("compare", "old", "new"),
        ("compare", "old", "new", "--json"),
        ("profile", "last"),
        ("report", "--suite", "new", "--out", "report.html"),
        ("runs", "export", "--out", "exported.jsonl"),
        ("bench", "--resume", "new"),
        ("runs", "delete", "new", "--yes"),
    )
    statuses = [command(*one, *place) for one in random.sample(readers, 3)]
    return not any(statuses)


def imports(random: Random, folder: Path) -> bool:
    """A file of runs from elsewhere."""
    path = _journal(folder)
    with Journal(path) as book:
        lines = [json.loads(line) for line in book.export_lines("new")]
    # Runs of other ids, so that they are looked at and not passed over.
    for number, line in enumerate(lines):
        line["id"] = (
            f"imported{number}" if "kind" not in line or line["kind"] != "suite" else "third"
        )
        if "suite" in line:
            line["suite"] = "third"
    at = random.randrange(len(lines))
    lines[at] = mutated_json(random, lines[at])
    text = "\n".join(written(line) for line in lines)
    if random.random() < 0.2:
        text = mutated_text(random, text)
    file = folder / "incoming.jsonl"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    status = command("runs", "import", str(file), "--journal", str(path))
    command("compare", str(file), "new", "--journal", str(path))
    readers = (
        ("runs", "show", "third"),
        ("table", "--suite", "third"),
        ("compare", "third", "new"),
        ("bench", "--resume", "third"),
    )
    for one in readers if status == 0 else ():
        command(*one, "--journal", str(path))
    return _commands(random, path, listed=True) and status == 0


def location(random: Random, _folder: Path) -> bool:
    """A journal's URL with a password in one of the places where people put it."""
    shape = random.choice(
        (
            "postgresql://u:{s}@127.0.0.1:1/d",
            "postgresql://127.0.0.1:1/d?password={s}",
            "postgresql://u@127.0.0.1:1/d?user=u&password={s}&sslmode=disable",
            "postgresql://u:{s}@127.0.0.1:port/d",
            "postgresql://u:a@{s}@127.0.0.1:1/d",
            "postgresql://u:a/{s}@127.0.0.1:1/d",
            "postgresql://u:a?{s}@127.0.0.1:1/d",
            "postgresql://u:a#{s}@127.0.0.1:1/d",
            "postgresql://u:{s}@[::1/d",
            "postgresql:/u:{s}@127.0.0.1/d",
            "postgresql:u:{s}@127.0.0.1/d",
            "postgres//u:{s}@127.0.0.1/d",
            "u:{s}@127.0.0.1/d",
            "host=127.0.0.1 port=1 password={s}",
            "sqlite:///book.sqlite?password={s}",
            "sqlite:///file:book.sqlite?mode=ro&password={s}&uri=true",
            "sqlite:////proc/nowhere/x?password={s}",
            "nosuchdb://u:{s}@127.0.0.1/d",
            "mysql://u:{s}@127.0.0.1:1/d",
            "postgresql+{s}://127.0.0.1:1/d",
            "book.sqlite?password={s}",
            "./x/book?pwd={s}",
            "https://token:{s}@127.0.0.1/journal",
            "postgresql://127.0.0.1:1/d?options=-c%20{s}",
            "postgresql://u:%00{s}@127.0.0.1:1/d",
            "postgresql://u:{s}\n@127.0.0.1:1/d",
        )
    )
    text = shape.format(s=SECRET)
    if random.random() < 0.4:
        at = random.randrange(len(text))
        while SECRET in text and SECRET not in (changed := _spoiled(random, text, at)):
            at = random.randrange(len(text))
        text = changed
    argv = random.choice(
        (("runs", "list"), ("runs", "list", "--json"), ("table", "--json"), ("runs", "show"))
    )
    shown: list[str] = []
    status = command(*argv, "--journal", text, shown=shown)
    # A file may have any name; what looks like a secret elsewhere is never shown.
    if SECRET in "".join(shown) and not Path(text).exists():
        raise Fault(f"shows a secret of {text!r}: {shown}")
    return status == 0


def _spoiled(random: Random, text: str, at: int) -> str:
    return text[:at] + random.choice(("@", ":", "/", "?", "%", "[", " ", "\\", "", "=")) + text[at:]


# --- files ---------------------------------------------------------------------------------------


def files(random: Random, folder: Path) -> bool:
    """Suites, locks, tuned tables, labels, manifests of any content; files that never end."""
    suffix, read = random.choice(_READERS)
    if random.random() < 0.15:
        path = Path(random.choice(ODD_FILES))
    else:
        path = folder / f"file{suffix}"
        path.write_bytes(_content(random, suffix))
    return _read(lambda: read(path)) is not None


def networks(random: Random, folder: Path) -> bool:
    """Networks of ONNX and Caffe with fields, names and bytes replaced."""
    read = random.choice((network_files.onnx_file, network_files.caffe_files))
    return _read(lambda: read(random, folder)) is not None


def programs(random: Random, folder: Path) -> bool:
    """Programs of torch.export with fields, names and bytes replaced."""
    return _read(lambda: network_files.exported_program(random, folder)) is not None


def _content(random: Random, suffix: str) -> bytes:
    template = _text(f"file{suffix}") if random.random() < 0.7 else ""
    if suffix.endswith(".json") and template:
        text = written(mutated_json(random, json.loads(template)))
    elif template:
        text = mutated_text(random, template)
    else:
        depth = random.choice((70, 1000, 100_000))
        text = random.choice(
            (
                "a = " + "[" * depth + "]" * depth,
                "[" * depth + "]" * depth,
                '{"a":' * depth + "1" + "}" * depth,
                "a" + ".a" * depth + " = 1",
                "[" + "a." * depth + "a]",
                "a = {" + "b = {" * depth + "}" * depth,
                "a = " + "9" * depth,
                "x" * depth * 30,
                "\n" * depth,
                random.choice(TEXTS),
                written(json_value(random)),
            )
        )
    content = text.encode("utf-8", "surrogatepass")
    return content if random.random() < 0.95 else random.randbytes(200) + content


def _manifest_beside(path: Path) -> Any:
    if path.suffix == ".json":
        beside = manifest.path_for(Path("model.onnx"))
        beside.write_bytes(path.read_bytes())
        return manifest.read(Path("model.onnx"))
    return None


def _by_command(*words: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        return command(*(str(path) if word == "FILE" else word for word in words)) == 0 or None

    return read


_READERS: tuple[tuple[str, Callable[[Path], Any]], ...] = (
    (".suite.toml", lambda path: Suite.read(path).cells()),
    (".lock.toml", CostBaseline.read),
    (".tuned.toml", TuningTable.read),
    (".labels.json", labels.read),
    (".labels.txt", labels.read),
    (".manifest.json", _manifest_beside),
    (".suite.toml", _by_command("bench", "--suite", "FILE", "--host", "nohost.invalid")),
    (".lock.toml", _by_command("cost", "--check", "--file", "FILE")),
    (".labels.json", _by_command("runs", "import", "FILE")),
    (".labels.txt", _by_command("compare", "FILE", "FILE")),
)

# --- a user --------------------------------------------------------------------------------------

_WORDS = (
    *(text for text in TEXTS if "\0" not in text),
    *(str(number) for number in (*INTEGERS, *FLOATS)),
    *("~nosuchuser/x", "n" * 256, "d/" * 3000, "caf\udce9", "/dev/zero", "/proc/self/mem", "fifo"),
    *("all", "none", "1,2", "1-4000", "0-9999", "big", "1e99s", "9" * 400 + "s", "200%", "1x60000"),
    *("99999x99999", "shufflenet-g3-999999x", "board:../x", "adb:", "user@", "@host", "[::1]:0"),
)


def options(random: Random, _folder: Path) -> bool:
    """Any value for any option or argument of any command; nothing that is slow is begun."""
    name, called = random.choice(_all_commands())
    words = list(name)
    parameters = [one for one in called.params if one.name not in ("help", "version")]
    for parameter in random.sample(parameters, min(len(parameters), random.randint(1, 3))):
        value = random.choice(_WORDS)
        if parameter.param_type_name == "argument":
            words.append(value)
        elif getattr(parameter, "is_flag", False):
            words.append(parameter.opts[0])
        else:
            words += [f"{parameter.opts[0]}={value}"]
    return command(*words) == 0


@cache
def _all_commands() -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []

    def walk(path: tuple[str, ...], one: Any) -> None:
        for name, inner in getattr(one, "commands", {}).items():
            walk((*path, name), inner)
        if not hasattr(one, "commands"):
            found.append((path, one))

    walk((), typer.main.get_command(cli.command_line()))
    return found


def _begun(*_args: object, **_named: object) -> Any:
    raise UsageError("begun: what was typed is taken")


#: Where the work of the commands begins: what reaches one of these was accepted.
_WORK = (
    "shufflenet_deploy.transport.connect",
    "shufflenet_deploy.board.up",
    "shufflenet_deploy.board.down",
    "shufflenet_deploy.export.export",
    "shufflenet_deploy.export.compare_layers",
    "shufflenet_deploy.zoo.load",
    "shufflenet_deploy.cost.count",
    "subprocess.Popen",
    "os.execvp",
)


def command(*words: str, shown: list[str] | None = None) -> int:
    """Run a command line here; its exit status.

    Raises:
        Fault: it came to the last net, printed a traceback, or its error is not one line.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["shufflenet-deploy", *words]))
        stack.enter_context(mock.patch.object(sys, "stdin", io.StringIO()))
        for place in _WORK:
            stack.enter_context(mock.patch(place, _begun))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            cli.main()
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
    complaint = err.getvalue()
    if shown is not None:
        shown += [out.getvalue(), complaint]
    if status not in (0, 1, 2) or "Traceback" in complaint:
        raise Fault(f"{words!r:.300} ended with {status}: {complaint[-600:]}{_log_of(complaint)}")
    last = complaint.rstrip("\n").rpartition("\n")[2]
    if status == 2 and complaint and not last.startswith("error: ") and "Usage" not in complaint:
        raise Fault(f"{words!r:.300} has no error as its last line: {complaint[-300:]!r}")
    if "\x1b" in complaint or "\x1b" in out.getvalue():
        raise Fault(f"{words!r:.300} passes escape sequences on")
    return status


def _log_of(complaint: str) -> str:
    """The traceback that the last net wrote down."""
    _, found, place = complaint.strip().rpartition("please report it with ")
    with contextlib.suppress(OSError):
        return "\n" + Path(place).read_text(encoding="utf-8")[-1500:] if found else ""
    return ""


KINDS: dict[str, Callable[[Random, Path], bool]] = {
    "survey": survey,
    "health": health,
    "proof": proof,
    "agent": agent_log,
    "sustained": sustained_log,
    "benchmark": benchmark_model_log,
    "row": row,
    "import": imports,
    "location": location,
    "files": files,
    "networks": networks,
    "programs": programs,
    "options": options,
}
