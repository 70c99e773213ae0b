"""Top-1 and top-5 accuracy of a PyTorch module and its exported files on labelled images.

    images = labelled(folder, classes=1000)
    for evaluation in evaluate(artifacts, images, load=...): ...

Predictions are cached by image and by network, so an interrupted evaluation resumes where it was,
and a larger data set costs only the images it adds.
"""

from shufflenet_deploy.accuracy.dataset import LabelledImages, check, labelled
from shufflenet_deploy.accuracy.evaluate import Progress, evaluate
from shufflenet_deploy.accuracy.workers import ModelSource

__all__ = ["LabelledImages", "ModelSource", "Progress", "check", "evaluate", "labelled"]
