"""The options of a network of the user's own: parsed once, for every command that takes them."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from shufflenet_deploy.cli import command_line
from shufflenet_deploy.cli.network_options import with_network_options
from shufflenet_deploy.errors import UsageError
from shufflenet_deploy.zoo import NetworkOptions


def given(*words: str) -> NetworkOptions:
    found = []
    probe = typer.Typer()

    @probe.command()
    @with_network_options
    def command(*, network: NetworkOptions) -> None:
        found.append(network)

    result = CliRunner().invoke(probe, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return found[0]


def test_nothing_given_states_nothing() -> None:
    assert not given().given


def test_every_option() -> None:
    options = given(
        *("--model-arg", "width=0.5", "--model-arg", "text=a=b", "--name", "mine"),
        *("--channels", "1", "--mean", "0.5", "--std", "0.25", "--channel-order", "L"),
        *("--range", "0,255", "--preprocessing", "alexnet"),
    )
    assert options.arguments == {"width": "0.5", "text": "a=b"}
    assert (options.name, options.channels, options.mean, options.std) == (
        "mine",
        1,
        (0.5,),
        (0.25,),
    )
    assert (options.channel_order, options.value_range) == ("L", (0.0, 255.0))
    assert options.preprocessing == "alexnet"


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--model-arg", "width"), "--model-arg width: write KEY=VALUE"),
        (("--model-arg", "a b=1"), "--model-arg a b=1: write KEY=VALUE"),
        (("--mean", "x"), "--mean x: write numbers with commas"),
        (("--range", "1"), "--range"),
        (("--channel-order", "GBR"), "--channel-order"),
        (("--name", "../x"), "--name"),
    ],
)
def test_wrong_values_name_their_option(words: tuple[str, ...], what: str) -> None:
    with pytest.raises(UsageError, match=f"^{what}"):
        given(*words)


@pytest.mark.parametrize(
    "command", ["export", "bench", "eval", "emit-c", "cost", "predict", "inspect", "import"]
)
def test_every_command_with_a_model_takes_them(command: str) -> None:
    shown = CliRunner().invoke(command_line(), [command, "--help"], env={"COLUMNS": "200"}).output
    assert "--model-arg" in shown
    assert "--channel-order" in shown
