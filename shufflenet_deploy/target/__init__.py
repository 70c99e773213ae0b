"""A machine as the bench sees it: what it is, what is installed on it, and running things there."""

from __future__ import annotations

from shufflenet_deploy.target.environment import Environment, Mode, Payload
from shufflenet_deploy.target.machine import Cleaned, Target, Traffic

__all__ = ["Cleaned", "Environment", "Mode", "Payload", "Target", "Traffic"]
