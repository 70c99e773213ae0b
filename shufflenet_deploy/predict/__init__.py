"""Milliseconds on ARM cores that nobody has here, from runs under QEMU's user emulation.

``counting`` runs a program once and keeps how often each block of its code was executed and what
missed in simulated caches; ``chains`` joins the blocks; ``cores`` say how many cycles a chain
takes; ``latency`` adds what a board's memory costs; ``boards`` are cards. docs/prediction.md has
the method and how far it can be trusted.
"""

from shufflenet_deploy.predict.prediction import Plan, Result, predict
from shufflenet_deploy.records.predictions import KIND, LayerPrediction, Prediction, TimeParts

__all__ = [
    "KIND",
    "LayerPrediction",
    "Plan",
    "Prediction",
    "Result",
    "TimeParts",
    "predict",
]
