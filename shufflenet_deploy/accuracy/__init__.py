"""How often a network is right: a PyTorch module and its exported files on labelled pictures.

    pictures = labelled(folder, classes=1000)
    for evaluation in evaluate(artifacts, pictures, load=...): ...

What was answered is kept by picture and by network, so an interrupted evaluation goes on where it
was, and more pictures cost only what they add.
"""

from shufflenet_deploy.accuracy.dataset import LabelledImages, check, labelled
from shufflenet_deploy.accuracy.evaluate import Progress, evaluate
from shufflenet_deploy.accuracy.workers import ModelSource

__all__ = ["LabelledImages", "ModelSource", "Progress", "check", "evaluate", "labelled"]
