"""A machine as the bench sees it: what it is, what is installed on it, and running things there."""

from __future__ import annotations

from shufflenet_deploy.target.environment import Environment, Mode, Payload, PayloadOf
from shufflenet_deploy.target.governor import Governor, Governors
from shufflenet_deploy.target.interpreter import brings_python
from shufflenet_deploy.target.machine import Cleaned, Target
from shufflenet_deploy.target.place import Place
from shufflenet_deploy.target.provision import Outlook
from shufflenet_deploy.target.state import State
from shufflenet_deploy.target.storage import Traffic
from shufflenet_deploy.target.vitals import Frequency, Vitals

__all__ = [
    "Cleaned",
    "Environment",
    "Frequency",
    "Governor",
    "Governors",
    "Mode",
    "Outlook",
    "Payload",
    "PayloadOf",
    "Place",
    "State",
    "Target",
    "Traffic",
    "Vitals",
    "brings_python",
]
