"""Evaluations: accuracy counts of an exported file and its module on the same images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shufflenet_deploy.bounded import Moment, Name, Size, Text
from shufflenet_deploy.records.artifacts import Artifact
from shufflenet_deploy.records.basics import Record, RunId


class LabelledData(Record):
    """The data set of an evaluation: ``pictures`` of the ``found`` images in ``source``.

    ``fingerprint`` hashes the chosen images: their names, bytes and classes.
    """

    source: Text
    fingerprint: Text
    pictures: Size
    found: Size
    classes: Size


class TopKCounts(Record):
    """Counts of the right class at rank 1, and within the first five, of ``pictures``.

    ``tied`` counts the images whose highest logit several classes share; the lowest index wins.
    """

    pictures: Size
    top1: Size
    top5: Size
    tied: Size


class ContingencyTable(Record):
    """2x2 contingency table of a file and its module: whose top-1 class was right, image by image.

    ``same_class`` counts the images for which both predict the same class, right or wrong.
    """

    both_right: Size
    only_module_right: Size
    only_file_right: Size
    both_wrong: Size
    same_class: Size


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
