"""Many targets at once: who they are, and one session of ``bench`` on each of them.

Each target is measured by a process of its own, under that target's own lock, so that none can hold
up, break or outlive the others; all write to one journal under one suite.
"""

from __future__ import annotations

from shufflenet_deploy.fleet.controller import Controller, Outcome
from shufflenet_deploy.fleet.inventory import Host, Inventory, read_inventory
from shufflenet_deploy.fleet.messages import Ended, Progress, State
from shufflenet_deploy.fleet.session_job import SessionJob

__all__ = [
    "Controller",
    "Ended",
    "Host",
    "Inventory",
    "Outcome",
    "Progress",
    "SessionJob",
    "State",
    "read_inventory",
]
