"""A machine as the bench sees it: what it is, what is installed on it, and running things there."""

from __future__ import annotations

from shufflenet_deploy.target.bundled_python import brings_python
from shufflenet_deploy.target.environment import Environment, Mode, Payload, PayloadOf
from shufflenet_deploy.target.file_cache import TransferStats
from shufflenet_deploy.target.governor import Governor, Governors
from shufflenet_deploy.target.health import Frequency, HealthProbe
from shufflenet_deploy.target.place import Place
from shufflenet_deploy.target.provision import ProvisioningPlan
from shufflenet_deploy.target.sensors import SensorReading
from shufflenet_deploy.target.target import CleanResult, Target

__all__ = [
    "CleanResult",
    "Environment",
    "Frequency",
    "Governor",
    "Governors",
    "HealthProbe",
    "Mode",
    "Payload",
    "PayloadOf",
    "Place",
    "ProvisioningPlan",
    "SensorReading",
    "Target",
    "TransferStats",
    "brings_python",
]
