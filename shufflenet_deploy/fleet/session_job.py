"""The order of one target's process: everything, as one JSON document."""

from __future__ import annotations

from typing import Literal

from shufflenet_deploy.bounded import JsonObject, Name, Text
from shufflenet_deploy.records import Record


class SessionJob(Record):
    """One session of a suite on one target.

    Attributes:
        host: the target, as ``--host`` takes it.
        label: how the user names it.
        suite: the fields of the suite on this target.
        suite_id: the suite in the journal, that of all targets.
        noted_host: all targets, as the journal names them in the row of the suite.
        definition: the suite without what differs from target to target, with which it is resumed.
        journal: path or URL.
        artifacts: folder of exported files.
        locks: folder of the locks that the processes share.
        folder: our folder on the target; the default one where it is empty.
        coordinator: labgrid's, where the target is a place of a lab.
        power_cycle: switch such a board off and on before, and off afterwards.
    """

    host: Name
    label: Name
    suite: JsonObject
    suite_id: Name
    noted_host: Name
    definition: Text
    ssh_client: Literal["auto", "paramiko", "openssh"] = "auto"
    journal: Text
    artifacts: Text
    locks: Text
    folder: Text = ""
    coordinator: Text = ""
    power_cycle: bool = False
