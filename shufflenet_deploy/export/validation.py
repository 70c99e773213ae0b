"""Validation of exported files: the held-out images, and the module's logits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shufflenet_deploy.export import parity
from shufflenet_deploy.export.image_set import Batches, ImageSet
from shufflenet_deploy.export.request import ExportRequest
from shufflenet_deploy.records import Parity

if TYPE_CHECKING:
    from shufflenet_deploy.zoo.model import Model


class Validator:
    """Validate one file after another on held-out images; few where an emulator has to run it."""

    def __init__(
        self, model: Model, request: ExportRequest, images: ImageSet, multiply_adds: int
    ) -> None:
        """Decode the images, before a conversion takes its time.

        Raises:
            UsageError: one of them cannot be read.
        """
        self._model, self._request = model, request
        paths = images.validation_set(request.resolution)
        few = set(images.emulated_validation_set(request.resolution, multiply_adds))
        self._all = list(Batches(paths, model.preprocessing, request.resolution))
        self._few = [one for one, path in zip(self._all, paths, strict=True) if path in few]
        self._expected: dict[bool, list[parity.FloatArray]] = {}

    def validate(self, file: parity.ExportedFile) -> Parity:
        """Compare a file's logits with the module's."""
        images, wanted = self._images_and_logits(file)
        return parity.compare_logits(
            wanted,
            [file.run(image) for image in images],
            precision=self._request.precision,
            tolerances=self._request.tolerances,
            trained=self._model.weights.trained,
        )

    def unusable(self, reason: str) -> Parity:
        """Failed parity, where there is no file to run."""
        return parity.unusable(len(self._all), reason)

    def worst_input(self, file: parity.ExportedFile) -> parity.FloatArray:
        """Image with the lowest SQNR of the logits."""
        images, wanted = self._images_and_logits(file)
        noise = [
            parity.sqnr_db(logits, file.run(image))
            for logits, image in zip(wanted, images, strict=True)
        ]
        return images[noise.index(min(noise))]

    def _images_and_logits(
        self, file: parity.ExportedFile
    ) -> tuple[list[parity.FloatArray], list[parity.FloatArray]]:
        """A file's images and the module's logits, which the files of all recipes share."""
        images = self._few if file.emulated else self._all
        if file.emulated not in self._expected:
            self._expected[file.emulated] = parity.expected(self._model.module, images)
        return images, self._expected[file.emulated]
