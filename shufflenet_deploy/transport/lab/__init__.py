"""Boards of a lab that labgrid manages: ``labgrid:PLACE`` and ``labgrid:core=a76,os=raspbian``.

A place is leased by a process of its own (``keeper``), which speaks with labgrid's coordinator and
gives everything back when whoever started it is gone, killed or not. ``link`` is the transport.
"""

from __future__ import annotations

from shufflenet_deploy.transport.lab.link import Lab, LabTransport
from shufflenet_deploy.transport.lab.wanted import Wanted

__all__ = ["Lab", "LabTransport", "Wanted"]
