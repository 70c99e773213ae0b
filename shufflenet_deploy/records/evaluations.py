"""Evaluations: accuracy counts of an exported file and its module on the same images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shufflenet_deploy.bounded import Moment, Name, Size, Text
from shufflenet_deploy.records.artifacts import Artifact
from shufflenet_deploy.records.basics import Record, RunId

#: Number of images; more than any data set of classes has.
Images = Annotated[int, Field(ge=0, le=10**9)]


class LabelledData(Record):
    """The data set of an evaluation: ``pictures`` of the ``found`` images in ``source``.

    ``fingerprint`` hashes the chosen images: their names, bytes and classes.
    """

    source: Text
    fingerprint: Text
    pictures: Images
    found: Images
    classes: Size


class TopKCounts(Record):
    """Counts of the right class at rank 1, and within the first five, of ``pictures``.

    ``tied`` counts the images whose highest logit several classes share; the lowest index wins.
    """

    pictures: Images
    top1: Images
    top5: Images
    tied: Images

    @model_validator(mode="after")
    def _within(self) -> Self:
        if not (self.top1 <= self.top5 <= self.pictures >= self.tied):
            raise ValueError("more images are right than there are")
        return self


class ContingencyTable(Record):
    """2x2 contingency table of a file and its module: whose top-1 class was right, image by image.

    ``same_class`` counts the images for which both predict the same class, right or wrong.
    """

    both_right: Images
    only_module_right: Images
    only_file_right: Images
    both_wrong: Images
    same_class: Images

    @property
    def pictures(self) -> int:
        """The number of images."""
        return sum((self.both_right, self.only_module_right, self.only_file_right, self.both_wrong))


class Evaluation(Record):
    """The accuracy of one exported file and of its PyTorch module on the same labelled images.

    Counts only: ``proportions`` derives percentages and intervals. ``unreadable`` names images
    that could not be decoded; they are in ``data.pictures`` but in no count.
    """

    kind: Literal["evaluation"] = "evaluation"
    id: RunId
    at: Moment
    artifact: Artifact
    data: LabelledData
    unreadable: tuple[Text, ...] = ()
    file: TopKCounts
    module: TopKCounts
    pairing: ContingencyTable
    tools: dict[Name, Text] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_the_same_images(self) -> Self:
        counts = {self.file.pictures, self.module.pictures, self.pairing.pictures}
        if len(counts) > 1 or self.pairing.same_class > self.pairing.pictures:
            raise ValueError("the counts are not of the same images")
        return self
