"""Deployment metadata of a file: preprocessing of the input and meaning of the output."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, model_validator

from shufflenet_deploy.records import Record

#: Version of ``Metadata``; raised when a field changes its meaning or goes away.
SCHEMA_VERSION = 1


class Metadata(Record):
    """Facts that an app needs to run a file.

    Attributes:
        schema_version: of these fields.
        model: the network's name.
        trained: False for a seeded initialisation, whose predictions are chance.
        input_layout: the axes of the input, batch first; the batch is 1.
        input_height: pixels.
        input_width: pixels.
        channel_order: of the input's channels; L is luminance in each of them.
        value_range: range that the bytes 0 and 255 of an image map to, before ``mean`` and ``std``.
        mean: subtracted from each channel.
        std: each channel is divided by it afterwards.
        crop_fraction: share of the image's tighter side that the centre crop takes; the image is
            scaled for that first.
        interpolation: of that scaling.
        output: meaning of the output; softmax makes probabilities of logits. A feature map has the
            axes of the input, in its layout.
        class_names: in the order of the output; empty where they are not known.
    """

    schema_version: int = SCHEMA_VERSION
    model: str
    trained: bool
    input_layout: Literal["NCHW", "NHWC"]
    input_height: int = Field(gt=0)
    input_width: int = Field(gt=0)
    channel_order: Literal["RGB", "BGR", "L"]
    value_range: tuple[float, float]
    mean: tuple[float, ...] = Field(min_length=1, max_length=1024)
    std: tuple[float, ...] = Field(min_length=1, max_length=1024)
    crop_fraction: float = Field(gt=0, le=1)
    interpolation: Literal["bilinear"] = "bilinear"
    output: Literal["logits", "feature-map"] = "logits"
    class_names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known_version(self) -> Metadata:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema version {self.schema_version} is not {SCHEMA_VERSION}")
        if len(self.mean) != len(self.std):
            raise ValueError("mean and std have not as many channels")
        if not all(self.std):
            raise ValueError("a channel's std is zero")
        return self

    def properties(self) -> dict[str, str]:
        """Every field as text: numbers and lists as JSON, words as they are."""
        fields = self.model_dump(mode="json")
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in fields.items()
        }

    def to_json(self) -> str:
        """All fields as one JSON object."""
        return self.model_dump_json()
