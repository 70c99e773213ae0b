"""Benchmarks on a virtual board: fewer inferences, and notices that latencies are emulated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shufflenet_deploy.board import BoardSettings

#: Emulated inferences take seconds, and no number of them predicts a device's latency: these few
#: suffice as an end-to-end test.
FEW_INFERENCES: dict[str, Any] = {
    "warmup_runs": 0,
    "warmup_secs": 0.0,
    "min_runs": 2,
    "min_secs": 0.0,
    "max_secs": 30.0,
    "processes": 2,
}


def board_of(host: str, *, deterministic: bool) -> BoardSettings | None:
    """The virtual board that is running under this name or would be; None for another host.

    Raises:
        UsageError: it is no name of a board.
    """
    kind, _, name = host.partition(":")
    if kind != "board":
        return None
    from shufflenet_deploy import board  # noqa: PLC0415

    found = board.find(name or board.DEFAULT_NAME)
    if found is not None and found.running:
        return found.settings
    return board.BoardSettings.choose(name=name or board.DEFAULT_NAME, deterministic=deterministic)


def is_emulated(host: str, *, counting: bool) -> bool:
    """True for a virtual board whose latencies are an emulator's."""
    virtual = board_of(host, deterministic=counting)
    return virtual is not None and virtual.emulated and not counting


def notices(there: BoardSettings, *, deterministic: bool) -> list[str]:
    """The notices printed before a board is measured, one line each."""
    from shufflenet_deploy.board import DEFAULT_NAME  # noqa: PLC0415

    found = []
    if there.emulated and not deterministic:
        found.append(
            f"warning: board {there.name} is emulated ({there.cpu}): latencies there are QEMU's"
            " own and do not predict any device; for figures that do: --metric instructions"
        )
    option = "" if there.name == DEFAULT_NAME else f" --name {there.name}"
    found.append(
        f"board {there.name} stays up afterwards; switch it off with:"
        f" shufflenet-deploy board down{option}"
    )
    return found
