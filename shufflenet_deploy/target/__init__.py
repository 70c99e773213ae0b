"""A machine as the bench sees it: what it is, what is installed on it, and running things there."""

from __future__ import annotations

from shufflenet_deploy.target.environment import Environment, Mode, Payload, PayloadOf
from shufflenet_deploy.target.interpreter import brings_python
from shufflenet_deploy.target.machine import Cleaned, Target
from shufflenet_deploy.target.storage import Traffic

__all__ = [
    "Cleaned",
    "Environment",
    "Mode",
    "Payload",
    "PayloadOf",
    "Target",
    "Traffic",
    "brings_python",
]
