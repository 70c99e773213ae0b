"""Commands in documentation and messages: each is one of the program, with options that it has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from shufflenet_deploy import cli

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "shufflenet_deploy"
PAGES = [*sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "README.md"]
PROGRAM = "shufflenet-deploy"
#: In place of what a message fills in.
FILLED_IN = "X"


@cache
def options() -> dict[str, set[str]]:
    """The options of each command, by its words; those of the program itself under ""."""
    root = typer.main.get_command(cli.command_line())
    found = {"": {name for one in root.params for name in one.opts} | {"--help", "-h"}}

    def collect(group, words: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                collect(command, (*words, name))
            if not hasattr(command, "commands") or command.invoke_without_command:
                names = {
                    name for one in command.params for name in (*one.opts, *one.secondary_opts)
                }
                found[" ".join((*words, name))] = names | {"--help", "-h"}

    collect(root, ())
    return found


def problem(words: list[str]) -> str:
    """The mistake in the words that follow the program's name; "" for nothing."""
    known = options()
    command = next(
        name for size in (2, 1, 0) if (name := " ".join(words[:size])) in known or not size
    )
    if not command and words[1:2] == [FILLED_IN]:
        return "" if any(name.startswith(f"{words[0]} ") for name in known) else "no such group"
    if not command and not words[0].startswith("-"):
        return f"no command {words[0]}"
    given = words[len(command.split()) :]
    if "--" in given:
        given = given[: given.index("--")]
    wrong = [
        word
        for word in (re.split(r"[=,;.:)]", text)[0] for text in given if text.startswith("-"))
        if re.fullmatch(r"--?[a-z][\w-]*", word) and word not in known[command]
    ]
    return f"{command} has no {', '.join(wrong)}" if wrong else ""


def of_page(text: str) -> Iterator[list[str]]:
    """The commands of a page: lines of code, and code within a line."""
    for match in re.finditer(rf"(?:^\s*(?:\$ )?|`){PROGRAM} ([^`\n#|>]+)", text, re.MULTILINE):
        yield match[1].split()


def texts(path: Path) -> Iterator[str]:
    """The string literals of a module, ``FILLED_IN`` where a value comes."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    joined = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    for parts in joined:
        yield "".join(part.value if _plain(part) else f" {FILLED_IN} " for part in parts)
    inside = {id(part) for parts in joined for part in parts}
    for node in nodes:
        if _plain(node) and id(node) not in inside:
            yield node.value


def _plain(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def advice() -> re.Pattern[str]:
    """A command without the program's name, as in "bench --cpus N", and what follows it."""
    names = "|".join(sorted(filter(None, options()), key=len, reverse=True))
    return re.compile(
        rf"(?<![\w-])(?<!adb )({names})((?: +(?:-{{1,2}}[a-z][\w-]*|[A-Z0-9][\w:.%]*))+)"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_documentation_exist(page):
    wrong = {" ".join(words): problem(words) for words in of_page(page.read_text(encoding="utf-8"))}
    assert {words: told for words, told in wrong.items() if told} == {}


def test_commands_in_messages_exist():
    wrong: set[str] = set()
    found = 0
    for path in PACKAGE.rglob("*.py"):
        for text in texts(path):
            typed = [words.split() for words in re.findall(rf"{PROGRAM} ([a-z-][^\n;`'\"]*)", text)]
            typed += [[*match[1].split(), *match[2].split()] for match in advice().finditer(text)]
            found += len(typed)
            wrong |= {f"{path.name}: {told}" for words in typed if (told := problem(words))}
    assert found > 50
    assert wrong == set()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("bench --cpus 0", ""),
        ("board ssh -- uname --all", ""),
        ("--version", ""),
        ("bench --cores 0", "bench has no --cores"),
        ("benhc", "no command benhc"),
        ("board up --smp=2 --host x", "board up has no --host"),
    ],
)
def test_what_is_wrong_is_found(words, told):
    assert problem(words.split()) == told
